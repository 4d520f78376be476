//! Classes: how the first packet of a connection to a frontend is treated.
//!
//! A class is a number in the frontends map and a chain. The number is computed from the meaning of the class, so a
//! restart arrives at the same numbers although nothing is stored. Everything that differs between Services (endpoints,
//! source ranges, clients) is an element of a map: chains multiply only with the number of *different numbers of
//! endpoints*, and with the 136 timeouts of session affinity.

use crate::{
    frontends::FrontendKind,
    ruleset::{
        Chain, ClassId, Expression, Family, Field, MatchValue, Name, RejectWith, Rule, Statement, Verdict,
        WritableField,
    },
    selection::EndpointScope,
};

use super::{
    chains,
    config::Config,
    dispatch::in_source_ranges,
    keys::{Keys, LOCAL_SLOTS, attribute},
    pick::{Pick, Picks},
    range_list::RangeList,
    session_affinity::{affinity_rules, remember_chain, remember_chains, remembered_by},
    sets::SetName,
};

/// A treatment together with how it picks an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Refuse: no endpoint anywhere.
    NoEndpoints,
    /// Drop: the policy requires endpoints on this node, and all are on other nodes.
    NoLocalEndpoints,
    /// As [`Class::NoEndpoints`] for sources in the Service's ranges; packets from other sources are dropped.
    RestrictedNoEndpoints(RangeList),
    /// Not the class of a frontend: chains with session affinity jump to it to remember a client for this number of
    /// seconds.
    Remember(u32),
    /// Not the class of a frontend: other chains jump to it to choose a slot for a client that session affinity does
    /// not remember.
    Draw(Pick),
    /// The same among the slots of policy Local.
    DrawLocal(Pick),
    /// A ClusterIP: masquerade connections that do not come from a pod.
    Cluster(Pick),
    /// An external address (load balancer, externalIP): masquerade everything.
    External(Pick),
    /// A node port: masquerade everything.
    NodePort(Pick),
    /// An external address under policy Local.
    Local(Pick),
    /// A node port under policy Local.
    NodePortLocal(Pick),
    /// An address, without masquerading: under policy Local, traffic from pods is led to it.
    Direct(Pick),
    /// A node port, without masquerading.
    NodePortDirect(Pick),
    /// As [`Class::External`] for sources in the Service's ranges (`loadBalancerSourceRanges`).
    RestrictedExternal(RangeList, Pick),
    /// As [`Class::Local`] for sources in the Service's ranges.
    RestrictedLocal(RangeList, Pick),
}

impl Class {
    /// The class of a frontend, and the class that pods and this node are led to if that is another one.
    pub fn of_frontend(kind: FrontendKind, scope: EndpointScope, picks: Picks) -> (Self, Option<Self>) {
        let Picks { cluster: Some(all), local } = picks else { return (Self::NoEndpoints, None) };
        match (scope, kind) {
            (EndpointScope::Local, _) => (local.map_or(Self::NoLocalEndpoints, Self::Cluster), None),
            (EndpointScope::Cluster, FrontendKind::ClusterIp) => (Self::Cluster(all), None),
            (EndpointScope::Cluster, FrontendKind::NodePort) => (Self::NodePort(all), None),
            (EndpointScope::Cluster, _) => (Self::External(all), None),
            // Without a local endpoint, packets from outside are dropped, but those of pods still get through.
            (EndpointScope::LocalFromOutside, FrontendKind::NodePort) => {
                (Self::NodePortLocal(local.unwrap_or(Pick::Random(0))), Some(Self::NodePortDirect(all)))
            }
            (EndpointScope::LocalFromOutside, _) => {
                (Self::Local(local.unwrap_or(Pick::Random(0))), Some(Self::Direct(all)))
            }
        }
    }

    /// The classes that always exist.
    pub const CONSTANT: [Self; 4] = [
        Self::NoEndpoints,
        Self::NoLocalEndpoints,
        Self::RestrictedNoEndpoints(RangeList::First),
        Self::RestrictedNoEndpoints(RangeList::Second),
    ];

