//! Reads Portolan's tables back from the kernel.

mod elements;

use std::sync::Arc;

use portolan_rules::ruleset::{
    BaseChain, Chain, ChainType, Elements, Family, Hook, Name, Rule, Ruleset, Set, SetData, SetFlags, Table,
};

use super::{
    Error,
    attributes::{Attributes, Message},
    connection::{Connection, Outcome},
    declaration,
    delinearize::delinearize_or_foreign,
    instruction::parse_expressions,
    monitor::Generation,
    uapi::{
        NF_ACCEPT, NFT_CHAIN_BASE, NFT_CHAIN_BINDING, NFT_MSG_GETCHAIN, NFT_MSG_GETGEN, NFT_MSG_GETRULE,
        NFT_MSG_GETSET, NFT_MSG_GETSETELEM, NFT_MSG_GETTABLE, NFT_SET_ANONYMOUS, NFT_TABLE_F_DORMANT,
        NFTA_CHAIN_FLAGS, NFTA_CHAIN_HOOK, NFTA_CHAIN_NAME, NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE,
        NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_SET_DATA_LEN,
        NFTA_SET_DATA_TYPE, NFTA_SET_DESC, NFTA_SET_DESC_SIZE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_FLAGS,
        NFTA_SET_KEY_LEN, NFTA_SET_KEY_TYPE, NFTA_SET_NAME, NFTA_SET_TIMEOUT, NFTA_TABLE_FLAGS,
        NFTA_TABLE_NAME,
    },
};
use elements::ElementReader;

/// How often a dump begins anew before it gives up: each time, somebody changed a ruleset meanwhile.
const ATTEMPTS: usize = 10;

/// The priority in [`BaseChain`] that stands for a base chain that the model cannot describe, so that it
/// differs from every chain that Portolan declares: one of another type, with another policy, or asleep with
/// its table.
pub const FOREIGN_PRIORITY: i32 = i32::MIN;

/// Reads the tables of this name. See [`Kernel::dump`](super::Kernel::dump).
pub(super) fn dump(connection: &mut Connection, table: &str) -> Result<Ruleset, Error> {
    for _ in 0..ATTEMPTS {
        let before = generation(connection)?;
        if let Some(ruleset) = attempt(connection, table)?
            && generation(connection)?.id == before.id
        {
            return Ok(ruleset);
        }
    }
    Err(Error::Unknown(format!("the ruleset changed during each of {ATTEMPTS} dumps")))
}

/// The present generation.
pub(super) fn generation(connection: &mut Connection) -> Result<Generation, Error> {
    let mut generation = None;
    for _ in 0..ATTEMPTS {
        connection
            .request(NFT_MSG_GETGEN, 0, false, &[], |message| generation = Generation::read(message))?;
        if let Some(generation) = generation {
            return Ok(generation);
        }
    }
    Err(Error::Unknown("the kernel does not tell the ruleset's generation".to_owned()))
}

/// One attempt; `None` if something changed meanwhile.
fn attempt(connection: &mut Connection, name: &str) -> Result<Option<Ruleset>, Error> {
    let mut ruleset = Ruleset::default();
    for family in Family::ALL {
        let mut reader = Reader { connection, family, name };
        match reader.table()? {
            Reading::Complete(table) => {
                ruleset.tables.insert(family, table);
            }
            Reading::Absent => {}
            Reading::Interrupted => return Ok(None),
        }
    }
    Ok(Some(ruleset))
}

enum Reading {
    Complete(Table),
    Absent,
    Interrupted,
}

struct Reader<'a> {
    connection: &'a mut Connection,
    family: Family,
    name: &'a str,
}

