//! What the rules need of a kernel, each with a transaction that only a kernel with it takes.

use portolan_rules::{
    plane::{Config, SetName},
    ruleset::{
        BaseChain, Chain, ChainType, Expression, Family, Field, Hook, MatchValue, Name, Operation,
        RejectWith, Rule, Set, Statement, Transaction, WritableField,
    },
};

portolan_rules::named! {
    /// Something that a kernel may lack: it was built without it, has no module for it, or is too old.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Feature {
        /// Tables of the family.
        Tables = "nf_tables",
        /// Chains that translate, and `dnat`.
        Nat = "nat",
        /// `masquerade`.
        Masquerade = "masquerade",
        /// `ct`.
        Conntrack = "ct",
        /// `fib`.
        Fib = "fib",
        /// `numgen`.
        Numgen = "numgen",
        /// `jhash`.
        Hash = "jhash",
        /// `reject`.
        Reject = "reject",
        /// `reject` in a chain before routing.
        RejectBeforeRouting = "reject-before-routing",
        /// Maps that rules write to.
        DynamicMaps = "dynamic-maps",
        /// Sets of ranges with more than one field.
        ConcatenatedRanges = "concatenated-ranges",
        /// A counter in each element of a map.
        ElementCounters = "element-counters",
        /// Tables that only their owner may change, and that outlive it.
        OwnedTables = "owned-tables",
    }
}

impl Feature {
    /// Where it comes from: the option that the kernel is built with, or its first version.
    pub const fn origin(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::Tables, Family::Ip) => "CONFIG_NF_TABLES_IPV4",
            (Self::Tables, Family::Ip6) => "CONFIG_NF_TABLES_IPV6",
            (Self::Nat, _) => "CONFIG_NFT_NAT",
            (Self::Masquerade, _) => "CONFIG_NFT_MASQ",
            (Self::Conntrack, _) => "CONFIG_NFT_CT",
            (Self::Fib, Family::Ip) => "CONFIG_NFT_FIB_IPV4",
            (Self::Fib, Family::Ip6) => "CONFIG_NFT_FIB_IPV6",
            (Self::Numgen, _) => "CONFIG_NFT_NUMGEN",
            (Self::Hash, _) => "CONFIG_NFT_HASH",
            (Self::Reject, Family::Ip) => "CONFIG_NFT_REJECT, CONFIG_NFT_REJECT_IPV4",
            (Self::Reject, Family::Ip6) => "CONFIG_NFT_REJECT, CONFIG_NFT_REJECT_IPV6",
            (Self::RejectBeforeRouting, _) => "Linux 5.9",
            (Self::DynamicMaps, _) => "Linux 5.4",
            (Self::ConcatenatedRanges, _) => "Linux 5.6",
            (Self::ElementCounters, _) => "CONFIG_NFT_COUNTER, Linux 5.7",
            (Self::OwnedTables, _) => "Linux 6.9",
        }
    }

    /// What else its transaction uses: where that is missing, nothing is known of this feature.
    pub(super) const fn uses(self) -> &'static [Self] {
        match self {
            Self::Tables => &[],
            Self::RejectBeforeRouting => &[Self::Tables, Self::Nat, Self::Reject],
            _ => &[Self::Tables],
        }
    }

    /// A transaction that uses it, in a table of its own. Rules and sets are such as Portolan writes.
    pub(super) fn transaction(self, family: Family) -> Transaction {
        let mut probe = Probe::new(self, family);
        match self {
            Self::Tables | Self::OwnedTables => {}
            Self::Nat => {
                use Field::{DestinationAddress, DestinationPort, L4Proto, Priority};
                let key = Expression::fields(&[DestinationAddress, L4Proto, DestinationPort, Priority]);
                let map = probe.set(SetName::Endpoints);
                probe.chain(Some(BEFORE_ROUTING), [Statement::Dnat { key, map }]);
            }
            Self::Masquerade => probe.rule([Statement::Masquerade]),
            Self::Conntrack => {
                probe.rule([Statement::equal(Field::ConntrackStatus, MatchValue::Dnat)]);
            }
            Self::Fib => {
                probe.rule([Statement::equal(Field::DestinationAddressType, MatchValue::Local)]);
                probe.rule([Statement::equal(Field::SourceAddressType, MatchValue::Local)]);
            }
            Self::Numgen => {
                let drawn = Expression::Random { modulus: 3, offset: 1 };
                probe.rule([Statement::set(WritableField::Priority, drawn)]);
            }
            Self::Hash => {
                let key = Box::new(Field::SourceAddress.into());
                let hash = Expression::Hash { key, modulus: 1021, seed: 1, offset: 1 };
                probe.rule([Statement::set(WritableField::Priority, hash)]);
            }
            Self::Reject => probe.rejects(None),
            Self::RejectBeforeRouting => probe.rejects(Some(BEFORE_ROUTING)),
            Self::DynamicMaps => {
                let set = probe.set(SetName::Affinity);
                let key = Expression::fields(&[Field::Priority, Field::SourceAddress]);
                let data = Some(Expression::from(Field::Priority));
                let (timeout_ms, forgotten) = (10_800_000, key.clone());
                probe.rule([Statement::Update { set: set.clone(), key, timeout_ms, data: data.clone() }]);
                probe.rule([Statement::Delete { set, key: forgotten, data }]);
            }
            Self::ConcatenatedRanges => {
                probe.set(SetName::AllowedSources);
            }
            Self::ElementCounters => {
                probe.config.endpoint_counters = true;
                probe.set(SetName::Endpoints);
            }
        }
        probe.transaction
    }
}

/// As the chain in which connections to Services are translated or refused.
const BEFORE_ROUTING: BaseChain =
    BaseChain { chain_type: ChainType::Nat, hook: Hook::Prerouting, priority: -100 };

/// A transaction in the making.
struct Probe {
    family: Family,
    config: Config,
    transaction: Transaction,
    chains: usize,
}

impl Probe {
    fn new(feature: Feature, family: Family) -> Self {
        let config = Config { table: format!("portolan-probe-{feature}").into(), ..Config::default() };
        let mut transaction = Transaction::new(config.table.clone());
        transaction.push(family, Operation::AddTable);
        Self { family, config, transaction, chains: 0 }
    }

    fn set(&mut self, name: SetName) -> Name {
        let set: Set = name.declaration(&self.config, self.family, 1024);
        let name = set.name.clone();
        self.transaction.push(self.family, Operation::AddSet(Box::new(set)));
        name
    }

    fn rule<const N: usize>(&mut self, statements: [Statement; N]) {
        self.chain(None, statements);
    }

    fn rejects(&mut self, base: Option<BaseChain>) {
        for with in [RejectWith::TcpReset, RejectWith::PortUnreachable] {
            let tcp = Statement::equal(Field::L4Proto, MatchValue::Proto(6));
            self.chain(base, [tcp, Statement::Reject(with)]);
        }
    }

    fn chain<const N: usize>(&mut self, base: Option<BaseChain>, statements: [Statement; N]) {
        let name: Name = format!("chain-{}", self.chains).into();
        self.chains += 1;
        let chain = Chain { name: name.clone(), base, rules: Vec::new() };
        self.transaction.push(self.family, Operation::AddChain(Box::new(chain)));
        let rule = Rule::new(statements);
        self.transaction.push(self.family, Operation::AddRule { chain: name, rule });
    }
}
