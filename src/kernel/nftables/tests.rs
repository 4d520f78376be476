//! Any bytes may come in.

use std::sync::Arc;

use portolan_rules::{
    ruleset::{
        Concat, DataType, Element, ElementData, Expression, Family, Field, Rule, Set, Statement, Verdict,
        WritableField,
    },
    transaction::{Operation, Transaction},
};
use proptest::prelude::*;

use super::{
    attributes::{Attributes, Messages},
    batch::Batch,
    connection::Reply,
    delinearize::delinearize_or_foreign,
    dump,
    instruction::{parse_expressions, parse_verdict},
    linearize::{linearize, translate},
    monitor::Generation,
    uapi::NFTA_RULE_EXPRESSIONS,
};

/// Hands the bytes to every reader, as if they came from the kernel.
fn read(bytes: &[u8]) {
    for message in Messages(bytes) {
        let attributes = message.attributes();
        let _ = (Reply::read(&message), Generation::read(&message), message.family());
        for family in Family::ALL {
            dump::read_for_test(family, attributes);
        }
    }
    let attributes = Attributes(bytes);
    let _ = parse_verdict(attributes);
    for family in Family::ALL {
        dump::read_for_test(family, attributes);
        let instructions = parse_expressions(attributes);
        delinearize_or_foreign(family, &instructions);
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
            Statement::equal(Field::ConntrackStatus, portolan_rules::ruleset::MatchValue::Dnat),
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
    let mut batch = Batch::new();
    batch.encode(&transaction).unwrap();
    batch
}

#[test]
fn what_is_written_is_read() {
    let batch = batch();
    let expressions: Vec<_> = Messages(batch.bytes())
        .filter_map(|message| message.attributes().find(NFTA_RULE_EXPRESSIONS))
        .filter(|attribute| attribute.value.len() > 100)
        .collect();
    assert_eq!(expressions.len(), 2);
    for (family, list) in Family::ALL.into_iter().zip(expressions) {
        let rule = delinearize_or_foreign(family, &parse_expressions(list.nested()));
        assert_eq!(rule.statements.len(), 3, "{rule:?}");
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
    fn a_rule_that_is_taken_is_read_back(
        fields in proptest::collection::vec(0..10_usize, 1..9),
        mask in any::<u32>(),
        shape in 0..8_u8,
        ip6 in any::<bool>(),
    ) {
        let family = if ip6 { Family::Ip6 } else { Family::Ip };
        let rule = Rule::new([statement(&fields, mask, shape), Statement::Verdict(Verdict::Drop)]);
        if let Ok(instructions) = linearize(family, &rule) {
            prop_assert_eq!(delinearize_or_foreign(family, &instructions), rule);
        } else {
            // Refused for a reason: too long for the registers, or not what the model calls by that name.
            let _ = translate(family, &rule);
        }
    }
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
    let element = dump::element_for_test(&[1, 4, 1, 0, 0, 0]);
    assert_eq!((element.comment, element.data), (None, ElementData::None));
    let element = dump::element_for_test(&[1, 4, 1, 0, 0, 0, 0, 3, b'h', b'i', 0]);
    assert_eq!(element.comment.as_deref(), Some("hi"));
    assert_eq!(dump::element_for_test(&[0, 30, b'h', b'i', 0]).comment, None);
    assert_eq!(dump::element_for_test(&[0]).comment, None);
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
        let mut batch = Batch::new();
        batch.encode(&transaction).unwrap();
        batch
    };
    assert_eq!(batch(1).operation(1, None), Some(0));
    assert_eq!(batch(5).operation(1, None), None);
    assert!(batch(5).operation(1, Some(u32::MAX)).is_some());
}
