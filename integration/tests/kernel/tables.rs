//! Tables with every kind of statement, expression and set of the model.

use std::{net::Ipv6Addr, sync::Arc};

use portolan_rules::ruleset::{
    BaseChain, BitOp, Chain, ChainType, ClassId, Concat, DataType, Element, Elements, Expression, Family,
    Field, Hook, MatchValue, Operation, RejectWith, Rule, Ruleset, Set, SetFlags, Statement, Table,
    Transaction, Value, Verdict, WritableField,
};

use DataType::{ClassId as Class, InetProto, InetService};

const INTERVAL: SetFlags = SetFlags { interval: true, dynamic: false, timeout: false };
const DYNAMIC: SetFlags = SetFlags { interval: false, dynamic: true, timeout: true };

/// Returns the address `10.0.0.0 + n`, or the corresponding IPv6 address.
pub fn address(family: Family, n: u32) -> Value {
    match family {
        Family::Ip => Value::Ipv4((0x0a00_0000 + n).into()),
        Family::Ip6 => Value::Ipv6(Ipv6Addr::from((0xfd00_u128 << 112) + u128::from(n))),
    }
}

/// Returns the class with this major and minor number.
pub fn class(major: u32, minor: u32) -> Value {
    Value::Class(ClassId(major << 16 | minor))
}

/// Returns the key of a frontend.
pub fn frontend(family: Family, n: u32) -> Concat {
    Concat::new(&[address(family, n), Value::Proto(6), Value::Port(80)])
}

/// Returns an endpoint: an address and a port.
pub fn endpoint(family: Family, n: u32) -> Concat {
    Concat::new(&[address(family, n), Value::Port(8080)])
}

/// Returns the declaration of the map of frontends, for `size` elements.
pub fn frontends(family: Family, size: u32) -> Set {
    Set::map("frontends", &[family.address_type(), InetProto, InetService], &[Class]).with_size(size)
}

/// The fields of a frontend's key.
pub const FRONTEND: [Field; 3] = [Field::DestinationAddress, Field::L4Proto, Field::DestinationPort];

fn field(field: Field) -> Expression {
    field.into()
}

fn concat(fields: &[Field]) -> Expression {
    Expression::fields(fields)
}

fn masked(mask: u32) -> Expression {
    field(Field::Priority).bitwise(BitOp::And, mask)
}

/// Returns a statement that sets the priority to a map's value for these fields.
pub fn set_priority(fields: &[Field], map: &str) -> Statement {
    Statement::set(WritableField::Priority, concat(fields).lookup(map))
}

fn choose() -> Statement {
    Statement::VerdictMap { key: field(Field::Priority), map: "classes".into() }
}

/// Returns the data plane that Portolan writes for Services, with a few elements.
pub fn data_plane(family: Family) -> Table {
    let addr = family.address_type();
    let mut table = Table::new("portolan");
    let comment: Arc<str> = "default/web:http".into();
    let mut map = frontends(family, 1024);
    for n in 0..5 {
        let element = Element::value(Concat::new(&[class(1, 3)])).with_comment(&comment);
        map.elements.insert(frontend(family, n), element);
    }
    table.add_set(map);
    let key = [addr, InetProto, InetService, Class];
    let mut map = Set::map("endpoints", &key, &[addr, InetService]).with_size(4096);
    for n in 0..5 {
        for slot in 0..3 {
            let element = Element::value(endpoint(family, 100 + n)).with_comment(&comment);
            map.elements.insert(frontend(family, n).with(class(0, slot)), element);
        }
    }
    table.add_set(map);
    let mut map = Set::map("node-ports", &[InetProto, InetService], &[Class]).with_size(64);
    map.elements.insert(
        Concat::new(&[Value::Proto(17), Value::Port(30053)]),
        Element::value(Concat::new(&[class(3, 3)])),
    );
    table.add_set(map);
    table.add_set(
        Set::map("node-endpoints", &[InetProto, InetService, Class], &[addr, InetService]).with_size(64),
    );
    let mut map = Set::verdict_map("classes", &[Class]).with_size(64);
    for (major, minor, chain) in [(0, 1, "no-endpoints"), (1, 3, "cluster-3")] {
        let verdict = Verdict::Goto(chain.into());
        map.elements.insert(Concat::new(&[class(major, minor)]), Element::verdict(verdict));
    }
    table.add_set(map);
    for (name, key) in
        [("cluster-ips", vec![addr]), ("hairpin", vec![addr, addr]), ("node-addresses", vec![addr])]
    {
        let mut set = Set::new(name, &key).with_size(1024);
        let values = [address(family, 7), address(family, 7)];
        set.elements.insert(Concat::new(&values[..key.len()]), Element::member());
        table.add_set(set);
    }
    add_data_plane_chains(&mut table, family);
    table
}

