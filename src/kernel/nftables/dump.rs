//! Reads Portolan's tables back from the kernel.

mod elements;
mod known;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portolan_rules::{
    compile::{Compiler, chains},
    planes::{counterpart, is_swapped, swapped},
    ruleset::{
        BaseChain, Chain, ChainType, Concat, Elements, Family, Hook, Name, Ruleset, Set, SetData, SetFlags,
        Table,
    },
};

use super::{
    Error, Exchanged,
    attributes::{Attributes, Message},
    connection::{Connection, Outcome},
    declaration,
    libnftnl::Scratch,
    monitor::{Generation, Monitor},
    rule::Program,
    uapi::{
        COUNTER, NF_ACCEPT, NFT_CHAIN_BASE, NFT_CHAIN_BINDING, NFT_MSG_GETCHAIN, NFT_MSG_GETGEN,
        NFT_MSG_GETOBJ, NFT_MSG_GETRULE, NFT_MSG_GETSET, NFT_MSG_GETSETELEM, NFT_MSG_GETTABLE,
        NFT_SET_ANONYMOUS, NFT_TABLE_F_DORMANT, NFTA_CHAIN_FLAGS, NFTA_CHAIN_HOOK, NFTA_CHAIN_NAME,
        NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE, NFTA_EXPR_NAME, NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY,
        NFTA_RULE_CHAIN, NFTA_SET_COUNT, NFTA_SET_DATA_LEN, NFTA_SET_DATA_TYPE, NFTA_SET_DESC,
        NFTA_SET_DESC_SIZE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_EXPR, NFTA_SET_EXPRESSIONS, NFTA_SET_FLAGS,
        NFTA_SET_KEY_LEN, NFTA_SET_KEY_TYPE, NFTA_SET_NAME, NFTA_SET_TIMEOUT, NFTA_TABLE_FLAGS,
        NFTA_TABLE_NAME,
    },
};
use elements::ElementReader;

/// How often a dump begins anew before it gives up: each time, somebody changed our tables meanwhile.
const ATTEMPTS: usize = 10;
/// How often one request is repeated: each time, somebody changed any table meanwhile.
const REPETITIONS: usize = 100;

/// The priority in [`BaseChain`] that stands for a base chain that the model cannot describe, so that it
/// differs from every chain that Portolan declares: one of another type, or with another policy. A table that is
/// dormant, or has objects of kinds that Portolan does not make, has such a chain in the place of `prerouting`.
pub const FOREIGN_PRIORITY: i32 = i32::MIN;

const FOREIGN_BASE: BaseChain =
    BaseChain { chain_type: ChainType::Filter, hook: Hook::Prerouting, priority: FOREIGN_PRIORITY };

/// The sets whose elements to read.
pub type Scope = BTreeSet<(Family, Name)>;

/// What is known of the tables before they are read, and which elements to read of them.
pub trait Wanted {
    /// Chains with the rules that are expected in them, of those that have these names. A rule that is what is expected
    /// in its place is read as that; nothing is known of any other.
    fn chains(&mut self, family: Family, names: &[Name]) -> Vec<Chain> {
        let _ = (family, names);
        Vec::new()
    }

    /// The names of sets that are read before all others, as they say what these hold.
    fn first(&self) -> &[&str] {
        &[]
    }

    /// Whether to read the elements of a set, given how many the kernel says it has (since Linux 6.16).
    fn wants(&mut self, family: Family, set: &Set, count: Option<u32>) -> bool {
        let _ = (family, set, count);
        true
    }

    /// The keys that a large set may have. To ask for elements by their keys takes the same time for each, where a
    /// dump takes time in the square of a set's size. `read` holds the tables with everything but elements, and the
    /// elements of the sets read so far. Without any, the set is dumped.
    fn keys(&mut self, read: &Ruleset, family: Family, set: &str) -> Vec<Concat> {
        let _ = (read, family, set);
        Vec::new()
    }
}

/// All elements, dumped; nothing is known of any rule.
#[derive(Clone, Copy, Debug)]
pub struct Everything;

impl Wanted for Everything {}

/// All elements, dumped; rules as the compiler's settings make them.
impl Wanted for &Compiler {
    fn chains(&mut self, family: Family, names: &[Name]) -> Vec<Chain> {
        Compiler::chains(self, family, names)
    }
}

