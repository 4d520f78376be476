//! Reads the counters of the elements of frontends and endpoints.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    ops::ControlFlow,
    sync::Arc,
};

use portolan_rules::{
    frontends::FrontendKey,
    plane::{Class, Config, SetName, endpoint_from_value, number_from_value, planes::counterpart},
    ruleset::{DataType, ElementData, Family},
};

use super::{
    attributes::Attributes,
    connection::{Connection, Outcome},
    dump::is_exchanged,
    element::{comment, read_value},
    error::Error,
    reader::Reader,
    uapi::*,
};

/// How often to read again because some table changed meanwhile.
const ATTEMPTS: usize = 5;

/// The counter of one element since it was added. The element is one of an endpoint map, or a frontend without
/// endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The frontend.
    pub frontend: FrontendKey,
    /// The endpoint's slot or id; [`Count::NO_SLOT`] without an endpoint.
    pub slot: u32,
    /// The endpoint; `None` if the frontend has no endpoints, so that connections are refused or dropped.
    pub endpoint: Option<SocketAddr>,
    /// The frontend's comment: `namespace/name:port`, or `namespace/name` if the port has no name.
    pub owner: Arc<str>,
    /// Number of new connections: packets that matched the element (`NFTA_COUNTER_PACKETS`). Only the first packet of a
    /// connection passes chains of type nat.
    pub connections: u64,
}

impl Count {
    /// The slot of a frontend without endpoints.
    pub const NO_SLOT: u32 = u32::MAX;
}

/// The counters of all elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counts {
    /// The counter of each element.
    All(Vec<Count>),
    /// Tables changed during every attempt, so that some elements may be missing or listed twice.
    Some(Vec<Count>),
    /// There are more elements than the limit.
    TooMany,
}

/// Reads the counters of the tables of this name, if their maps of frontends and endpoints have at most `limit`
/// elements in total. Leaves out elements without a counter, and endpoints whose frontend has no comment.
///
/// Opens a new socket in the network namespace of this thread. Blocks while the kernel dumps the maps: a third of a
/// second for 100,000 elements.
pub fn read_counts(table: &str, limit: usize) -> Result<Counts, Error> {
    let mut last = Vec::new();
    for _ in 0..ATTEMPTS {
        let mut reading = Reading { rest: Some(limit), ..Reading::default() };
        // A new socket for each attempt, since one whose dump was abandoned cannot be used again.
        let mut connection = Connection::open()?;
        for family in Family::ALL {
            reading.family(&mut Reader { connection: &mut connection, family, table })?;
            if reading.rest.is_none() {
                return Ok(Counts::TooMany);
            }
        }
        if !reading.is_interrupted {
            return Ok(Counts::All(reading.counts));
        }
        last = reading.counts;
    }
    Ok(Counts::Some(last))
}

#[derive(Default)]
struct Reading {
    /// How many more elements may be read; `None` once the limit is exceeded.
    rest: Option<usize>,
    /// Whether tables changed meanwhile.
    is_interrupted: bool,
    owners: HashMap<FrontendKey, Arc<str>>,
    counts: Vec<Count>,
}

impl Reading {
    /// Reads the maps of a family, until the limit is exceeded.
    fn family(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let (family, is_exchanged) = (reader.family, is_exchanged(reader)?);
        let mut comments = HashSet::<Arc<str>>::new();
        // Frontends first: an endpoint whose frontend was added meanwhile is left out until the next reading.
        for map in [SetName::Frontends, SetName::NodePorts, SetName::Endpoints, SetName::NodeEndpoints] {
            let types = map.declaration(&Config::default(), family, 0).key;
            let name = if is_exchanged { counterpart(map.name()) } else { map.name().into() };
            let is_of_owners = matches!(map, SetName::Frontends | SetName::NodePorts);
            let outcome = reader.elements(&name, |element| {
                self.rest = self.rest.and_then(|rest| rest.checked_sub(1));
                if self.rest.is_none() {
                    return ControlFlow::Break(());
                }
                if !is_of_owners {
                    self.counts.extend(count(family, &types, element, &self.owners));
                } else if let Some((frontend, text)) = owner(family, &types, element) {
                    let owner = comments.get(text).cloned().unwrap_or_else(|| text.into());
                    comments.insert(owner.clone());
                    self.counts.extend(refused(frontend, &owner, element));
                    self.owners.insert(frontend, owner);
                }
                ControlFlow::Continue(())
            })?;
            if self.rest.is_none() {
                break;
            }
            // A table that does not exist has no counters.
            self.is_interrupted |= !matches!(outcome, Outcome::Complete | Outcome::Absent);
        }
        Ok(())
    }
}

/// The frontend of an element of a class map, and its comment.
fn owner<'a>(family: Family, types: &[DataType], element: Attributes<'a>) -> Option<(FrontendKey, &'a str)> {
    let key = read_value(element.find(NFTA_SET_ELEM_KEY)?)?;
    let frontend = FrontendKey::from_values(family, &key.values(types)?)?;
    Some((frontend, comment(element.find(NFTA_SET_ELEM_USERDATA)?.value)?))
}

/// The counter of a frontend without endpoints.
fn refused(frontend: FrontendKey, owner: &Arc<str>, element: Attributes<'_>) -> Option<Count> {
    let class = number_from_value(&ElementData::Value(read_value(element.find(NFTA_SET_ELEM_DATA)?)?))?;
    if Class::CONSTANT.iter().all(|without_endpoints| without_endpoints.id() != class) {
        return None;
    }
    let connections = packets(element)?;
    Some(Count { frontend, slot: Count::NO_SLOT, endpoint: None, owner: owner.clone(), connections })
}

/// The counter of an element of an endpoint map.
fn count(
    family: Family,
    types: &[DataType],
    element: Attributes<'_>,
    owners: &HashMap<FrontendKey, Arc<str>>,
) -> Option<Count> {
    let key = read_value(element.find(NFTA_SET_ELEM_KEY)?)?;
    let (frontend, slot) = FrontendKey::from_slot(family, types, &key)?;
    let endpoint = Some(endpoint_from_value(family, &read_value(element.find(NFTA_SET_ELEM_DATA)?)?)?);
    let connections = packets(element)?;
    Some(Count { frontend, slot, endpoint, owner: owners.get(&frontend)?.clone(), connections })
}

/// The number of packets in an element's counter; `None` if it has no counter.
fn packets(element: Attributes<'_>) -> Option<u64> {
    let expression = element.nested(NFTA_SET_ELEM_EXPR);
    if expression.string(NFTA_EXPR_NAME)? != COUNTER {
        return None;
    }
    expression.nested(NFTA_EXPR_DATA).find(NFTA_COUNTER_PACKETS)?.long()
}
