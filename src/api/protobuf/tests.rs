//! Tests of reading documents in protobuf.

use proptest::prelude::*;

use super::*;
use crate::api::{EndpointSlice, Service};

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn json<T: for<'de> Deserialize<'de>>(value: &serde_json::Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn a_service_is_what_it_is_in_json() {
    let meta = [
        bytes(1, "web"),
        bytes(2, ""),
        bytes(3, "default"),
        bytes(6, "12"),
        number(7, 0),
        bytes(8, number(1, 1_700_000_000)),
        bytes(11, [bytes(1, "kubernetes.io/service-name"), bytes(2, "b")].concat()),
        // This label has no meaning here, and is skipped.
        bytes(11, [bytes(1, "app"), bytes(2, "web")].concat()),
        bytes(12, [bytes(1, "portolan.io/load-balancing"), bytes(2, "source-hash")].concat()),
        bytes(11, [bytes(1, "service.kubernetes.io/headless"), bytes(2, "")].concat()),
        bytes(17, [bytes(1, "manager"), bytes(7, vec![0xff; 300])].concat()),
    ];
    let port = |name: &str, target: Vec<u8>| {
        [bytes(1, name), bytes(2, "TCP"), number(3, 80), bytes(4, target), number(5, 0)].concat()
    };
    let spec = [
        bytes(1, port("http", number(2, 8080))),
        bytes(1, port("", [number(1, 1), number(2, 0), bytes(3, "web")].concat())),
        bytes(3, "10.96.0.1"),
        bytes(4, "ClusterIP"),
        bytes(8, ""),
        number(12, 0),
        number(13, 0),
        bytes(18, "10.96.0.1"),
        bytes(18, "fd00::1"),
        // Fields of a later version: numbers of a fixed length, and a message.
        [varint(90 << 3 | 1), vec![0; 8]].concat(),
        [varint(91 << 3 | 5), vec![0; 4]].concat(),
        bytes(1000, [bytes(1, "x")].concat()),
    ];
    let service: Service =
        read(&[bytes(1, meta.concat()), bytes(2, spec.concat())].concat(), SERVICE).unwrap();
    let expected = serde_json::json!({
        "metadata": {
            "name": "web", "namespace": "default", "resourceVersion": "12",
            "creationTimestamp": "2023-11-14T22:13:20Z",
            "labels": {"kubernetes.io/service-name": "b", "service.kubernetes.io/headless": ""},
            "annotations": {"portolan.io/load-balancing": "source-hash"},
        },
        "spec": {
            "ports": [
                {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080},
                {"protocol": "TCP", "port": 80, "targetPort": "web"},
            ],
            "clusterIP": "10.96.0.1", "type": "ClusterIP", "publishNotReadyAddresses": false,
            "clusterIPs": ["10.96.0.1", "fd00::1"],
        },
    });
    assert_eq!(service, json::<Service>(&expected));
}

#[test]
fn what_is_false_is_not_what_is_missing() {
    let endpoint = |conditions: Vec<u8>| [bytes(1, "192.0.2.1"), bytes(2, conditions)].concat();
    let slice = [
        bytes(2, endpoint(number(1, 0))),
        bytes(2, endpoint(Vec::new())),
        bytes(3, [bytes(1, ""), number(3, 80)].concat()),
        bytes(4, "IPv4"),
    ];
    let expected = serde_json::json!({
        "addressType": "IPv4", "ports": [{"port": 80}],
        "endpoints": [
            {"addresses": ["192.0.2.1"], "conditions": {"ready": false}},
            {"addresses": ["192.0.2.1"], "conditions": {}},
        ],
    });
    assert_eq!(
        read::<EndpointSlice>(&slice.concat(), ENDPOINT_SLICE).unwrap(),
        json::<EndpointSlice>(&expected)
    );
}

#[test]
fn what_is_not_a_message_is_an_error() {
    for wrong in [
        bytes(1, "x"),
        number(1, 7),
        bytes(2, [0xff]),
        vec![0],
        vec![0x0b],
        vec![0x80; 11],
        bytes(1, bytes(1, [0xff, 0xfe])),
        bytes(1, [varint(6 << 3 | 2), varint(u64::MAX)].concat()),
    ] {
        assert!(read::<Service>(&wrong, SERVICE).is_err(), "{wrong:?}");
    }
    assert!(document(b"k8t\0").is_err() && document(b"").is_err());
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read::<Service>(&bytes, SERVICE);
        let _ = read::<EndpointSlice>(&bytes, ENDPOINT_SLICE);
        let _ = read::<serde_json::Value>(&bytes, STATUS);
        let _ = document(&[MAGIC, &bytes].concat());
        let _ = event(&bytes);
    }
}