fn add_data_plane_chains(table: &mut Table, family: Family) {
    let outside = Statement::not_equal(Field::SourceAddress, prefix(family, 8));
    let mark = |op, bits| Statement::set(WritableField::Mark, field(Field::Mark).bitwise(op, bits));
    let random = Expression::Random { modulus: 3, offset: 0 };
    let dnat = |map: &str, fields: &[Field]| Statement::Dnat { key: concat(fields), map: map.into() };
    let slot = [Field::DestinationAddress, Field::L4Proto, Field::DestinationPort, Field::Priority];
    let icmp = if family == Family::Ip { 1 } else { 58 };
    let not_icmp = Statement::not_equal(Field::L4Proto, MatchValue::Proto(icmp));
    let translated = || Statement::equal(Field::ConntrackStatus, MatchValue::Dnat);
    let base = |hook, priority| BaseChain { chain_type: ChainType::Nat, hook, priority };
    table.add_chain(Chain::regular(
        "no-endpoints",
        vec![
            Rule::new([
                Statement::equal(Field::L4Proto, MatchValue::Proto(6)),
                Statement::Reject(RejectWith::TcpReset),
            ]),
            Rule::new([Statement::Reject(RejectWith::PortUnreachable)]),
        ],
    ));
    table.add_chain(Chain::regular(
        "send",
        vec![
            Rule::new([not_icmp.clone(), dnat("endpoints", &slot)]),
            Rule::new([Statement::set(WritableField::Priority, masked(0x8000_0000))]),
            Rule::new([not_icmp, dnat("endpoints", &slot)]),
            Rule::new([dnat("node-endpoints", &slot[1..])]),
            Rule::new([Statement::goto("no-endpoints")]),
        ],
    ));
    table.add_chain(Chain::regular(
        "cluster-3",
        vec![
            Rule::new([outside, mark(BitOp::Or, 0x4000)]),
            Rule::new([Statement::set(WritableField::Priority, random), Statement::goto("send")]),
        ],
    ));
    table.add_chain(Chain::regular(
        "services",
        vec![
            Rule::new([set_priority(&FRONTEND, "frontends"), choose()]),
            Rule::new([
                Statement::in_set(Field::DestinationAddress, "cluster-ips"),
                Statement::goto("no-endpoints"),
            ]),
            Rule::new([
                Statement::in_set(Field::DestinationAddress, "node-addresses"),
                set_priority(&FRONTEND[1..], "node-ports"),
                choose(),
            ]),
        ],
    ));
    for (name, hook) in [("prerouting", Hook::Prerouting), ("output", Hook::Output)] {
        let jump = Rule::new([Statement::jump("services")]);
        table.add_chain(Chain::base(name, base(hook, -100), vec![jump]));
    }
    let marked = Expression::from(Field::Mark).bitwise(BitOp::And, 0x4000);
    let hairpin = concat(&[Field::SourceAddress, Field::DestinationAddress]);
    table.add_chain(Chain::base(
        "postrouting",
        base(Hook::Postrouting, 100),
        vec![
            Rule::new([translated(), Statement::set(WritableField::Priority, Expression::Constant(0))]),
            Rule::new([
                Statement::equal(marked, MatchValue::Number(0x4000)),
                mark(BitOp::Xor, 0x4000),
                Statement::Masquerade,
            ]),
            Rule::new([translated(), Statement::in_set(hairpin, "hairpin"), Statement::Masquerade]),
        ],
    ));
}