    /// The number and the name of its treatment, and how it picks.
    const fn parts(self) -> (u32, &'static str, Option<Pick>) {
        match self {
            Self::NoEndpoints => (1, chains::NO_ENDPOINTS, None),
            Self::NoLocalEndpoints => (2, chains::NO_LOCAL_ENDPOINTS, None),
            Self::RestrictedNoEndpoints(RangeList::First) => (3, "restricted-no-endpoints", None),
            Self::RestrictedNoEndpoints(RangeList::Second) => (4, "restricted-2-no-endpoints", None),
            Self::Cluster(pick) => (1, "cluster", Some(pick)),
            Self::External(pick) => (2, "external", Some(pick)),
            Self::NodePort(pick) => (3, "node-port", Some(pick)),
            Self::Local(pick) => (4, "local", Some(pick)),
            Self::NodePortLocal(pick) => (5, "node-port-local", Some(pick)),
            Self::Direct(pick) => (6, "direct", Some(pick)),
            Self::NodePortDirect(pick) => (7, "node-port-direct", Some(pick)),
            Self::RestrictedExternal(RangeList::First, pick) => (8, "restricted-external", Some(pick)),
            Self::RestrictedLocal(RangeList::First, pick) => (9, "restricted-local", Some(pick)),
            Self::Draw(pick) => (10, "draw", Some(pick)),
            Self::DrawLocal(pick) => (11, "draw-local", Some(pick)),
            Self::RestrictedExternal(RangeList::Second, pick) => (12, "restricted-2-external", Some(pick)),
            Self::RestrictedLocal(RangeList::Second, pick) => (13, "restricted-2-local", Some(pick)),
            Self::Remember(timeout) => (14, "affinity-remember", Some(Pick::Affinity(timeout))),
        }
    }

    /// The value in the frontends map: treatment and kind of pick in the upper bits, the pick's number in the lower.
    pub const fn id(self) -> ClassId {
        match self.parts() {
            (constant, _, None) => ClassId(constant),
            (treatment, _, Some(pick)) => ClassId(treatment << 16 | pick.id()),
        }
    }

    /// The slots that a class picks from, by the class's number: the first slot, and the number of slots. `None` if the
    /// class does not pick from slots itself.
    pub const fn slots_of(id: ClassId) -> Option<(u32, u32)> {
        let (treatment, is_affinity, slots) = (id.0 >> 16 & 0xf, id.0 >> 21 & 1 != 0, id.0 & 0xffff);
        match treatment {
            0 | 14.. => None,
            _ if is_affinity || slots == 0 => None,
            4 | 5 | 9 | 11 | 13 => Some((LOCAL_SLOTS, slots)),
            _ => Some((0, slots)),
        }
    }

    /// The list of source ranges that a class reads, by the class's number.
    pub const fn range_list_of(id: ClassId) -> Option<RangeList> {
        // The kind of pick is in the bits above the treatment, the pick's number in those below it.
        match (id.0, id.0 >> 16 & 0xf) {
            (3, 0) | (_, 8 | 9) => Some(RangeList::First),
            (4, 0) | (_, 12 | 13) => Some(RangeList::Second),
            _ => None,
        }
    }

    /// The chain that the class leads to.
    pub fn chain_name(self) -> Name {
        match (self, self.parts()) {
            (Self::Remember(timeout), _) => remember_chain(timeout),
            (_, (_, name, None)) => name.into(),
            (_, (_, treatment, Some(pick))) => format!("{treatment}-{pick}").into(),
        }
    }

    /// The class that a chain of this name belongs to.
    pub fn of_chain(name: &str) -> Option<Self> {
        const TREATMENTS: [fn(Pick) -> Class; 13] = [
            Class::Draw,
            Class::DrawLocal,
            Class::Cluster,
            Class::External,
            Class::NodePort,
            Class::Local,
            Class::NodePortLocal,
            Class::Direct,
            Class::NodePortDirect,
            |pick| Class::RestrictedExternal(RangeList::First, pick),
            |pick| Class::RestrictedExternal(RangeList::Second, pick),
            |pick| Class::RestrictedLocal(RangeList::First, pick),
            |pick| Class::RestrictedLocal(RangeList::Second, pick),
        ];
        if let Some(constant) = Self::CONSTANT.into_iter().find(|class| *class.chain_name() == *name) {
            return Some(constant);
        }
        if let Some(timeout) = remembered_by(name) {
            return Some(Self::Remember(timeout));
        }
        let pick = Pick::at_end_of(name)?;
        TREATMENTS.map(|class| class(pick)).into_iter().find(|class| *class.chain_name() == *name)
    }