/// All elements, dumped; rules as in this ruleset.
impl Wanted for &Ruleset {
    fn chains(&mut self, family: Family, _: &[Name]) -> Vec<Chain> {
        self.tables.get(&family).into_iter().flat_map(|table| table.chains.values().cloned()).collect()
    }
}

/// Reads the tables of this name. See [`Kernel::dump`](super::Kernel::dump).
///
/// A dump takes many requests. It is of one piece if no notification about our tables came meanwhile; other
/// tables may change all the time.
pub(super) fn dump(
    connection: &mut Connection,
    monitor: &mut Monitor,
    table: &str,
    wanted: &mut dyn Wanted,
) -> Result<(Ruleset, Exchanged), Error> {
    monitor.only(table);
    monitor.listen(true)?;
    let outcome = repeated(connection, monitor, table, wanted);
    monitor.listen(false)?;
    outcome
}

fn repeated(
    connection: &mut Connection,
    monitor: &mut Monitor,
    table: &str,
    wanted: &mut dyn Wanted,
) -> Result<(Ruleset, Exchanged), Error> {
    for _ in 0..ATTEMPTS {
        monitor.forget()?;
        if let Some(read) = attempt(connection, table, wanted)?
            && !changed(monitor, table)?
        {
            return Ok(read);
        }
    }
    Err(Error::Unknown(format!("the tables changed during each of {ATTEMPTS} dumps")))
}

