//! Reads Portolan's tables back from the kernel.

mod elements;
mod known;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::ControlFlow,
    time::Instant,
};

use portolan_rules::{
    plane::{
        chains,
        planes::{counterpart, is_swapped, swapped},
    },
    ruleset::{BaseChain, Chain, ChainType, Concat, Elements, Family, Hook, Name, Ruleset, Set, Table},
};

use super::{
    attributes::{Attributes, Message},
    connection::{Connection, Outcome, TIMEOUT},
    declaration,
    error::Error,
    libnftnl::Scratch,
    monitor::{Generation, Monitor},
    reader::{Reader, incomplete},
    rule::Program,
    uapi::*,
    wire,
};
use elements::ElementReader;

/// How often to repeat a dump because our tables changed meanwhile.
const ATTEMPTS: usize = 10;

/// Number of elements from which on a set is read by its keys. Smaller sets are dumped, which takes a few messages.
pub const LARGE: u32 = 4096;

/// The priority in [`BaseChain`] that marks a base chain that the model cannot express, such as one of another type or
/// with another policy. It differs from every chain that Portolan declares. A table that is dormant, or has objects of
/// kinds that Portolan does not create, is read with such a chain in place of `prerouting`.
pub const FOREIGN_PRIORITY: i32 = i32::MIN;

const FOREIGN_BASE: BaseChain =
    BaseChain { chain_type: ChainType::Filter, hook: Hook::Prerouting, priority: FOREIGN_PRIORITY };

/// Whether the names of the two planes are exchanged in the kernel, by family in the order of [`Family::ALL`].
pub(super) type Exchanged = [bool; Family::ALL.len()];

/// The sets whose elements to read.
pub type Scope = BTreeSet<(Family, Name)>;

/// What is known about the tables before they are read, and which of their elements to read.
pub trait Wanted {
    /// The chains with these names, with the rules that are expected in them. A rule that equals the expected one at
    /// its position is read as that rule; any other is read as
    /// [`Statement::Foreign`](portolan_rules::ruleset::Statement::Foreign).
    fn chains(&mut self, family: Family, names: &[Name]) -> Vec<Chain> {
        let _ = (family, names);
        Vec::new()
    }

    /// Whether to read the elements of a set, given the number of elements that the kernel reports (since Linux 6.16).
    fn wants(&mut self, family: Family, set: &Set, count: Option<u32>) -> bool {
        let _ = (family, set, count);
        true
    }

    /// The keys that a large set may have, if the kernel reports its number of elements. Requesting elements by key
    /// takes constant time for each, while a dump takes time quadratic in the set's size. The set is dumped if there
    /// are no keys, or if it has more elements than were found at these keys.
    fn keys(&mut self, family: Family, set: &str) -> Vec<Concat> {
        let _ = (family, set);
        Vec::new()
    }
}

/// Reads all elements with dumps; no rules are expected.
#[derive(Clone, Copy, Debug)]
pub struct Everything;

impl Wanted for Everything {}

/// Whether a set is large enough to be read by its keys. If the kernel does not report its number of elements, its
/// maximum size counts.
pub fn is_large(set: &Set, count: Option<u32>) -> bool {
    !set.flags.interval && count.or(set.size).is_some_and(|count| count >= LARGE)
}

