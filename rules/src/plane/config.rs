//! Settings that the rules depend on.

use std::{net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::ruleset::{BitOp, Expression, Family, Field, MatchValue, Name, Statement, WritableField};

/// How connections of pods are recognised (`detectLocalMode`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum PodDetector {
    /// Not at all: no traffic to a ClusterIP is masqueraded because of where it comes from.
    #[default]
    None,
    /// By their address: at most one network per family (`ClusterCIDR`, `NodeCIDR`).
    Networks(Vec<IpNetwork>),
    /// By the interface that they come in through (`BridgeInterface`, `InterfaceNamePrefix`).
    Interface {
        /// The name or its beginning.
        name: Arc<str>,
        /// Whether any name with this beginning counts.
        prefix: bool,
    },
}

impl PodDetector {
    /// A match on connections that come from pods, if these can be recognised in this family.
    pub fn from(&self, family: Family) -> Option<Statement> {
        self.matching(family).map(|(field, value)| Statement::equal(field, value))
    }

    /// A match on connections that do not come from pods.
    pub fn not_from(&self, family: Family) -> Option<Statement> {
        self.matching(family).map(|(field, value)| Statement::not_equal(field, value))
    }

    fn matching(&self, family: Family) -> Option<(Field, MatchValue)> {
        match self {
            Self::None => None,
            Self::Networks(networks) => {
                let network = networks.iter().find(|network| Family::of(network.ip()) == family)?;
                Some((Field::SourceAddress, MatchValue::Prefix(*network)))
            }
            Self::Interface { name, prefix } => {
                let value = MatchValue::Interface { name: name.clone(), prefix: *prefix };
                Some((Field::InputInterface, value))
            }
        }
    }
}

/// Settings that the rules depend on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Config {
    /// Name of the tables.
    pub table: Name,
    /// The families that have a table, in the order of [`Family::ALL`]. Addresses of other families are not served.
    pub families: Vec<Family>,
    /// How connections of pods are recognised.
    pub pods: PodDetector,
    /// Masquerade every connection to a ClusterIP (`--masquerade-all`).
    pub masquerade_all: bool,
    /// Bit of the packet mark that asks for masquerading (`masqueradeBit`), 0 to 31.
    pub masquerade_bit: u8,
    /// Count the new connections that each frontend and each endpoint takes (`--endpoint-counters`).
    pub endpoint_counters: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            table: "portolan".into(),
            families: Family::ALL.to_vec(),
            pods: PodDetector::None,
            masquerade_all: false,
            masquerade_bit: 14,
            endpoint_counters: false,
        }
    }
}

impl Config {
    /// Whether there is a table of this address's family.
    pub fn serves(&self, address: IpAddr) -> bool {
        self.families.contains(&Family::of(address))
    }

    /// The mark with only the masquerade bit set.
    pub const fn masquerade_mark(&self) -> u32 {
        1 << (self.masquerade_bit & 31)
    }

    /// `meta mark set meta mark | bit`: postrouting masquerades packets that carry the bit.
    pub fn mark(&self) -> Statement {
        let marked = Expression::from(Field::Mark).bitwise(BitOp::Or, self.masquerade_mark());
        Statement::set(WritableField::Mark, marked)
    }
}