/// Returns a prefix of this length.
pub fn prefix(family: Family, length: u8) -> MatchValue {
    let network = match family {
        Family::Ip => "10.0.0.0",
        Family::Ip6 => "fd00::",
    };
    let prefix = ipnetwork::IpNetwork::new(network.parse().expect("an address"), length).expect("a prefix");
    MatchValue::Prefix(ipnetwork::IpNetwork::new(prefix.network(), length).expect("a prefix"))
}

/// Returns a table with every other kind of statement, expression and set; with `reloadable`, only those that nft 1.0.6
/// can load again.
pub fn everything_else(family: Family, reloadable: bool) -> Table {
    let addr = family.address_type();
    let range = |a, b, data: Element| {
        let end = Some(Box::new(Concat::new(&[address(family, b)])));
        (Concat::new(&[address(family, a)]), Element { end, ..data })
    };
    let mut table = Table::new("portolan");
    let mut set = Set::new("cidrs", &[addr]).with_flags(INTERVAL);
    let last = match family {
        Family::Ip => Value::Ipv4([255; 4].into()),
        Family::Ip6 => Value::Ipv6([0xff; 16].into()),
    };
    set.elements = Elements::from([
        range(0, 255, Element::member().with_comment(&"first".into())),
        range(256, 511, Element::member()),
        range(600, 600, Element::member()),
        (
            Concat::new(&[address(family, 0x1000_0000)]),
            Element { end: Some(Box::new(Concat::new(&[last]))), ..Element::member() },
        ),
    ]);
    table.add_set(set);
    let mut map = Set::map("range-classes", &[addr], &[Class]).with_flags(INTERVAL);
    map.elements = Elements::from([
        range(0, 255, Element::value(Concat::new(&[class(1, 1)])).with_comment(&"a".into())),
        range(256, 299, Element::value(Concat::new(&[class(2, 2)]))),
    ]);
    table.add_set(map);
    let mut set =
        Set::new("sources", &[addr, InetProto, InetService, addr]).with_flags(INTERVAL).with_size(100);
    let source = |n| frontend(family, 1).with(address(family, n));
    set.elements.insert(source(0), Element { end: Some(Box::new(source(255))), ..Element::member() });
    set.elements.insert(source(512), Element { end: Some(Box::new(source(512))), ..Element::member() });
    table.add_set(set);
    let mut map = Set::map("counted", &[InetService], &[addr]).with_size(8).with_counter();
    map.elements.insert(Concat::new(&[Value::Port(80)]), Element::value(Concat::new(&[address(family, 1)])));
    table.add_set(map);
    let mut set = Set::new("counted-ports", &[InetService]).with_counter();
    set.elements.insert(Concat::new(&[Value::Port(81)]), Element::member().with_comment(&"counted".into()));
    table.add_set(set);
    let mut set = Set::new("ports", &[InetService]);
    set.elements.insert(Concat::new(&[Value::Port(443)]), Element::member());
    table.add_set(set);
    let mut map = Set::map("by-proto", &[InetProto], &[InetService]);
    map.elements.insert(Concat::new(&[Value::Proto(6)]), Element::value(Concat::new(&[Value::Port(80)])));
    table.add_set(map);
    let mut map = Set::verdict_map("verdicts", &[Class]);
    let verdicts = [
        Verdict::Accept,
        Verdict::Drop,
        Verdict::Return,
        Verdict::Jump("leaf".into()),
        Verdict::Goto("leaf".into()),
    ];
    for (n, verdict) in (0..).zip(verdicts.clone()) {
        map.elements.insert(Concat::new(&[class(1, n)]), Element::verdict(verdict));
    }
    table.add_set(map);
    table.add_set(Set::new("numbers", &[Class]));
    table.add_set(Set::map("affinity", &[addr, Class], &[Class]).with_size(1000).with_flags(DYNAMIC));
    table.add_set(Set::map("clients", &[addr], &[Class]).with_size(1000).with_flags(DYNAMIC));
    table.add_set(Set::new("seen", &[addr]).with_size(1000).with_flags(DYNAMIC));
    table.add_chain(Chain::regular("leaf", vec![]));
    let mut rules: Vec<Rule> =
        verdicts.into_iter().map(|verdict| Rule::new([Statement::Verdict(verdict)])).collect();
    rules.extend(matches(family));
    rules.extend(writes());
    rules.extend(lookups());
    rules.extend(updates());
    if !reloadable {
        rules.extend(not_reloadable());
    }
    table.add_chain(Chain::regular("rules", rules));
    let base = |chain_type, hook, priority| BaseChain { chain_type, hook, priority };
    table.add_chain(Chain::base("in", base(ChainType::Filter, Hook::Input, 0), vec![]));
    table.add_chain(Chain::base("through", base(ChainType::Filter, Hook::Forward, 7), vec![]));
    table
}

