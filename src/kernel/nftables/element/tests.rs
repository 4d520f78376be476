//! Our bytes are libnftnl's.

use std::sync::Arc;

use portolan_rules::ruleset::{
    ClassId, Concat, DataType, Element, Family, Operation, Set, SetFlags, Transaction, Value, Verdict,
};

use super::super::{
    Batch,
    attributes::Messages,
    libnftnl::{attributes, tests::set as written},
    uapi::{NF_ACCEPT, NFT_GOTO, NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM, NFT_SET_ELEM_INTERVAL_END, c_int},
    wire,
};

/// The attributes of one element message of ours.
fn ours(family: Family, set: &Set, elements: &[(Concat, Element)], delete: bool) -> Vec<u8> {
    let set = Arc::new(set.clone());
    let mut transaction = Transaction::new("portolan");
    for (key, element) in elements {
        let (set, key, element) = (set.clone(), key.clone(), element.clone());
        transaction.push(
            family,
            if delete {
                Operation::DeleteElement { set, key, end: element.end }
            } else {
                Operation::AddElement { set, key, element }
            },
        );
    }
    let mut batch = Batch::default();
    batch.encode(&transaction).unwrap();
    assert_eq!(batch.messages(), 1);
    let message = Messages(batch.bytes()).nth(1).unwrap();
    let kind = if delete { NFT_MSG_DELSETELEM } else { NFT_MSG_NEWSETELEM };
    assert_eq!((message.kind, message.family()), (wire::nf_tables(kind), family.number()));
    message.attributes().0.to_vec()
}

/// An element as libnftnl takes it.
struct RawElement<'a> {
    flags: Option<c_int>,
    key: &'a [u8],
    key_end: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
    verdict: Option<(i32, Option<&'a str>)>,
    userdata: Option<&'a [u8]>,
}

/// The attributes of libnftnl's message with these elements.
fn theirs(table: &str, set: &str, elements: &[RawElement<'_>]) -> Vec<u8> {
    let names = attributes![NFTNL_SET_TABLE => table, NFTNL_SET_NAME => set];
    let attributes = |element: &RawElement<'_>| {
        let mut attributes = attributes![NFTNL_SET_ELEM_KEY => element.key];
        attributes.extend(element.flags.into_iter().flat_map(|n| attributes![NFTNL_SET_ELEM_FLAGS => n]));
        attributes.extend(element.key_end.into_iter().flat_map(|n| attributes![NFTNL_SET_ELEM_KEY_END => n]));
        attributes.extend(element.data.into_iter().flat_map(|n| attributes![NFTNL_SET_ELEM_DATA => n]));
        if let Some((code, chain)) = element.verdict {
            attributes.extend(attributes![NFTNL_SET_ELEM_VERDICT => code.cast_unsigned()]);
            attributes.extend(chain.into_iter().flat_map(|chain| attributes![NFTNL_SET_ELEM_CHAIN => chain]));
        }
        attributes
            .extend(element.userdata.into_iter().flat_map(|n| attributes![NFTNL_SET_ELEM_USERDATA => n]));
        attributes
    };
    let [_, elements] = written(&names, false, &elements.iter().map(attributes).collect::<Vec<_>>());
    elements
}

const EMPTY: RawElement<'_> =
    RawElement { flags: None, key: &[], key_end: None, data: None, verdict: None, userdata: None };

fn ip(last: u8) -> Value {
    Value::Ipv4([10, 0, 0, last].into())
}

#[test]
fn a_data_map() {
    let set = Set::map(
        "endpoints",
        &[DataType::Ipv4Addr, DataType::InetProto, DataType::InetService, DataType::ClassId],
        &[DataType::Ipv4Addr, DataType::InetService],
    );
    let key = |n| Concat::new(&[ip(n), Value::Proto(6), Value::Port(80), Value::Class(ClassId(7))]);
    let value = Concat::new(&[ip(9), Value::Port(8080)]);
    let plain = Element::value(value.clone());
    let commented = plain.clone().with_comment(&"default/web:http".into());
    let elements = [(key(1), plain), (key(2), commented)];
    let second = key(2);
    let raw = [
        RawElement {
            key: &[10, 0, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0, 7, 0, 0, 0],
            data: Some(value.as_bytes()),
            ..EMPTY
        },
        RawElement {
            key: second.as_bytes(),
            data: Some(&[10, 0, 0, 9, 0x1f, 0x90, 0, 0]),
            userdata: Some(b"\x00\x11default/web:http\x00"),
            ..EMPTY
        },
    ];
    if cfg!(target_endian = "little") {
        let expected = theirs("portolan", "endpoints", &raw);
        assert_eq!(ours(Family::Ip, &set, &elements, false), expected);
    }
    let raw = [key(1), key(2)];
    let raw: Vec<_> = raw.iter().map(|key| RawElement { key: key.as_bytes(), ..EMPTY }).collect();
    let expected = theirs("portolan", "endpoints", &raw);
    assert_eq!(ours(Family::Ip, &set, &elements, true), expected);
}

#[test]
fn a_verdict_map() {
    let set = Set::verdict_map("classes", &[DataType::ClassId]);
    let key = |n| Concat::new(&[Value::Class(ClassId(n))]);
    let elements = [
        (key(1), Element::verdict(Verdict::Goto("cluster-3".into()))),
        (key(2), Element::verdict(Verdict::Accept)),
    ];
    let (one, two) = (key(1), key(2));
    let raw = [
        RawElement { key: one.as_bytes(), verdict: Some((NFT_GOTO, Some("cluster-3"))), ..EMPTY },
        RawElement { key: two.as_bytes(), verdict: Some((NF_ACCEPT, None)), ..EMPTY },
    ];
    let expected = theirs("portolan", "classes", &raw);
    assert_eq!(ours(Family::Ip6, &set, &elements, false), expected);
}

