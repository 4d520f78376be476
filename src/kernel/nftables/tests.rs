//! Any bytes may come in.

use std::sync::Arc;

use portolan_rules::{
    print,
    ruleset::{
        Concat, DataType, Element, ElementData, Expression, Family, Field, MatchValue, Operation, RejectWith,
        Rule, Set, Statement, Transaction, Verdict, WritableField,
    },
};
use proptest::prelude::*;

use super::{
    attributes::{Attribute, Attributes, Messages},
    batch::Batch,
    connection::Reply,
    dump,
    libnftnl::Scratch,
    monitor::Generation,
    rule::Program,
    uapi::*,
    verdict::parse_verdict,
    wire,
};

/// Hands the bytes to every reader, as if they came from the kernel.
fn read(bytes: &[u8]) {
    for message in Messages(bytes) {
        let attributes = message.attributes();
        let _ = (Reply::read(&message), Generation::read(&message), message.family());
        for family in Family::ALL {
            dump::testing::read(family, attributes);
        }
    }
    let attributes = Attributes(bytes);
    let _ = parse_verdict(attributes);
    for family in Family::ALL {
        dump::testing::read(family, attributes);
    }
}

/// A batch with rules and elements of several kinds.
fn batch() -> Batch {
    let set = Arc::new(
        Set::map("m", &[DataType::Ipv4Addr, DataType::InetProto], &[DataType::ClassId]).with_size(10),
    );
    let mut transaction = Transaction::new("portolan");
    for family in Family::ALL {
        transaction.push(family, Operation::AddTable);
        transaction.push(family, Operation::AddSet(Box::new((*set).clone())));
        let key = Expression::fields(&[Field::SourceAddress, Field::L4Proto, Field::Priority]);
        let rule = Rule::new([
            Statement::equal(Field::ConntrackStatus, MatchValue::Dnat),
            Statement::set(WritableField::Mark, key.clone().lookup("m")),
            Statement::Dnat { key, map: "m".into() },
        ]);
        transaction.push(family, Operation::AddRule { chain: "c".into(), rule });
        for n in 0..3 {
            let element = Element::value(Concat::from_bytes(&[n; 4])).with_comment(&"a comment".into());
            let key = Concat::from_bytes(&[n; 8]);
            transaction.push(family, Operation::AddElement { set: set.clone(), key, element });
        }
    }
    let mut batch = Batch::default();
    batch.encode(&transaction).unwrap();
    batch
}

/// The attributes of a rule in a batch that adds it to a chain.
fn written(family: Family, rule: &Rule) -> Result<Vec<u8>, super::Error> {
    let mut transaction = Transaction::new("portolan");
    transaction.push(family, Operation::AddRule { chain: "c".into(), rule: rule.clone() });
    let mut batch = Batch::default();
    batch.encode(&transaction)?;
    Ok(Messages(batch.bytes()).nth(1).unwrap().attributes().0.to_vec())
}