fn accept(statement: Statement) -> Rule {
    Rule::new([statement, Statement::Verdict(Verdict::Accept)])
}

fn matches(family: Family) -> Vec<Rule> {
    let lengths: &[u8] = match family {
        Family::Ip => &[0, 1, 7, 8, 9, 16, 20, 24, 31, 32],
        Family::Ip6 => &[0, 1, 8, 12, 48, 63, 64, 65, 120, 128],
    };
    let name = |name: &str, prefix| MatchValue::Interface { name: name.into(), prefix };
    let mut pairs: Vec<(Expression, MatchValue)> = Vec::new();
    for length in lengths {
        pairs.push((Field::SourceAddress.into(), prefix(family, *length)));
        pairs.push((Field::DestinationAddress.into(), prefix(family, *length)));
    }
    pairs.extend([
        (Field::L4Proto.into(), MatchValue::Proto(132)),
        (Field::SourceAddressType.into(), MatchValue::Local),
        (Field::DestinationAddressType.into(), MatchValue::Local),
        (Field::ConntrackStatus.into(), MatchValue::Dnat),
        (Field::InputInterface.into(), name("eth0", false)),
        (Field::InputInterface.into(), name("15-characters--", false)),
        (Field::InputInterface.into(), name("veth", true)),
        (Field::InputInterface.into(), name("14-characters-", true)),
        (Field::Mark.into(), MatchValue::Number(0x4000)),
        (Field::Priority.into(), MatchValue::Number(0x0001_0002)),
        (Field::Mark.into(), MatchValue::Number(0)),
        (masked(0xffff_0000), MatchValue::Number(0x0001_0000)),
        (Expression::from(Field::Mark).bitwise(BitOp::And, 0x4000), MatchValue::Number(0)),
    ]);
    let mut rules = Vec::new();
    for (left, right) in pairs {
        rules.push(accept(Statement::equal(left.clone(), right.clone())));
        rules.push(accept(Statement::not_equal(left, right)));
    }
    rules
}

fn writes() -> Vec<Rule> {
    let hash = |key: Expression, modulus, seed, offset| Expression::Hash {
        key: Box::new(key),
        modulus,
        seed,
        offset,
    };
    let values = [
        (WritableField::Priority, Expression::Constant(0x0001_0003)),
        (WritableField::Mark, Expression::Constant(0x12)),
        (WritableField::Priority, Expression::Random { modulus: 7, offset: 1 << 31 }),
        (WritableField::Mark, Expression::Random { modulus: 2, offset: 3 }),
        (WritableField::Priority, hash(field(Field::SourceAddress), 7, 0, 0)),
        (
            WritableField::Priority,
            hash(concat(&[Field::SourceAddress, Field::DestinationAddress]), 7, 0x1234, 5),
        ),
        (
            WritableField::Priority,
            hash(concat(&[Field::SourceAddress, Field::L4Proto, Field::DestinationPort]), 9, 1, 0),
        ),
        (WritableField::Priority, masked(0x8000_0000)),
        (WritableField::Priority, field(Field::Priority).bitwise(BitOp::Or, 0x0001_0000)),
        (WritableField::Priority, field(Field::Priority).bitwise(BitOp::Xor, 0x0001_0000)),
        (WritableField::Mark, field(Field::Mark).bitwise(BitOp::And, 0xff01).bitwise(BitOp::Or, 0x80)),
        (WritableField::Priority, field(Field::SourceAddress).lookup("range-classes")),
        (WritableField::Priority, field(Field::SourceAddress).lookup("clients")),
    ];
    values.into_iter().map(|(field, value)| Rule::new([Statement::set(field, value)])).collect()
}

