//! Many new Services: sets are outgrown and replaced, for all Services at once.

use portolan_integration::{Dual, Family, Protocol, Service, Slice};
use serde_json::{Value, json};

use crate::scene::{FRONTENDS, Scene};

/// The number of Services in one file.
const STEP: u16 = 200;

/// The kind of the Services in a file.
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    NodePort,
    /// A load balancer with policy Local and source ranges.
    Local,
}

/// Returns the nth of many Services, at 10.97.x.y and the corresponding IPv6 address; nothing listens at its two
/// endpoints.
fn numbered(number: u16, kind: Kind) -> Vec<Value> {
    let [high, low] = number.to_be_bytes();
    let name = format!("many-{number}");
    let dual = |network: u8, group: u16| {
        Dual::new([10, network, high, low], [0xfd00, 0x10, group, 0, 0, 0, 0, number])
    };
    let service = Service::new(&name, Family::BOTH.map(|family| dual(97, 0x97).of(family)));
    let service = service.port("http", Protocol::Tcp, 80);
    let service = match kind {
        Kind::Plain => service,
        // 30000 to 32767 without those of the Service under fire.
        Kind::NodePort => service.of_type("NodePort").node_port(30_100 + number % 2_600),
        Kind::Local => {
            let service = service
                .of_type("LoadBalancer")
                .with("/spec/allocateLoadBalancerNodePorts", false)
                .with("/spec/externalTrafficPolicy", "Local")
                .with(
                    "/spec/loadBalancerSourceRanges",
                    json!([format!("10.250.{high}.{low}/32"), format!("fd00:250::{number:x}/128")]),
                );
            Family::BOTH
                .iter()
                .fold(service, |service, family| service.ingress(dual(98, 0x98).of(*family), None))
        }
    };
    let slice = |family: Family| {
        let mut slice = Slice::new(&name, family).port("http", Protocol::Tcp, 8080).object();
        let endpoint = |network: u8, node: &str| {
            json!({
                "addresses": [dual(network, u16::from(network)).of(family)],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": node,
            })
        };
        slice["endpoints"] = json!([endpoint(200, "node-a"), endpoint(201, "node-b")]);
        slice
    };
    std::iter::once(service.object()).chain(Family::BOTH.map(slice)).collect()
}

fn add(scene: &Scene, numbers: std::ops::Range<u16>, kind: Kind) {
    let file = format!("many-{}.yaml", numbers.start);
    let objects: Vec<_> = numbers.flat_map(|number| numbered(number, kind)).collect();
    scene.manifests.put(&file, &objects).unwrap();
}

#[test]
fn no_flow_is_lost_while_sets_are_outgrown() {
    let scene = Scene::new();
    scene.put("shop", &scene.shop(), &[0, 3]);
    add(&scene, 0..200, Kind::Plain);
    scene.fire(&FRONTENDS, |scene| {
        let growth =
            [(1_100, Kind::Plain), (2_100, Kind::NodePort), (3_200, Kind::Local), (4_300, Kind::Plain)];
        let mut have = 200;
        for (count, kind) in growth {
            while have < count {
                let more = have..count.min(have + STEP);
                have = more.end;
                scene.change(&format!("{have} Services"), |scene| add(scene, more, kind));
            }
        }
    });
}