/// Reads the tables of this name. See [`Kernel::dump`](super::Kernel::dump).
///
/// A dump takes many requests. It is consistent if the monitor received no notification about our tables meanwhile;
/// other tables may change at any time.
pub(super) fn dump(
    connection: &mut Connection,
    monitor: &mut Monitor,
    table: &str,
    wanted: &mut dyn Wanted,
) -> Result<(Ruleset, Exchanged), Error> {
    let began = Instant::now();
    for _ in 0..ATTEMPTS {
        monitor.discard()?;
        match attempt(connection, table, wanted) {
            Ok(read) if !changed(monitor, table)? => return Ok(read),
            Ok(_) => {}
            // Do not wait a second time for a reply that does not arrive.
            Err(Error::Unknown(_)) if began.elapsed() < TIMEOUT => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Unknown(format!("the tables changed during each of {ATTEMPTS} dumps")))
}

/// Whether our tables may have changed.
fn changed(monitor: &mut Monitor, table: &str) -> Result<bool, Error> {
    loop {
        match monitor.receive() {
            Ok(Some(notification)) if notification.table.as_deref() != Some(table) => {}
            Ok(None) => return Ok(false),
            Ok(Some(_)) | Err(Error::Unknown(_)) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

/// Reads the current generation.
pub(super) fn generation(connection: &mut Connection) -> Result<Generation, Error> {
    let mut generation = None;
    let read = |message: &Message<'_>| {
        generation = Generation::read(message);
        ControlFlow::Continue(())
    };
    connection.ask(wire::nf_tables(NFT_MSG_GETGEN), 0, false, |_| (), read)?;
    generation.ok_or_else(|| Error::Unknown("the kernel does not report the ruleset's generation".to_owned()))
}

/// One attempt to read the tables.
fn attempt(
    connection: &mut Connection,
    name: &str,
    wanted: &mut dyn Wanted,
) -> Result<(Ruleset, Exchanged), Error> {
    let (mut ruleset, mut exchanged) = (Ruleset::default(), Exchanged::default());
    for family in Family::ALL {
        let mut reader = Reader { connection, family, table: name };
        let Some(Described { mut table, is_exchanged, sizes }) = describe(&mut reader, wanted)? else {
            continue;
        };
        for set in table.sets.values_mut() {
            let count = sizes.get(&set.name).copied();
            let plain = if is_exchanged { swapped(set.clone()) } else { set.clone() };
            if !wanted.wants(family, &plain, count) {
                continue;
            }
            let is_large = count.is_some() && is_large(set, count);
            let keys = if is_large { wanted.keys(family, &plain.name) } else { Vec::new() };
            set.elements = elements(&mut reader, set, &keys, count)?;
        }
        exchanged[family as usize] = is_exchanged;
        ruleset.tables.insert(family, if is_exchanged { table.swapped() } else { table });
    }
    Ok((ruleset, exchanged))
}

/// Whether the active plane of a table has the names of the other plane.
pub(super) fn is_exchanged(reader: &mut Reader<'_>) -> Result<bool, Error> {
    Ok(describe(reader, &mut Everything)?.is_some_and(|described| described.is_exchanged))
}

/// The elements of a set at these keys, of those that are there.
pub(super) fn elements_at(reader: &mut Reader<'_>, set: &Set, keys: &[Concat]) -> Result<Elements, Error> {
    let unread = || Error::Unknown(format!("set {} cannot be read by its keys", set.name));
    known::read(reader, set, keys)?.map(|(elements, _)| elements.finish()).ok_or_else(unread)
}

/// A table without elements.
struct Described {
    /// With the names of the kernel.
    table: Table,
    /// Whether these are those of the other plane.
    is_exchanged: bool,
    /// How many elements sets have, of kernels that say so.
    sizes: HashMap<Name, u32>,
}

/// Reads everything but the elements; `None` if there is no such table.
fn describe(reader: &mut Reader<'_>, wanted: &mut dyn Wanted) -> Result<Option<Described>, Error> {
    let Some((flags, _)) = reader.table()? else { return Ok(None) };
    let mut table = Table::new(reader.table);
    // Portolan creates no named counters or other objects, so these are another program's.
    let has_others = !reader.objects(NFT_MSG_GETOBJ, |_| Some(()))?.is_empty();
    let mut sizes = HashMap::new();
    for (set, size) in
        reader.objects(NFT_MSG_GETSET, |read| Some((set(read)?, read.number(NFTA_SET_COUNT))))?
    {
        sizes.extend(size.map(|size| (set.name.clone(), size)));
        table.add_set(set);
    }
    for chain in reader.objects(NFT_MSG_GETCHAIN, chain)? {
        table.add_chain(chain);
    }
    let mut programs: BTreeMap<Name, Vec<Program>> = BTreeMap::new();
    for (chain, program) in
        reader.objects(NFT_MSG_GETRULE, |rule| Some((rule.name(NFTA_RULE_CHAIN)?, Program::read(rule))))?
    {
        if let Some(chain) = table.chains.get_mut(&chain) {
            chain.rules.push(program.describe());
        }
        programs.entry(chain).or_default().push(program);
    }
    let is_exchanged = is_swapped(&table);
    let plain = |name: &Name| if is_exchanged { counterpart(name) } else { name.clone() };
    let names: Vec<Name> = table.chains.keys().map(plain).collect();
    let mut known = Table::new(reader.table);
    for chain in wanted.chains(reader.family, &names) {
        known.add_chain(chain);
    }
    let known = if is_exchanged { known.swapped() } else { known };
    recognize(reader.family, &mut table, &programs, &known);
    if flags & NFT_TABLE_F_DORMANT != 0 || has_others {
        // A hook that is not ours has the table rebuilt.
        table.add_chain(Chain::base(chains::PREROUTING, FOREIGN_BASE, Vec::new()));
    }
    Ok(Some(Described { table, is_exchanged, sizes }))
}

/// Replaces each rule that equals the known rule at its position.
fn recognize(family: Family, table: &mut Table, programs: &BTreeMap<Name, Vec<Program>>, known: &Table) {
    let mut scratch = Scratch::default();
    for (name, programs) in programs {
        let (Some(chain), Some(known)) = (table.chains.get_mut(name), known.chains.get(name)) else {
            continue;
        };
        for ((rule, program), known) in chain.rules.iter_mut().zip(programs).zip(&known.rules) {
            if Program::of(family, known, &mut scratch).as_ref() == Some(program) {
                *rule = known.clone();
            }
        }
    }
}

/// Reads the elements of a set, by the known keys if there are any.
fn elements(
    reader: &mut Reader<'_>,
    set: &Set,
    keys: &[Concat],
    count: Option<u32>,
) -> Result<Elements, Error> {
    // The kernel adds and removes elements of dynamic sets; elements of an unknown type cannot be interpreted.
    if set.flags.dynamic || set.flags.timeout || set.key.is_empty() {
        return Ok(Elements::new());
    }
    if !keys.is_empty()
        && let Some((elements, found)) = known::read(reader, set, keys)?
        && count.is_some_and(|count| found == count as usize)
    {
        return Ok(elements.finish());
    }
    let mut elements = ElementReader::of(set);
    let outcome = reader.elements(&set.name, |element| {
        elements.read(element);
        ControlFlow::Continue(())
    })?;
    match outcome {
        Outcome::Complete | Outcome::Interrupted => Ok(elements.finish()),
        Outcome::Incomplete | Outcome::Absent => Err(incomplete()),
    }
}

/// Reads a set's declaration. A set that the model cannot express is read without types, so that it differs from every
/// set that Portolan declares. `None` for an anonymous set, which belongs to its rule.
fn set(attributes: Attributes<'_>) -> Option<Set> {
    let name = attributes.name(NFTA_SET_NAME)?;
    if attributes.flags(NFTA_SET_FLAGS) & NFT_SET_ANONYMOUS != 0 {
        return None;
    }
    let has = |kind| attributes.find(kind).is_some();
    let counter = attributes.nested(NFTA_SET_EXPR).string(NFTA_EXPR_NAME) == Some(COUNTER);
    let has_more = has(NFTA_SET_TIMEOUT) || has(NFTA_SET_EXPRESSIONS) || has(NFTA_SET_EXPR) != counter;
    let known = declaration::read(&name, attributes).filter(|_| !has_more);
    Some(known.map_or_else(|| Set::new(name, &[]), |set| Set { counter, ..set }))
}

/// Reads a chain without its rules. `None` for a chain that belongs to the rule that jumps to it.
fn chain(attributes: Attributes<'_>) -> Option<Chain> {
    let name = attributes.name(NFTA_CHAIN_NAME)?;
    let flags = attributes.flags(NFTA_CHAIN_FLAGS);
    if flags & NFT_CHAIN_BINDING != 0 {
        return None;
    }
    let base = attributes.find(NFTA_CHAIN_HOOK).map(|hook| {
        let known = base(attributes, hook.nested()).filter(|_| flags & !NFT_CHAIN_BASE == 0);
        known.unwrap_or(FOREIGN_BASE)
    });
    Some(Chain { name, base, rules: Vec::new() })
}

fn base(chain: Attributes<'_>, hook: Attributes<'_>) -> Option<BaseChain> {
    let (number, priority) =
        (hook.number(NFTA_HOOK_HOOKNUM)?, hook.number(NFTA_HOOK_PRIORITY)?.cast_signed());
    let hook = Hook::ALL.into_iter().find(|hook| hook.number() == number)?;
    let chain_type = ChainType::from_name(chain.string(NFTA_CHAIN_TYPE)?)?;
    let accepts = chain.number(NFTA_CHAIN_POLICY)?.cast_signed() == NF_ACCEPT;
    accepts.then_some(BaseChain { chain_type, hook, priority })
}

#[cfg(test)]
pub(super) mod testing {
    use portolan_rules::ruleset::{DataType, Element, SetFlags};

    use super::*;
    use crate::kernel::nftables::wire;

    /// Passes attributes to every reader of this module.
    pub(in super::super) fn read(family: Family, attributes: Attributes<'_>) {
        Program::read(attributes).describe();
        chain(attributes);
        if let Some(set) = set(attributes) {
            let mut elements = ElementReader::of(&set);
            elements.read_list(attributes);
            elements.finish();
        }
        for key in [&[DataType::InetService][..], &[family.address_type(); 2]] {
            for interval in [false, true] {
                let flags = SetFlags { interval, ..SetFlags::default() };
                let mut elements = ElementReader::of(&Set::new("s", key).with_flags(flags));
                elements.read_list(attributes);
                elements.finish();
            }
        }
    }

    /// Reads an element with this user data.
    pub(in super::super) fn element(userdata: &[u8]) -> Element {
        let mut bytes = Vec::new();
        let list = wire::begin_nest(&mut bytes, NFTA_SET_ELEM_LIST_ELEMENTS);
        let element = wire::begin_nest(&mut bytes, 1);
        let key = wire::begin_nest(&mut bytes, NFTA_SET_ELEM_KEY);
        wire::attribute(&mut bytes, NFTA_DATA_VALUE, &[0; 4]);
        wire::end_nest(&mut bytes, key);
        wire::attribute(&mut bytes, NFTA_SET_ELEM_USERDATA, userdata);
        wire::end_nest(&mut bytes, element);
        wire::end_nest(&mut bytes, list);
        let mut elements = ElementReader::of(&Set::new("s", &[DataType::Ipv4Addr]));
        elements.read_list(Attributes(&bytes));
        elements.finish().into_iter().next().unwrap().1
    }
}