/// The attributes of a rule with its expressions changed: their names and their attributes.
fn rewritten(rule: &[u8], change: impl Fn(&str, &mut Vec<(u16, Vec<u8>)>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let list = wire::begin_nest(&mut bytes, NFTA_RULE_EXPRESSIONS);
    for expression in Attributes(rule).find(NFTA_RULE_EXPRESSIONS).unwrap().nested().iter() {
        let name = expression.nested().find(NFTA_EXPR_NAME).unwrap().string().unwrap();
        let data = expression.nested().find(NFTA_EXPR_DATA).unwrap().nested();
        let mut attributes: Vec<_> =
            data.iter().map(|Attribute { kind, value }| (kind, value.to_vec())).collect();
        change(name, &mut attributes);
        let nest = wire::begin_nest(&mut bytes, 1);
        wire::string(&mut bytes, NFTA_EXPR_NAME, name);
        let data = wire::begin_nest(&mut bytes, NFTA_EXPR_DATA);
        for (kind, value) in attributes {
            wire::attribute(&mut bytes, kind, &value);
        }
        wire::end_nest(&mut bytes, data);
        wire::end_nest(&mut bytes, nest);
    }
    wire::end_nest(&mut bytes, list);
    bytes
}

/// A rule with every expression of which kernels leave something out, or say more than nft wrote.
fn every_expression() -> Rule {
    let key = Expression::fields(&[Field::SourceAddress, Field::L4Proto]);
    let hash = Expression::Hash { key: Box::new(key.clone()), modulus: 3, seed: 1, offset: 0 };
    Rule::new([
        Statement::equal(Field::ConntrackStatus, MatchValue::Dnat),
        Statement::in_set(key.clone(), "s"),
        Statement::set(WritableField::Priority, hash),
        Statement::set(WritableField::Priority, Expression::Random { modulus: 3, offset: 0 }),
        Statement::Delete { set: "d".into(), key: key.clone(), data: Some(Field::Mark.into()) },
        Statement::Dnat { key, map: "m".into() },
        Statement::Reject(RejectWith::TcpReset),
        Statement::goto("c"),
    ])
}

#[test]
fn what_only_some_kernels_say_makes_no_difference() {
    let zero = |length: usize| vec![0; length];
    for family in Family::ALL {
        let rule = written(family, &every_expression()).unwrap();
        let expected = Program::of(family, &every_expression(), &mut Scratch::default()).unwrap();
        assert_eq!(Program::read(Attributes(&rule)), expected);
        let least = rewritten(&rule, |name, attributes| {
            let left_out: &[u16] = match name {
                "bitwise" => &[6],
                "hash" => &[6, 7],
                "numgen" => &[4],
                "reject" => &[2],
                _ => &[],
            };
            attributes.retain(|(kind, _)| !left_out.contains(kind));
            attributes.reverse();
        });
        assert_eq!(Program::read(Attributes(&least)), expected);
        let most = rewritten(&rule, |name, attributes| match name {
            "lookup" => attributes.push((5, zero(4))),
            "dynset" => attributes.extend([(8, zero(0)), (6, zero(8)), (9, zero(4))]),
            "nat" => {
                let [address, port] = [3, 5]
                    .map(|kind| attributes.iter().find(|(number, _)| *number == kind).unwrap().1.clone());
                attributes.extend([(4, address), (6, port), (7, 3_u32.to_be_bytes().to_vec())]);
            }
            _ => {}
        });
        assert_eq!(Program::read(Attributes(&most)), expected);
    }
}

#[test]
fn every_attribute_that_is_changed_or_added_makes_a_difference() {
    for family in Family::ALL {
        let rule = written(family, &every_expression()).unwrap();
        let expected = Program::read(Attributes(&rule));
        let list = Attributes(&rule).find(NFTA_RULE_EXPRESSIONS).unwrap().nested();
        for (at, expression) in list.iter().enumerate() {
            let name = expression.nested().find(NFTA_EXPR_NAME).unwrap().string().unwrap();
            for attribute in expression.nested().find(NFTA_EXPR_DATA).unwrap().nested().iter() {
                // What a reset has no use for.
                if (name, attribute.kind) == ("reject", 2) {
                    continue;
                }
                let index = std::cell::Cell::new(0);
                let changed = rewritten(&rule, |_, attributes| {
                    if index.replace(index.get() + 1) == at {
                        let changed =
                            attributes.iter_mut().find(|(kind, _)| *kind == attribute.kind).unwrap();
                        // Of names and of data the last byte is a zero that ends them, or pads.
                        let end = changed.1.iter().rposition(|byte| *byte != 0).unwrap_or(3);
                        changed.1[end] ^= 0x40;
                    }
                });
                assert_ne!(Program::read(Attributes(&changed)), expected, "{name} {}", attribute.kind);
            }
            let index = std::cell::Cell::new(0);
            let more = rewritten(&rule, |_, attributes| {
                if index.replace(index.get() + 1) == at {
                    attributes.push((12, vec![0; 4]));
                }
            });
            assert_ne!(Program::read(Attributes(&more)), expected, "{name}");
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        read(&bytes);
    }

    #[test]
    fn damaged_messages_are_no_panic(
        cut in any::<proptest::sample::Index>(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let batch = batch();
        let mut bytes = batch.bytes()[..cut.index(batch.bytes().len() + 1)].to_vec();
        for (index, value) in damage {
            if !bytes.is_empty() {
                let index = index.index(bytes.len());
                bytes[index] = value;
            }
        }
        read(&bytes);
        // A message without its header is what a reader of attributes may see.
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            read(rest);
            rest = &rest[rest.len().min(52)..];
        }
    }

    #[test]
    fn replies_about_unknown_messages_are_no_panic(sequence in any::<u32>(), offset in any::<Option<u32>>()) {
        let batch = batch();
        batch.operation(sequence, offset);
        batch.operation(sequence % 16, offset.map(|offset| offset % 300));
    }

    #[test]
    fn rules_are_read_as_equal_if_and_only_if_they_are_written_alike(
        one in rules(),
        other in rules(),
        ip6 in any::<bool>(),
    ) {
        let family = if ip6 { Family::Ip6 } else { Family::Ip };
        // Others are refused for a reason: they are too long for the registers.
        if let (Ok(bytes), Ok(others)) = (written(family, &one), written(family, &other)) {
            let program = Program::read(Attributes(&bytes));
            let translated = Program::of(family, &one, &mut Scratch::default()).unwrap();
            prop_assert_eq!(&program, &translated);
            let is_equal = program == Program::read(Attributes(&others));
            prop_assert_eq!(is_equal, print::rule(&one, family) == print::rule(&other, family));
        }
    }
}

/// Rules of which two are often the same, or nearly.
fn rules() -> impl Strategy<Value = Rule> {
    (proptest::collection::vec(0..10_usize, 1..4), 0..4_u32, 0..8_u8).prop_map(|(fields, mask, shape)| {
        Rule::new([statement(&fields, mask, shape), Statement::Verdict(Verdict::Drop)])
    })
}

fn statement(fields: &[usize], mask: u32, shape: u8) -> Statement {
    const FIELDS: [Field; 10] = [
        Field::SourceAddress,
        Field::DestinationAddress,
        Field::L4Proto,
        Field::DestinationPort,
        Field::Priority,
        Field::Mark,
        Field::InputInterface,
        Field::ConntrackStatus,
        Field::SourceAddressType,
        Field::DestinationAddressType,
    ];
    let mut fields: Vec<Expression> = fields.iter().map(|i| FIELDS[*i].into()).collect();
    let hash = |key| Expression::Hash { key: Box::new(key), modulus: 3, seed: mask, offset: 0 };
    if shape & 1 != 0 {
        fields.push(Expression::from(Field::Mark).bitwise(portolan_rules::ruleset::BitOp::And, mask));
    }
    if shape & 2 != 0 {
        let key = Expression::Concat(fields.clone());
        fields.push(hash(key));
    }
    let key = Expression::Concat(fields);
    match shape {
        0 => Statement::VerdictMap { key, map: "m".into() },
        1 => Statement::InSet { key, set: "s".into(), negated: mask & 1 == 0 },
        2 | 3 => Statement::Dnat { key, map: "m".into() },
        4 | 5 => Statement::Update { set: "d".into(), key, timeout_ms: 1000, data: Some(Field::Mark.into()) },
        6 => Statement::set(WritableField::Priority, hash(key)),
        _ => Statement::set(WritableField::Mark, key.lookup("m")),
    }
}

#[test]
fn user_data_without_a_comment_is_no_comment() {
    let element = dump::testing::element(&[1, 4, 1, 0, 0, 0]);
    assert_eq!((element.comment, element.data), (None, ElementData::None));
    let element = dump::testing::element(&[1, 4, 1, 0, 0, 0, 0, 3, b'h', b'i', 0]);
    assert_eq!(element.comment.as_deref(), Some("hi"));
    assert_eq!(dump::testing::element(&[0, 30, b'h', b'i', 0]).comment, None);
    assert_eq!(dump::testing::element(&[0]).comment, None);
}

/// The kernel's word on one element of several, with and without the offset (`NFTA_…` of elements since 5.19).
#[test]
fn without_an_offset_no_element_of_several_is_named() {
    let set = Arc::new(Set::new("s", &[DataType::Ipv4Addr]));
    let batch = |elements: u8| {
        let mut transaction = Transaction::new("portolan");
        for n in 0..elements {
            let key = Concat::new(&[portolan_rules::ruleset::Value::Ipv4([10, 0, 0, n].into())]);
            let set = set.clone();
            transaction.push(Family::Ip, Operation::AddElement { set, key, element: Element::member() });
        }
        let mut batch = Batch::default();
        batch.encode(&transaction).unwrap();
        batch
    };
    assert_eq!(batch(1).operation(1, None), Some(0));
    assert_eq!(batch(5).operation(1, None), None);
    assert!(batch(5).operation(1, Some(u32::MAX)).is_some());
}
