//! The features that the rules need of a kernel, each with a transaction that only a kernel with the feature accepts.

use portolan_rules::{
    plane::{Config, SetName},
    ruleset::{
        BaseChain, Chain, ChainType, Expression, Family, Field, Hook, MatchValue, Name, Operation,
        RejectWith, Rule, Statement, Transaction, WritableField,
    },
};

use crate::kernel::nftables::{
    batch::Trial,
    uapi::{NFT_TABLE_F_OWNER, NFT_TABLE_F_PERSIST},
};

portolan_rules::named! {
    /// A feature that a kernel may lack, because it was built without it, has no module for it, or is too old.
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
        /// Tables that only their owner may change, and that outlive their owner.
        OwnedTables = "owned-tables",
    }
}

impl Feature {
    /// The feature's origin: the build option that adds it, or the first version that has it.
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

    /// The other features that its transaction uses. If one is missing, the trial of this feature shows nothing.
    pub(super) const fn uses(self) -> &'static [Self] {
        match self {
            Self::Tables => &[],
            Self::RejectBeforeRouting => &[Self::Tables, Self::Nat, Self::Reject],
            _ => &[Self::Tables],
        }
    }

    /// A transaction that only a kernel with the feature accepts. It uses the feature in a separate table, with rules
    /// and sets like those that Portolan writes.
    pub(super) fn trial(self, family: Family) -> Trial {
        let (sets, chains) = self.used();
        let table = format!("portolan-probe-{self}").into();
        let endpoint_counters = self == Self::ElementCounters;
        let config = Config { table, endpoint_counters, ..Config::default() };
        let mut transaction = Transaction::new(config.table.clone());
        transaction.push(family, Operation::AddTable);
        for set in sets {
            let set = set.declaration(&config, family, 1024);
            transaction.push(family, Operation::AddSet(Box::new(set)));
        }
        for (number, (base, statements)) in chains.into_iter().enumerate() {
            let name: Name = format!("chain-{number}").into();
            let chain = Chain { name: name.clone(), base, rules: Vec::new() };
            transaction.push(family, Operation::AddChain(Box::new(chain)));
            transaction.push(family, Operation::AddRule { chain: name, rule: Rule::new(statements) });
        }
        let owned = self == Self::OwnedTables;
        let table_flags = if owned { NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST } else { 0 };
        Trial { transaction, table_flags }
    }

    /// The sets and chains of the trial.
    fn used(self) -> (&'static [SetName], Vec<Used>) {
        let sets: &[SetName] = match self {
            Self::Nat | Self::ElementCounters => &[SetName::Endpoints],
            Self::DynamicMaps => &[SetName::Affinity],
            Self::ConcatenatedRanges => &[SetName::AllowedSources],
            _ => &[],
        };
        let rule = |statement| vec![(None, vec![statement])];
        let rejects = |base| {
            let with = [RejectWith::TcpReset, RejectWith::PortUnreachable];
            let tcp = || Statement::equal(Field::L4Proto, MatchValue::Proto(6));
            with.map(|with| (base, vec![tcp(), Statement::Reject(with)])).to_vec()
        };
        let chains = match self {
            Self::Tables | Self::OwnedTables | Self::ConcatenatedRanges | Self::ElementCounters => Vec::new(),
            Self::Nat => {
                use Field::{DestinationAddress, DestinationPort, L4Proto, Priority};
                let key = Expression::fields(&[DestinationAddress, L4Proto, DestinationPort, Priority]);
                let map = SetName::Endpoints.name().into();
                vec![(Some(BEFORE_ROUTING), vec![Statement::Dnat { key, map }])]
            }
            Self::Masquerade => rule(Statement::Masquerade),
            Self::Conntrack => rule(Statement::equal(Field::ConntrackStatus, MatchValue::Dnat)),
            Self::Fib => [Field::DestinationAddressType, Field::SourceAddressType]
                .map(|field| (None, vec![Statement::equal(field, MatchValue::Local)]))
                .to_vec(),
            Self::Numgen => {
                rule(Statement::set(WritableField::Priority, Expression::Random { modulus: 3, offset: 1 }))
            }
            Self::Hash => {
                let key = Box::new(Field::SourceAddress.into());
                let hash = Expression::Hash { key, modulus: 1021, seed: 1, offset: 1 };
                rule(Statement::set(WritableField::Priority, hash))
            }
            Self::Reject => rejects(None),
            Self::RejectBeforeRouting => rejects(Some(BEFORE_ROUTING)),
            Self::DynamicMaps => {
                let set: Name = SetName::Affinity.name().into();
                let key = Expression::fields(&[Field::Priority, Field::SourceAddress]);
                let data = Some(Expression::from(Field::Priority));
                let delete = Statement::Delete { set: set.clone(), key: key.clone(), data: data.clone() };
                let update = Statement::Update { set, key, timeout_ms: 10_800_000, data };
                vec![(None, vec![update]), (None, vec![delete])]
            }
        };
        (sets, chains)
    }
}

/// A chain with one rule: its hook, if it has one, and the rule's statements.
type Used = (Option<BaseChain>, Vec<Statement>);

/// The hook of the chain that translates or refuses connections to Services.
const BEFORE_ROUTING: BaseChain =
    BaseChain { chain_type: ChainType::Nat, hook: Hook::Prerouting, priority: -100 };
