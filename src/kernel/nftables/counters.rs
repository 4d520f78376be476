//! Reads the counters on the elements of the endpoint maps, and nothing else that there are many of.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    ops::ControlFlow,
    sync::Arc,
};

use portolan_rules::{
    compile::{Config, FrontendKey, SetName, endpoint_from_value},
    planes::counterpart,
    ruleset::{Concat, DataType, Family},
};

use super::{
    Error,
    attributes::{Attribute, Attributes},
    connection::{Connection, Outcome},
    dump::is_exchanged,
    element::{comment, padded},
    uapi::{
        COUNTER, NFT_MSG_GETSETELEM, NFTA_COUNTER_PACKETS, NFTA_DATA_VALUE, NFTA_EXPR_DATA, NFTA_EXPR_NAME,
        NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_EXPR, NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_LIST_ELEMENTS,
        NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_USERDATA, NFTA_TABLE_NAME,
    },
    wire,
};

/// How often a reading begins anew: each time, somebody changed any table meanwhile.
const ATTEMPTS: usize = 5;

/// What an element of an endpoint map has counted since it was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The frontend.
    pub frontend: FrontendKey,
    /// Its slot, or the endpoint's lasting number.
    pub slot: u32,
    /// The endpoint there.
    pub endpoint: SocketAddr,
    /// The frontend's comment: `namespace/name:port`, or `namespace/name` of a port without a name.
    pub owner: Arc<str>,
    /// New connections: packets that found the element (`NFTA_COUNTER_PACKETS`). Chains of nat see only the first
    /// packet of a connection.
    pub connections: u64,
}

/// What all elements have counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Each element.
    All(Vec<Count>),
    /// Tables changed during every attempt, so that some elements may be missing or there twice.
    Some(Vec<Count>),
    /// There are more elements than may be read.
    TooMany,
}

/// Reads the counters of the tables of this name, if they have no more than `limit` frontends and endpoints at slots in
/// all. What has no counter, or no frontend with a comment, is left out.
///
/// Opens a socket of its own in the network namespace of this thread, and waits for nobody. The kernel takes a third
/// of a second for 100,000 elements.
pub fn read_counts(table: &str, limit: usize) -> Result<Counts, Error> {
    let mut last = Vec::new();
    for _ in 0..ATTEMPTS {
        // A socket whose dump was given up is closed with it.
        let connection = Connection::open()?;
        let mut reader = Reader { connection, table, rest: limit, interrupted: false, is_exchanged: false };
        match reader.read()? {
            None => return Ok(Counts::TooMany),
            Some(counts) if !reader.interrupted => return Ok(Counts::All(counts)),
            Some(counts) => last = counts,
        }
    }
    Ok(Counts::Some(last))
}

struct Reader<'a> {
    connection: Connection,
    table: &'a str,
    /// How many elements may still be read.
    rest: usize,
    /// Whether tables changed meanwhile.
    interrupted: bool,
    /// Whether the plane in force has the names of the other one.
    is_exchanged: bool,
}

impl Reader<'_> {
    /// All counts; `None` if there are too many.
    fn read(&mut self) -> Result<Option<Vec<Count>>, Error> {
        // Owners first: an endpoint whose frontend is younger than that has to wait for the next reading.
        let (mut owners, mut comments) = (HashMap::new(), HashSet::<Arc<str>>::new());
        let mut counts = Vec::new();
        for family in Family::ALL {
            self.is_exchanged = is_exchanged(&mut self.connection, family, self.table)?;
            for map in [SetName::Frontends, SetName::NodePorts] {
                let types = types(family, map);
                let complete = self.elements(family, map, |element| {
                    let Some((frontend, text)) = owner(family, &types, element) else { return };
                    let owner = comments.get(text).cloned().unwrap_or_else(|| {
                        let owner: Arc<str> = text.into();
                        comments.insert(owner.clone());
                        owner
                    });
                    owners.insert(frontend, owner);
                })?;
                if !complete {
                    return Ok(None);
                }
            }
            for map in [SetName::Endpoints, SetName::NodeEndpoints] {
                let types = types(family, map);
                let read = |element: Attributes<'_>| counts.extend(count(family, &types, element, &owners));
                if !self.elements(family, map, read)? {
                    return Ok(None);
                }
            }
        }
        Ok(Some(counts))
    }

    /// Reads the elements of a map; says whether they were not too many.
    fn elements(
        &mut self,
        family: Family,
        map: SetName,
        mut read: impl FnMut(Attributes<'_>),
    ) -> Result<bool, Error> {
        let Self { connection, table, rest, is_exchanged, .. } = self;
        let name = if *is_exchanged { counterpart(map.name()) } else { map.name().into() };
        let mut too_many = false;
        let write = |request: &mut Vec<u8>| {
            wire::string(request, NFTA_TABLE_NAME, table);
            wire::string(request, NFTA_SET_ELEM_LIST_SET, &name);
        };
        let kind = wire::nf_tables(NFT_MSG_GETSETELEM);
        let outcome = connection.ask(kind, family.number(), true, write, |message| {
            let Some(list) = message.attributes().find(NFTA_SET_ELEM_LIST_ELEMENTS) else {
                return ControlFlow::Continue(());
            };
            for element in list.nested() {
                let Some(less) = rest.checked_sub(1) else {
                    too_many = true;
                    return ControlFlow::Break(());
                };
                *rest = less;
                read(element.nested());
            }
            ControlFlow::Continue(())
        })?;
        // A table that is not there has counted nothing.
        self.interrupted |= !matches!(outcome, Outcome::Complete | Outcome::Absent);
        Ok(!too_many)
    }
}

/// The types of a map's key.
fn types(family: Family, map: SetName) -> Vec<DataType> {
    map.declaration(&Config::default(), family, 0).key
}

/// The frontend of an element of a class map, and its comment.
fn owner<'a>(family: Family, types: &[DataType], element: Attributes<'a>) -> Option<(FrontendKey, &'a str)> {
    let key = value(element.find(NFTA_SET_ELEM_KEY)?)?;
    let frontend = FrontendKey::from_values(family, &key.values(types)?)?;
    Some((frontend, comment(element.find(NFTA_SET_ELEM_USERDATA)?.value)?))
}

/// What an element of an endpoint map has counted.
fn count(
    family: Family,
    types: &[DataType],
    element: Attributes<'_>,
    owners: &HashMap<FrontendKey, Arc<str>>,
) -> Option<Count> {
    let key = value(element.find(NFTA_SET_ELEM_KEY)?)?;
    let (frontend, slot) = FrontendKey::from_slot(family, types, &key)?;
    let endpoint = endpoint_from_value(family, &value(element.find(NFTA_SET_ELEM_DATA)?)?)?;
    let expression = element.find(NFTA_SET_ELEM_EXPR)?.nested();
    if expression.find(NFTA_EXPR_NAME)?.string() != Some(COUNTER) {
        return None;
    }
    let connections = expression.find(NFTA_EXPR_DATA)?.nested().find(NFTA_COUNTER_PACKETS)?.long()?;
    Some(Count { frontend, slot, endpoint, owner: owners.get(&frontend)?.clone(), connections })
}

fn value(attribute: Attribute<'_>) -> Option<Concat> {
    Some(padded(attribute.nested().find(NFTA_DATA_VALUE)?.value))
}