fn lookups() -> Vec<Rule> {
    let sources =
        concat(&[Field::SourceAddress, Field::L4Proto, Field::DestinationPort, Field::DestinationAddress]);
    let keys = [
        (field(Field::SourceAddress), "cidrs"),
        (field(Field::DestinationPort), "ports"),
        (field(Field::Priority), "numbers"),
        (masked(0xffff_f000), "numbers"),
        (sources, "sources"),
    ];
    let mut rules = Vec::new();
    for (key, set) in keys {
        for negated in [false, true] {
            // nft 1.0.6 lists `a & b != @set`, but cannot load it.
            if negated && matches!(key, Expression::Bitwise { .. }) {
                continue;
            }
            rules.push(accept(Statement::InSet { key: key.clone(), set: set.into(), negated }));
        }
    }
    rules.push(Rule::new([Statement::VerdictMap { key: field(Field::Priority), map: "verdicts".into() }]));
    rules
}

fn updates() -> Vec<Rule> {
    let update =
        |set: &str, key, data| Statement::Update { set: set.into(), key, timeout_ms: 3_600_000, data };
    vec![
        Rule::new([update("seen", field(Field::SourceAddress), None)]),
        Rule::new([update("clients", field(Field::SourceAddress), Some(field(Field::Priority)))]),
        Rule::new([Statement::Delete { set: "seen".into(), key: field(Field::SourceAddress), data: None }]),
        Rule::new([Statement::Delete {
            set: "clients".into(),
            key: field(Field::SourceAddress),
            data: Some(field(Field::Priority)),
        }]),
    ]
}

/// Returns rules whose listing nft 1.0.6 cannot load.
fn not_reloadable() -> Vec<Rule> {
    let key = || Expression::Concat(vec![field(Field::SourceAddress), masked(0xffff_f000)]);
    let (set, data) = ("affinity".into(), Some(field(Field::Priority)));
    let hash =
        Expression::Hash { key: Box::new(field(Field::SourceAddress)), modulus: 3, seed: 1, offset: 0 };
    vec![
        Rule::new([Statement::set(WritableField::Priority, key().lookup("affinity"))]),
        Rule::new([Statement::Update { set, key: key(), timeout_ms: 10_800_000, data }]),
        accept(Statement::in_set(Expression::Concat(vec![field(Field::SourceAddress), hash]), "affinity")),
    ]
}

/// Returns the ruleset with these tables.
pub fn ruleset(tables: impl Fn(Family) -> Table) -> Ruleset {
    Ruleset { tables: Family::ALL.map(|family| (family, tables(family))).into() }
}

/// Returns a transaction that creates a ruleset from nothing.
pub fn create(ruleset: &Ruleset) -> Transaction {
    let mut transaction = Transaction::new("portolan");
    for (&family, table) in &ruleset.tables {
        transaction.push(family, Operation::AddTable);
        for set in table.sets.values() {
            let declaration = Set { elements: Elements::new(), ..set.clone() };
            transaction.push(family, Operation::AddSet(Box::new(declaration)));
        }
        for chain in table.chains.values() {
            let declaration = Chain { rules: Vec::new(), ..chain.clone() };
            transaction.push(family, Operation::AddChain(Box::new(declaration)));
        }
        for set in table.sets.values() {
            let declaration = Arc::new(Set { elements: Elements::new(), ..set.clone() });
            for (key, element) in &set.elements {
                let (set, key, element) = (declaration.clone(), key.clone(), element.clone());
                transaction.push(family, Operation::AddElement { set, key, element });
            }
        }
        for chain in table.chains.values() {
            for rule in &chain.rules {
                let (chain, rule) = (chain.name.clone(), rule.clone());
                transaction.push(family, Operation::AddRule { chain, rule });
            }
        }
    }
    transaction
}