#[test]
fn a_field_of_less_than_a_register() {
    let set = Set::map("ports", &[DataType::InetProto], &[DataType::InetService]);
    let elements = [(Concat::new(&[Value::Proto(6)]), Element::value(Concat::new(&[Value::Port(80)])))];
    let raw = [RawElement { key: &[6], data: Some(&[0, 80]), ..EMPTY }];
    let expected = theirs("portolan", "ports", &raw);
    assert_eq!(ours(Family::Ip, &set, &elements, false), expected);
}

#[test]
fn ranges() {
    let interval = SetFlags { interval: true, ..SetFlags::default() };
    let set = Set::new("cidrs", &[DataType::Ipv4Addr]).with_flags(interval);
    let key = |address: [u8; 4]| Concat::new(&[Value::Ipv4(address.into())]);
    let range = |a, b| (key(a), Element { end: Some(Box::new(key(b))), ..Element::member() });
    let elements = [
        range([10, 0, 0, 0], [10, 0, 0, 255]),
        range([10, 0, 255, 255], [10, 0, 255, 255]),
        range([224, 0, 0, 0], [255, 255, 255, 255]),
    ];
    let end = RawElement { flags: Some(NFT_SET_ELEM_INTERVAL_END), ..EMPTY };
    let raw = [
        RawElement { key: &[10, 0, 0, 0], ..EMPTY },
        RawElement { key: &[10, 0, 1, 0], ..end },
        RawElement { key: &[10, 0, 255, 255], ..EMPTY },
        RawElement { key: &[10, 1, 0, 0], ..end },
        // nft marks a range that nothing ends.
        RawElement { key: &[224, 0, 0, 0], userdata: Some(&[1, 4, 1, 0, 0, 0]), ..EMPTY },
    ];
    if cfg!(target_endian = "little") {
        let expected = theirs("portolan", "cidrs", &raw);
        assert_eq!(ours(Family::Ip, &set, &elements, false), expected);
    }
}

#[test]
fn ranges_of_concatenations() {
    let interval = SetFlags { interval: true, ..SetFlags::default() };
    let set = Set::new("sources", &[DataType::Ipv4Addr, DataType::InetService]).with_flags(interval);
    let key = |n, port| Concat::new(&[ip(n), Value::Port(port)]);
    let element = Element { end: Some(Box::new(key(255, 90))), ..Element::member() };
    let (from, to) = (key(0, 80), key(255, 90));
    let raw = [RawElement { key: from.as_bytes(), key_end: Some(to.as_bytes()), ..EMPTY }];
    for delete in [false, true] {
        let expected = theirs("portolan", "sources", &raw);
        assert_eq!(ours(Family::Ip, &set, &[(from.clone(), element.clone())], delete), expected);
    }
}

#[test]
fn declarations() {
    let interval = SetFlags { interval: true, ..SetFlags::default() };
    let userdata = |key: u32, data: Option<u32>| {
        let data = data.map(|data| [&[1, 4][..], &data.to_ne_bytes()].concat());
        [&[0, 4][..], &key.to_ne_bytes(), &data.unwrap_or_default()].concat()
    };
    let [address, service, class] = [DataType::Ipv4Addr, DataType::InetService, DataType::ClassId];
    let map = Set { counter: true, ..Set::map("m", &[address, service], &[class]).with_size(64) };
    let mut of_map = attributes![
        NFTNL_SET_FLAGS => 8_u32, NFTNL_SET_KEY_TYPE => 0x1cd_u32, NFTNL_SET_KEY_LEN => 8_u32,
        NFTNL_SET_DATA_TYPE => 23_u32, NFTNL_SET_DATA_LEN => 4_u32, NFTNL_SET_DESC_SIZE => 64_u32,
    ];
    of_map.extend(attributes![NFTNL_SET_USERDATA => &userdata(0, Some(1))[..]]);
    let ranges = Set::new("r", &[address, service]).with_flags(interval).with_size(8);
    let mut of_ranges = attributes![
        NFTNL_SET_FLAGS => 0x84_u32, NFTNL_SET_KEY_TYPE => 0x1cd_u32, NFTNL_SET_KEY_LEN => 8_u32,
        NFTNL_SET_DESC_CONCAT => &[4, 2][..], NFTNL_SET_DESC_SIZE => 8_u32,
    ];
    of_ranges.extend(attributes![NFTNL_SET_USERDATA => &userdata(0, None)[..]]);
    let verdicts = Set::verdict_map("v", &[class]);
    let mut of_verdicts = attributes![
        NFTNL_SET_FLAGS => 8_u32, NFTNL_SET_KEY_TYPE => 23_u32, NFTNL_SET_KEY_LEN => 4_u32,
        NFTNL_SET_DATA_TYPE => 0xffff_ff00_u32, NFTNL_SET_DATA_LEN => 0_u32,
    ];
    of_verdicts.extend(attributes![NFTNL_SET_USERDATA => &userdata(1, Some(0))[..]]);
    for (set, mut attributes) in [(map, of_map), (ranges, of_ranges), (verdicts, of_verdicts)] {
        attributes.extend(attributes![
            NFTNL_SET_TABLE => "portolan", NFTNL_SET_NAME => &*set.name, NFTNL_SET_ID => 1_u32,
        ]);
        let [expected, _] = written(&attributes, set.counter, &[]);
        let mut transaction = Transaction::new("portolan");
        transaction.push(Family::Ip, Operation::AddSet(Box::new(set)));
        let mut batch = Batch::default();
        batch.encode(&transaction).unwrap();
        assert_eq!(Messages(batch.bytes()).nth(1).unwrap().attributes().0, expected);
    }
}