/// Whether our tables have changed, as far as can be told.
fn changed(monitor: &mut Monitor, table: &str) -> Result<bool, Error> {
    loop {
        match monitor.receive() {
            Ok(Some(event)) if event.table.as_deref() != Some(table) => {}
            Ok(None) => return Ok(false),
            Ok(Some(_)) | Err(Error::Unknown(_)) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

/// The present generation.
pub(super) fn generation(connection: &mut Connection) -> Result<Generation, Error> {
    for _ in 0..REPETITIONS {
        let mut generation = None;
        connection
            .request(NFT_MSG_GETGEN, 0, false, &[], |message| generation = Generation::read(message))?;
        if let Some(generation) = generation {
            return Ok(generation);
        }
    }
    Err(Error::Unknown("the kernel does not tell the ruleset's generation".to_owned()))
}

/// One attempt; `None` if something is missing.
fn attempt(
    connection: &mut Connection,
    table: &str,
    wanted: &mut dyn Wanted,
) -> Result<Option<(Ruleset, Exchanged)>, Error> {
    let (mut ruleset, mut exchanged) = (Ruleset::default(), Exchanged::default());
    let mut counts = BTreeMap::new();
    for family in Family::ALL {
        let mut reader = Reader { connection, family, name: table, counts: &mut counts };
        match reader.table(wanted)? {
            Reading::Complete(table, is_swapped) => {
                exchanged[family as usize] = is_swapped;
                ruleset.tables.insert(family, if is_swapped { table.swapped() } else { table });
            }
            Reading::Absent => {}
            Reading::Incomplete => return Ok(None),
        }
    }
    let mut sets: Vec<(Family, Name)> = Vec::new();
    for (family, table) in &ruleset.tables {
        sets.extend(table.sets.keys().map(|set| (*family, set.clone())));
    }
    sets.sort_by_key(|(_, set)| !wanted.first().contains(&&**set));
    for (family, name) in sets {
        let set = ruleset.tables.get(&family).and_then(|table| table.sets.get(&name));
        let Some(set) = set.cloned() else { continue };
        let is_swapped = exchanged[family as usize];
        let mut set = if is_swapped { swapped(set) } else { set };
        let mut reader = Reader { connection, family, name: table, counts: &mut counts };
        let count = reader.counts.get(&(family, set.name.clone())).copied();
        if !wanted.wants(family, &Set { name: name.clone(), ..set.clone() }, count) {
            continue;
        }
        let known = if reader.is_large(&set) { wanted.keys(&ruleset, family, &name) } else { Vec::new() };
        if !reader.elements(&mut set, &known)? {
            return Ok(None);
        }
        if let Some(table) = ruleset.tables.get_mut(&family) {
            table.add_set(if is_swapped { swapped(set) } else { set });
        }
    }
    Ok(Some((ruleset, exchanged)))
}

/// Whether the plane in force of a table bears the names of the other one.
pub(super) fn is_exchanged(connection: &mut Connection, family: Family, table: &str) -> Result<bool, Error> {
    let mut reader = Reader { connection, family, name: table, counts: &mut BTreeMap::new() };
    Ok(matches!(reader.table(&mut Everything)?, Reading::Complete(_, true)))
}

/// The elements of a set at these keys, of those that are there.
pub(super) fn elements_at(
    connection: &mut Connection,
    table: (Family, &str),
    set: &Set,
    keys: &[Concat],
) -> Result<Elements, Error> {
    let read = known::read_some(connection, table, set, keys)?;
    let unread = || Error::Unknown(format!("set {} cannot be read by its keys", set.name));
    read.map(|(elements, _)| elements.finish()).ok_or_else(unread)
}

enum Reading {
    /// A table, and whether its names are those of the other plane.
    Complete(Table, bool),
    Absent,
    Incomplete,
}

struct Reader<'a> {
    connection: &'a mut Connection,
    family: Family,
    name: &'a str,
    /// Numbers of elements, of kernels that tell.
    counts: &'a mut BTreeMap<(Family, Name), u32>,
}

impl Reader<'_> {
    /// Everything but the elements.
    fn table(&mut self, wanted: &mut dyn Wanted) -> Result<Reading, Error> {
        let mut flags = 0;
        let own = [(NFTA_TABLE_NAME, self.name)];
        let read = |message: &Message<'_>| flags = message.attributes().number(NFTA_TABLE_FLAGS).unwrap_or(0);
        match self.connection.request(NFT_MSG_GETTABLE, self.family.number(), false, &own, read)? {
            Outcome::Complete | Outcome::Interrupted => {}
            Outcome::Absent => return Ok(Reading::Absent),
            Outcome::Incomplete => return Ok(Reading::Incomplete),
        }
        // Counters and the like: we have none, so that somebody else put them there.
        let Some(others) = self.objects(NFT_MSG_GETOBJ, |_| Some(()))? else {
            return Ok(Reading::Incomplete);
        };
        let set = |attributes: Attributes<'_>| Some((set(attributes)?, attributes.number(NFTA_SET_COUNT)));
        let Some(sets) = self.objects(NFT_MSG_GETSET, set)? else { return Ok(Reading::Incomplete) };
        let Some(chains) = self.objects(NFT_MSG_GETCHAIN, chain)? else { return Ok(Reading::Incomplete) };
        let rule = |rule: Attributes<'_>| Some((rule.find(NFTA_RULE_CHAIN)?.name()?, Program::read(rule)));
        let Some(rules) = self.objects(NFT_MSG_GETRULE, rule)? else { return Ok(Reading::Incomplete) };

        let mut table = Table::new(self.name);
        for (set, count) in sets {
            count.and_then(|count| self.counts.insert((self.family, set.name.clone()), count));
            table.add_set(set);
        }
        for chain in chains {
            table.add_chain(chain);
        }
        let mut programs: BTreeMap<Name, Vec<Program>> = BTreeMap::new();
        for (chain, program) in rules {
            if let Some(chain) = table.chains.get_mut(&chain) {
                chain.rules.push(program.describe());
            }
            programs.entry(chain).or_default().push(program);
        }
        let is_swapped = is_swapped(&table);
        self.recognize(&mut table, &programs, is_swapped, wanted);
        if flags & NFT_TABLE_F_DORMANT != 0 || !others.is_empty() {
            // Another hook than ours, so that the table is made anew.
            table.add_chain(Chain::base(chains::PREROUTING, FOREIGN_BASE, Vec::new()));
        }
        Ok(Reading::Complete(table, is_swapped))
    }

    /// Has the rules that are the wanted ones, each in its place, be those. Nothing is known of the others.
    fn recognize(
        &self,
        table: &mut Table,
        programs: &BTreeMap<Name, Vec<Program>>,
        is_swapped: bool,
        wanted: &mut dyn Wanted,
    ) {
        let plain = |name: &Name| if is_swapped { counterpart(name) } else { name.clone() };
        let names: Vec<Name> = table.chains.keys().map(plain).collect();
        let mut known = Table::new(self.name);
        for chain in wanted.chains(self.family, &names) {
            known.add_chain(chain);
        }
        let known = if is_swapped { known.swapped() } else { known };
        let mut scratch = Scratch::default();
        for (name, programs) in programs {
            let (Some(chain), Some(known)) = (table.chains.get_mut(name), known.chains.get(name)) else {
                continue;
            };
            for ((rule, program), known) in chain.rules.iter_mut().zip(programs).zip(&known.rules) {
                if Program::of(self.family, known, &mut scratch).as_ref() == Some(program) {
                    *rule = known.clone();
                }
            }
        }
    }

    /// Asks for all objects of one kind in the table; those of a set, if one is named.
    fn all(
        &mut self,
        kind: u16,
        set: Option<&str>,
        mut read: impl FnMut(Attributes<'_>),
    ) -> Result<Outcome, Error> {
        let mut own = vec![(NFTA_TABLE_NAME, self.name)];
        own.extend(set.map(|set| (NFTA_SET_ELEM_LIST_SET, set)));
        let (family, name) = (self.family.number(), self.name);
        // The kernel does not filter every kind of dump by table.
        let read = |message: &Message<'_>| {
            let attributes = message.attributes();
            let table = attributes.find(NFTA_TABLE_NAME);
            if message.family() == family && table.and_then(|table| table.string()) == Some(name) {
                read(attributes);
            }
        };
        self.connection.request(kind, family, true, &own, read)
    }

    /// The objects of one kind. An interrupted dump of these may lack some, since the kernel counts those of all
    /// tables to find its place again; so it is repeated.
    fn objects<T>(
        &mut self,
        kind: u16,
        mut read: impl FnMut(Attributes<'_>) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Error> {
        for _ in 0..REPETITIONS {
            let mut objects = Vec::new();
            match self.all(kind, None, |attributes| objects.extend(read(attributes)))? {
                Outcome::Complete => return Ok(Some(objects)),
                Outcome::Interrupted | Outcome::Incomplete => {}
                Outcome::Absent => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Whether it pays to ask for the elements by their keys, of a kernel that tells how many there are.
    fn is_large(&self, set: &Set) -> bool {
        let count = self.counts.get(&(self.family, set.name.clone()));
        !set.flags.interval && count.is_some_and(|count| *count >= known::WORTH_IT)
    }

    /// Reads the elements of a set; first those at the known keys, if there are any. False if some may be missing.
    fn elements(&mut self, set: &mut Set, known: &[Concat]) -> Result<bool, Error> {
        // The elements of a dynamic set come and go by themselves; those of an unknown type mean nothing.
        if set.flags.dynamic || set.flags.timeout || set.key.is_empty() {
            return Ok(true);
        }
        if let Some(count) = self.counts.get(&(self.family, set.name.clone()))
            && !known.is_empty()
            && let Some(elements) =
                known::read(self.connection, (self.family, self.name), set, known, *count)?
        {
            set.elements = elements.finish();
            return Ok(true);
        }
        let mut elements = ElementReader::of(set);
        let read = |attributes: Attributes<'_>| elements.read(attributes);
        // Within a set the kernel finds its place again whatever becomes of other tables.
        match self.all(NFT_MSG_GETSETELEM, Some(&set.name), read)? {
            Outcome::Complete | Outcome::Interrupted => set.elements = elements.finish(),
            Outcome::Incomplete | Outcome::Absent => return Ok(false),
        }
        Ok(true)
    }
}

/// A set's declaration. One that the model cannot express has no types, so that it differs from every set
/// that Portolan declares. `None` for an anonymous set, which belongs to the rule that made it.
fn set(attributes: Attributes<'_>) -> Option<Set> {
    let name = attributes.find(NFTA_SET_NAME)?.name()?;
    let number = |kind| attributes.number(kind).unwrap_or(0);
    let flags = number(NFTA_SET_FLAGS);
    if flags & NFT_SET_ANONYMOUS != 0 {
        return None;
    }
    let size = attributes
        .find(NFTA_SET_DESC)
        .and_then(|description| description.nested().number(NFTA_SET_DESC_SIZE));
    let key = (number(NFTA_SET_KEY_TYPE), number(NFTA_SET_KEY_LEN));
    let data = (number(NFTA_SET_DATA_TYPE), number(NFTA_SET_DATA_LEN));
    let expression = attributes.find(NFTA_SET_EXPR);
    let counter = expression.is_some_and(|expression| is_counter(expression.nested()));
    let has_more =
        [NFTA_SET_TIMEOUT, NFTA_SET_EXPRESSIONS].into_iter().any(|kind| attributes.find(kind).is_some())
            || expression.is_some() != counter;
    let known = declaration::read(&name, flags, key, data, size).filter(|_| !has_more);
    let known = known.map(|set| Set { counter, ..set });
    Some(known.unwrap_or_else(|| unknown_set(name)))
}

/// Whether this expression is a counter.
fn is_counter(expression: Attributes<'_>) -> bool {
    expression.find(NFTA_EXPR_NAME).and_then(|name| name.string()) == Some(COUNTER)
}

fn unknown_set(name: Name) -> Set {
    Set {
        name,
        key: Vec::new(),
        data: SetData::None,
        flags: SetFlags::default(),
        size: None,
        counter: false,
        elements: Elements::new(),
    }
}

/// A chain without its rules. `None` for a chain that belongs to the rule that jumps there.
fn chain(attributes: Attributes<'_>) -> Option<Chain> {
    let name: Arc<str> = attributes.find(NFTA_CHAIN_NAME)?.name()?;
    let flags = attributes.number(NFTA_CHAIN_FLAGS).unwrap_or(0);
    if flags & NFT_CHAIN_BINDING != 0 {
        return None;
    }
    let base = attributes.find(NFTA_CHAIN_HOOK).map(|_| {
        let described = if flags & !NFT_CHAIN_BASE != 0 { None } else { base(attributes) };
        described.unwrap_or(FOREIGN_BASE)
    });
    Some(Chain { name, base, rules: Vec::new() })
}

fn base(attributes: Attributes<'_>) -> Option<BaseChain> {
    let hook = attributes.find(NFTA_CHAIN_HOOK)?.nested();
    let (number, priority) =
        (hook.number(NFTA_HOOK_HOOKNUM)?, hook.number(NFTA_HOOK_PRIORITY)?.cast_signed());
    let hook = Hook::ALL.into_iter().find(|hook| hook.number() == number)?;
    let chain_type = attributes.find(NFTA_CHAIN_TYPE)?;
    let chain_type = [ChainType::Filter, ChainType::Nat]
        .into_iter()
        .find(|known| Some(known.name()) == chain_type.string())?;
    let accepts = attributes.number(NFTA_CHAIN_POLICY)?.cast_signed() == NF_ACCEPT;
    accepts.then_some(BaseChain { chain_type, hook, priority })
}

/// Hands attributes to every reader of this module.
#[cfg(test)]
pub(super) fn read_for_test(family: Family, attributes: Attributes<'_>) {
    let _ = family;
    Program::read(attributes).describe();
    chain(attributes);
    if let Some(set) = set(attributes) {
        let mut elements = ElementReader::of(&set);
        elements.read(attributes);
        elements.finish();
    }
    for key in [&[portolan_rules::ruleset::DataType::InetService][..], &[family.address_type(); 2]] {
        for interval in [false, true] {
            let flags = SetFlags { interval, ..SetFlags::default() };
            let mut elements = ElementReader::of(&Set::new("s", key).with_flags(flags));
            elements.read(attributes);
            elements.finish();
        }
    }
}

/// The element of a set that has this user data.
#[cfg(test)]
pub(super) fn element_for_test(userdata: &[u8]) -> portolan_rules::ruleset::Element {
    use super::{uapi, wire};
    let mut bytes = Vec::new();
    let list = wire::begin_nest(&mut bytes, uapi::NFTA_SET_ELEM_LIST_ELEMENTS);
    let element = wire::begin_nest(&mut bytes, 1);
    let key = wire::begin_nest(&mut bytes, uapi::NFTA_SET_ELEM_KEY);
    wire::attribute(&mut bytes, uapi::NFTA_DATA_VALUE, &[0; 4]);
    wire::end_nest(&mut bytes, key);
    wire::attribute(&mut bytes, uapi::NFTA_SET_ELEM_USERDATA, userdata);
    wire::end_nest(&mut bytes, element);
    wire::end_nest(&mut bytes, list);
    let mut elements = ElementReader::of(&Set::new("s", &[portolan_rules::ruleset::DataType::Ipv4Addr]));
    elements.read(Attributes(&bytes));
    elements.finish().into_iter().next().unwrap().1
}
