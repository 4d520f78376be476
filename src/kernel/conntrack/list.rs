//! Lists translated flows.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    net::SocketAddr,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use portolan_rules::{incremental::flows::Destination, model::Protocol, ruleset::Family};

use super::{
    entry::{end, tcp_state},
    request::Filter,
    socket::{Conntrack, Error, ONE_BY_ONE},
    uapi::*,
};
use crate::kernel::nftables::{attributes::Attributes, connection::Outcome};

/// A flow whose destination was translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its protocol.
    pub protocol: Protocol,
    /// The sender: source of the original direction.
    pub client: SocketAddr,
    /// The destination of the original direction.
    pub frontend: SocketAddr,
    /// The endpoint that replies: source of the reply direction.
    pub endpoint: SocketAddr,
    /// Its state.
    pub state: FlowState,
    /// When the entry expires if no more packets arrive.
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
    /// No reply was seen.
    Unreplied,
    /// A reply was seen.
    Replied,
    /// Packets were seen in both directions for a while (`IPS_ASSURED`).
    Assured,
}

impl FlowState {
    /// Its name in conntrack(8).
    pub fn name(self) -> &'static str {
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
        match self {
            Self::Tcp(number) => TCP.get(usize::from(number)).copied().unwrap_or("UNKNOWN"),
            Self::Unreplied => "UNREPLIED",
            Self::Replied => "REPLIED",
            Self::Assured => "ASSURED",
        }
    }
}

impl fmt::Display for FlowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Limits of a listing.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Maximum number of flows.
    pub most: usize,
    /// When to stop.
    pub until: Option<Instant>,
}

impl Bounds {
    /// No limits.
    pub const NONE: Self = Self { most: usize::MAX, until: None };
}

/// The result of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The flows.
    pub flows: Vec<Flow>,
    /// Whether the limits may have cut off flows.
    pub is_cut: bool,
}

/// Lists the translated flows to these destinations, or all translated flows if there are no destinations. The kernel
/// filters them where it can.
///
/// # Errors
/// The kernel could not be asked.
pub fn list(destinations: &[(Protocol, SocketAddr)], bounds: Bounds) -> Result<Listed, Error> {
    // A new socket, since it cannot be used again once the limits end the listing.
    let mut conntrack = Conntrack::open()?;
    let mut listed = Listed::default();
    let wanted: HashSet<(Protocol, SocketAddr)> = destinations.iter().copied().collect();
    let is_wanted = |flow: &Flow| {
        flow.endpoint != flow.frontend
            && (wanted.is_empty() || wanted.contains(&(flow.protocol, flow.frontend)))
    };
    for (family, filter) in filters(destinations) {
        let before = listed.flows.len();
        conntrack.repeat(|conntrack| {
            listed.flows.truncate(before);
            let outcome = conntrack.dump(family.number(), filter, true, |attributes| {
                let is_late = bounds.until.is_some_and(|until| Instant::now() >= until);
                if listed.flows.len() >= bounds.most || is_late {
                    listed.is_cut = true;
                    return ControlFlow::Break(());
                }
                listed.flows.extend(read(attributes).filter(&is_wanted));
                ControlFlow::Continue(())
            })?;
            Ok(outcome == Outcome::Complete || listed.is_cut)
        })?;
        if listed.is_cut {
            break;
        }
    }
    Ok(listed)
}

/// The filters for flows to these destinations, by family; without destinations, one for all flows.
fn filters(destinations: &[(Protocol, SocketAddr)]) -> Vec<(Family, Filter)> {
    let of_family = |family| {
        let own = destinations.iter().filter(move |(_, at)| Family::of(at.ip()) == family);
        let filters = if destinations.is_empty() {
            [Filter::default()].into()
        } else {
            few(own.map(|(protocol, at)| Filter::to(Destination::new(*protocol, *at))).collect())
        };
        filters.into_iter().map(move |filter| (family, filter))
    };
    Family::ALL.into_iter().flat_map(of_family).collect()
}

/// Reduces the number of filters, since the kernel walks its whole table for each: if there are too many, addresses are
/// left out, and then ports.
fn few(filters: BTreeSet<Filter>) -> BTreeSet<Filter> {
    let fold = |filters: BTreeSet<Filter>, fold: fn(Filter) -> Filter| -> BTreeSet<Filter> {
        if filters.len() > ONE_BY_ONE { filters.into_iter().map(fold).collect() } else { filters }
    };
    let without_addresses = fold(filters, |filter| Filter { address: None, ..filter });
    fold(without_addresses, |filter| Filter { port: None, ..filter })
}

/// Reads an entry; `None` if its protocol is not one of Services.
fn read(attributes: Attributes<'_>) -> Option<Flow> {
    let (original, reply) = (attributes.nested(CTA_TUPLE_ORIG), attributes.nested(CTA_TUPLE_REPLY));
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
