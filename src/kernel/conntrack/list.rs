//! Lists flows as they are, for people.

use std::{collections::BTreeSet, fmt, net::SocketAddr, time::Duration};

use portolan_rules::{incremental::flows::Destination, model::Protocol, ruleset::Family};

use super::{
    ATTEMPTS, Conntrack, Error, ONE_BY_ONE,
    entry::{end, tcp_state},
    request::Filter,
    uapi::{
        CTA_COUNTERS_BYTES, CTA_COUNTERS_ORIG, CTA_COUNTERS_REPLY, CTA_IP_V4_DST, CTA_IP_V4_SRC,
        CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_PROTO_DST_PORT, CTA_PROTO_SRC_PORT, CTA_STATUS, CTA_TIMEOUT,
        CTA_TIMESTAMP, CTA_TIMESTAMP_START, CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, IPS_ASSURED, IPS_SEEN_REPLY,
    },
};
use crate::kernel::nftables::{attributes::Attributes, connection::Outcome};

/// A flow whose destination was translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its protocol.
    pub protocol: Protocol,
    /// Who sends (source of the original direction).
    pub client: SocketAddr,
    /// Where to (destination of the original direction).
    pub frontend: SocketAddr,
    /// Who answers (source of the reply direction).
    pub endpoint: SocketAddr,
    /// Its state.
    pub state: FlowState,
    /// When it is forgotten if nothing more comes.
    pub expires: Option<Duration>,
    /// When it began, in nanoseconds since the epoch (`net.netfilter.nf_conntrack_timestamp`).
    pub began: Option<u64>,
    /// Bytes in both directions (`net.netfilter.nf_conntrack_acct`).
    pub bytes: Option<u64>,
}

/// The state of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowState {
    /// A state of TCP, as the kernel numbers them.
    Tcp(u8),
    /// Nothing came back.
    Unreplied,
    /// An answer was seen.
    Replied,
    /// It was in use for a while.
    Assured,
}

impl fmt::Display for FlowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TCP: [&str; 10] = [
            "NONE",
            "SYN_SENT",
            "SYN_RECV",
            "ESTABLISHED",
            "FIN_WAIT",
            "CLOSE_WAIT",
            "LAST_ACK",
            "TIME_WAIT",
            "CLOSE",
            "SYN_SENT2",
        ];
        f.pad(match self {
            Self::Tcp(number) => TCP.get(usize::from(*number)).copied().unwrap_or("UNKNOWN"),
            Self::Unreplied => "UNREPLIED",
            Self::Replied => "REPLIED",
            Self::Assured => "ASSURED",
        })
    }
}

impl Conntrack {
    /// The flows to these destinations, or of all without any, whose destination was translated. The kernel leaves others out
    /// where the destinations are few; the rest is up to the caller.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn list(&mut self, destinations: &[(Protocol, SocketAddr)]) -> Result<Vec<Flow>, Error> {
        let mut flows = Vec::new();
        for family in Family::ALL {
            let own = destinations.iter().filter(|(_, at)| Family::of(at.ip()) == family);
            let mut filters: BTreeSet<Filter> =
                own.map(|(protocol, at)| Filter::to(Destination::new(*protocol, *at))).collect();
            let is_any = destinations.is_empty() || !filters.is_empty() && !self.filters;
            if is_any || filters.len() > ONE_BY_ONE {
                filters = [Filter::Nothing].into();
            }
            for filter in filters {
                flows.extend(self.list_of(family, filter)?);
            }
        }
        Ok(flows)
    }

    fn list_of(&mut self, family: Family, filter: Filter) -> Result<Vec<Flow>, Error> {
        for _ in 0..ATTEMPTS {
            let mut flows = Vec::new();
            let outcome = self.dump(family.number(), filter, true, |attributes| {
                flows.extend(read(attributes).filter(|flow| flow.endpoint != flow.frontend));
            })?;
            if outcome == Outcome::Complete {
                return Ok(flows);
            }
        }
        Err(Error::Interrupted)
    }
}

/// Reads an entry; `None` if it is of another protocol than Services have.
fn read(attributes: Attributes<'_>) -> Option<Flow> {
    let original = attributes.find(CTA_TUPLE_ORIG)?.nested();
    let reply = attributes.find(CTA_TUPLE_REPLY)?.nested();
    let source = [CTA_IP_V4_SRC, CTA_IP_V6_SRC];
    let (protocol, client) = end(original, source, CTA_PROTO_SRC_PORT)?;
    let (_, frontend) = end(original, [CTA_IP_V4_DST, CTA_IP_V6_DST], CTA_PROTO_DST_PORT)?;
    let (_, endpoint) = end(reply, source, CTA_PROTO_SRC_PORT)?;
    let status = attributes.number(CTA_STATUS).unwrap_or_default();
    let state = match tcp_state(attributes) {
        Some(number) => FlowState::Tcp(number),
        None if status & IPS_ASSURED != 0 => FlowState::Assured,
        None if status & IPS_SEEN_REPLY != 0 => FlowState::Replied,
        None => FlowState::Unreplied,
    };
    let bytes = |kind| attributes.nested(kind).find(CTA_COUNTERS_BYTES)?.long();
    Some(Flow {
        protocol,
        client,
        frontend,
        endpoint,
        state,
        expires: attributes.number(CTA_TIMEOUT).map(|seconds| Duration::from_secs(seconds.into())),
        began: attributes.nested(CTA_TIMESTAMP).find(CTA_TIMESTAMP_START).and_then(|start| start.long()),
        bytes: match (bytes(CTA_COUNTERS_ORIG), bytes(CTA_COUNTERS_REPLY)) {
            (None, None) => None,
            (sent, answered) => Some(sent.unwrap_or_default().saturating_add(answered.unwrap_or_default())),
        },
    })
}