    /// The verdict map that leads to the chain. Classes that other chains lead to have separate maps: if a verdict map
    /// could lead to a chain that reads the map, this would be a loop, which the kernel refuses.
    pub const fn verdict_map(self) -> SetName {
        match self {
            Self::Direct(_) | Self::NodePortDirect(_) => SetName::DirectClasses,
            Self::Draw(_) | Self::DrawLocal(_) => SetName::Draws,
            _ => SetName::Classes,
        }
    }

    /// The verdict in that map.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Draw(_) | Self::DrawLocal(_) => Verdict::Jump(self.chain_name()),
            _ => Verdict::Goto(self.chain_name()),
        }
    }

    /// The class for sources in the Service's ranges, if this class keeps other sources out.
    pub const fn admitted(self) -> Option<Self> {
        match self {
            Self::RestrictedNoEndpoints(_) => Some(Self::NoEndpoints),
            Self::RestrictedExternal(_, pick) => Some(Self::External(pick)),
            Self::RestrictedLocal(_, pick) => Some(Self::Local(pick)),
            _ => None,
        }
    }

    /// The list of ranges that it admits, if it keeps other sources out.
    pub const fn range_list(self) -> Option<RangeList> {
        match self {
            Self::RestrictedNoEndpoints(list)
            | Self::RestrictedExternal(list, _)
            | Self::RestrictedLocal(list, _) => Some(list),
            _ => None,
        }
    }

    /// The class that drops packets of sources outside of the Service's ranges, which are in this list, and treats all
    /// other packets as this class does.
    #[must_use]
    pub const fn restricted(self, list: RangeList) -> Self {
        match self {
            Self::NoEndpoints => Self::RestrictedNoEndpoints(list),
            Self::External(pick) => Self::RestrictedExternal(list, pick),
            Self::Local(pick) => Self::RestrictedLocal(list, pick),
            other => other,
        }
    }

    /// The chains of this class.
    pub fn chains(self, config: &Config, family: Family) -> Vec<Chain> {
        let mark = || Rule::new([config.mark()]);
        let rules = match self {
            Self::NoEndpoints => refuse(),
            Self::NoLocalEndpoints => vec![drop_it()],
            Self::RestrictedNoEndpoints(list)
            | Self::RestrictedExternal(list, _)
            | Self::RestrictedLocal(list, _) => {
                let admitted = self.admitted().unwrap_or(Self::NoEndpoints).chain_name();
                vec![Rule::new([in_source_ranges(list), Statement::goto(admitted)]), drop_it()]
            }
            Self::Remember(timeout) => return remember_chains(timeout),
            Self::Draw(pick) => vec![Rule::new(slot(pick, attribute::SLOTS))],
            Self::DrawLocal(pick) => vec![Rule::new(slot(pick, attribute::LOCAL_SLOTS))],
            Self::Cluster(p) => with(masquerade_non_pods(config, family), pick(p, Keys::Address, false)),
            Self::External(p) => with([mark()], pick(p, Keys::Address, false)),
            Self::NodePort(p) => with([mark()], pick(p, Keys::NodePort, false)),
            Self::Direct(p) => pick(p, Keys::Address, false),
            Self::NodePortDirect(p) => pick(p, Keys::NodePort, false),
            Self::Local(p) => {
                with(lead_past_local(config, family, chains::SHORT_CIRCUIT), pick(p, Keys::Address, true))
            }
            Self::NodePortLocal(p) => {
                let past = lead_past_local(config, family, chains::SHORT_CIRCUIT_NODE_PORT);
                with(past, pick(p, Keys::NodePort, true))
            }
        };
        vec![Chain::regular(self.chain_name(), rules)]
    }
}