impl Reader<'_> {
    fn table(&mut self) -> Result<Reading, Error> {
        let mut flags = 0;
        let own = [(NFTA_TABLE_NAME, self.name)];
        let read = |message: &Message<'_>| flags = message.attributes().number(NFTA_TABLE_FLAGS).unwrap_or(0);
        match self.connection.request(NFT_MSG_GETTABLE, self.family.number(), false, &own, read)? {
            Outcome::Complete => {}
            Outcome::Absent => return Ok(Reading::Absent),
            Outcome::Interrupted => return Ok(Reading::Interrupted),
        }
        let mut table = Table::new(self.name);
        let complete = self.sets(&mut table)?
            && self.chains(&mut table, flags & NFT_TABLE_F_DORMANT != 0)?
            && self.rules(&mut table)?;
        Ok(if complete { Reading::Complete(table) } else { Reading::Interrupted })
    }

    /// Asks for all objects of one kind in the table. Returns whether the replies fit together.
    fn all(
        &mut self,
        kind: u16,
        more: &[(u16, &str)],
        mut read: impl FnMut(Attributes<'_>),
    ) -> Result<bool, Error> {
        let mut own = vec![(NFTA_TABLE_NAME, self.name)];
        own.extend_from_slice(more);
        let (family, name) = (self.family.number(), self.name);
        // The kernel does not filter every kind of dump by table.
        let read = |message: &Message<'_>| {
            let attributes = message.attributes();
            let table = attributes.find(NFTA_TABLE_NAME);
            if message.family() == family && table.and_then(|table| table.string()) == Some(name) {
                read(attributes);
            }
        };
        Ok(self.connection.request(kind, family, true, &own, read)? == Outcome::Complete)
    }

    fn sets(&mut self, table: &mut Table) -> Result<bool, Error> {
        let mut sets = Vec::new();
        if !self.all(NFT_MSG_GETSET, &[], |attributes| sets.extend(set(attributes)))? {
            return Ok(false);
        }
        for mut set in sets {
            // The elements of a dynamic set come and go by themselves; those of an unknown type mean nothing.
            if !(set.flags.dynamic || set.flags.timeout || set.key.is_empty()) {
                let mut elements = ElementReader::of(&set);
                let name = set.name.clone();
                let only = [(NFTA_SET_ELEM_LIST_SET, &*name)];
                if !self.all(NFT_MSG_GETSETELEM, &only, |attributes| elements.read(attributes))? {
                    return Ok(false);
                }
                set.elements = elements.finish();
            }
            table.add_set(set);
        }
        Ok(true)
    }

    fn chains(&mut self, table: &mut Table, dormant: bool) -> Result<bool, Error> {
        self.all(NFT_MSG_GETCHAIN, &[], |attributes| {
            if let Some(chain) = chain(attributes, dormant) {
                table.add_chain(chain);
            }
        })
    }

    fn rules(&mut self, table: &mut Table) -> Result<bool, Error> {
        let family = self.family;
        self.all(NFT_MSG_GETRULE, &[], |attributes| {
            let chain = attributes.find(NFTA_RULE_CHAIN).and_then(|chain| chain.string());
            if let Some(chain) = chain.and_then(|chain| table.chains.get_mut(chain)) {
                chain.rules.push(rule(family, attributes));
            }
        })
    }
}

fn rule(family: Family, attributes: Attributes<'_>) -> Rule {
    let expressions = attributes.find(NFTA_RULE_EXPRESSIONS).map_or(Attributes(&[]), |list| list.nested());
    delinearize_or_foreign(family, &parse_expressions(expressions))
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
    let own_timeout = attributes.find(NFTA_SET_TIMEOUT).is_some();
    let known = declaration::read(&name, flags, key, data, size).filter(|_| !own_timeout);
    Some(known.unwrap_or_else(|| unknown_set(name)))
}

fn unknown_set(name: Name) -> Set {
    Set {
        name,
        key: Vec::new(),
        data: SetData::None,
        flags: SetFlags::default(),
        size: None,
        elements: Elements::new(),
    }
}

/// A chain without its rules. `None` for a chain that belongs to the rule that jumps there.
fn chain(attributes: Attributes<'_>, dormant: bool) -> Option<Chain> {
    let name: Arc<str> = attributes.find(NFTA_CHAIN_NAME)?.name()?;
    let flags = attributes.number(NFTA_CHAIN_FLAGS).unwrap_or(0);
    if flags & NFT_CHAIN_BINDING != 0 {
        return None;
    }
    let base = attributes.find(NFTA_CHAIN_HOOK).map(|_| {
        let described = if dormant || flags & !NFT_CHAIN_BASE != 0 { None } else { base(attributes) };
        described.unwrap_or(BaseChain {
            chain_type: ChainType::Filter,
            hook: Hook::Prerouting,
            priority: FOREIGN_PRIORITY,
        })
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