/// The rules that choose a slot and send the packet there.
fn pick(pick: Pick, keys: Keys, is_local: bool) -> Vec<Rule> {
    let offset = if is_local { LOCAL_SLOTS } else { 0 };
    match pick {
        // Dropped, so that the client tries again and reaches another node.
        Pick::Random(0) => vec![drop_it()],
        Pick::Random(_) | Pick::SourceHash(_) => {
            let mut statements = slot(pick, offset);
            statements.push(Statement::goto(keys.send()));
            vec![Rule::new(statements)]
        }
        Pick::Affinity(timeout) => affinity_rules(timeout, keys, is_local),
    }
}

fn with(first: impl IntoIterator<Item = Rule>, rest: Vec<Rule>) -> Vec<Rule> {
    first.into_iter().chain(rest).collect()
}

/// The rules that refuse a packet. A reset is answered at once and never rate limited, unlike an ICMP error.
fn refuse() -> Vec<Rule> {
    vec![
        Rule::new([
            Statement::equal(Field::L4Proto, MatchValue::Proto(6)),
            Statement::Reject(RejectWith::TcpReset),
        ]),
        Rule::new([Statement::Reject(RejectWith::PortUnreachable)]),
    ]
}

fn drop_it() -> Rule {
    Rule::new([Statement::Verdict(Verdict::Drop)])
}

/// Puts a slot into the scratch field: `meta priority set numgen random mod N offset O`, each slot with equal
/// probability, or by the source address. Session affinity does not choose a slot.
fn slot(pick: Pick, offset: u32) -> Vec<Statement> {
    let slot = match pick {
        Pick::Random(n) => Expression::Random { modulus: u32::from(n), offset },
        Pick::SourceHash(size) => Expression::Hash {
            key: Box::new(Field::SourceAddress.into()),
            modulus: u32::from(size),
            seed: SOURCE_HASH_SEED,
            offset,
        },
        Pick::Affinity(_) => return Vec::new(),
    };
    vec![Statement::set(WritableField::Priority, slot)]
}

/// Seed of the hash of a client's address: the same on every node, so that all nodes choose the same endpoint.
const SOURCE_HASH_SEED: u32 = 0x706f_7274;

/// Marks connections to a ClusterIP that do not come from a pod. If pods cannot be recognised, no connection is marked,
/// unless all are to be masqueraded.
fn masquerade_non_pods(config: &Config, family: Family) -> Option<Rule> {
    if config.masquerade_all {
        return Some(Rule::new([config.mark()]));
    }
    let not_a_pod = config.pods.not_from(family)?;
    Some(Rule::new([not_a_pod, config.mark()]))
}

/// Under `externalTrafficPolicy: Local`, leads pods and this node to every endpoint; only packets from outside are
/// restricted to the endpoints on this node.
fn lead_past_local(config: &Config, family: Family, chain: &str) -> Vec<Rule> {
    let pods = config.pods.from(family).map(|from_pod| Rule::new([from_pod, Statement::goto(chain)]));
    let this_node = Rule::new([
        Statement::equal(Field::SourceAddressType, MatchValue::Local),
        config.mark(),
        Statement::goto(chain),
    ]);
    pods.into_iter().chain([this_node]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_found_by_the_name_of_each_of_its_chains() {
        let picks = [Pick::Random(0), Pick::Random(65_535), Pick::SourceHash(1021), Pick::Affinity(86_400)];
        let classes = picks.into_iter().flat_map(|pick| {
            [
                Class::Draw(pick),
                Class::DrawLocal(pick),
                Class::Cluster(pick),
                Class::External(pick),
                Class::NodePort(pick),
                Class::Local(pick),
                Class::NodePortLocal(pick),
                Class::Direct(pick),
                Class::NodePortDirect(pick),
                Class::RestrictedExternal(RangeList::First, pick),
                Class::RestrictedExternal(RangeList::Second, pick),
                Class::RestrictedLocal(RangeList::First, pick),
                Class::RestrictedLocal(RangeList::Second, pick),
            ]
        });
        for class in Class::CONSTANT.into_iter().chain([Class::Remember(10_800)]).chain(classes) {
            for chain in class.chains(&Config::default(), Family::Ip) {
                assert_eq!(Class::of_chain(&chain.name), Some(class), "{}", chain.name);
            }
        }
        for name in ["", "services", "cluster", "cluster-", "cluster-03", "cluster-65536", "affinity-recall"]
        {
            assert_eq!(Class::of_chain(name), None, "{name}");
        }
    }
}
