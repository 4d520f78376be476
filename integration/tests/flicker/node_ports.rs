//! Node ports, external addresses and whole types come and go beside the frontends under fire.

use portolan_integration::{Family, Protocol, Service};

use crate::scene::{FRONTENDS, NODE_PORT, POD_PORT, Scene, ports};

const CHANGES: usize = 100;

#[test]
fn no_flow_is_lost_while_node_ports_and_types_change() {
    let scene = Scene::new();
    let ready = [0, 3, 4];
    let plain = |kind: &str| ports(scene.service("shop", 1).of_type(kind), Some(NODE_PORT));
    let admin = |service: Service, node_port: u16| {
        service.port("admin", Protocol::Tcp, 81).target_port(POD_PORT).node_port(node_port)
    };
    let external = |service: Service| {
        let address = |family: &Family| scene.lab.external_ip(3).of(*family);
        Family::BOTH.iter().fold(service, |service, family| service.external_ip(address(family)))
    };
    let vip = |service: Service| {
        let address = |family: &Family| scene.lab.external_ip(4).of(*family);
        Family::BOTH.iter().fold(service, |service, family| service.ingress(address(family), None))
    };
    let shop: Vec<(&str, Service)> = vec![
        ("another port with a node port", admin(plain("NodePort"), 30_081)),
        ("its node port moves", admin(plain("NodePort"), 30_082)),
        ("external IPs", external(plain("NodePort"))),
        ("a load balancer", vip(plain("LoadBalancer"))),
        (
            "a load balancer with external IPs and node port 30083",
            admin(external(vip(plain("LoadBalancer"))), 30_083),
        ),
        ("only the node port under fire", plain("NodePort")),
    ];
    // Other Services with the same endpoint count, and with one that no other Service has.
    let other = ports(scene.service("other", 2), None);
    let exposed = |node_port| ports(scene.service("other", 2).of_type("NodePort"), Some(node_port));
    let others: Vec<(&str, Service, Vec<usize>)> = vec![
        ("another Service's node port", exposed(30_090), vec![0, 3, 4]),
        ("it moves, with two endpoints", exposed(30_091), vec![0, 3]),
        ("it goes", other.clone(), vec![0, 3]),
        ("it comes back, with four endpoints", exposed(30_090), vec![0, 1, 3, 4]),
    ];
    scene.put("shop", &plain("NodePort"), &ready);
    scene.put("other", &other, &[0, 3]);
    let shops = shop.iter().cycle();
    let others = others.iter().cycle();
    let changes: Vec<_> = shops.zip(others).take(CHANGES / 2).map(|(a, b)| (a.clone(), b.clone())).collect();
    scene.fire(&FRONTENDS[..2], move |scene| {
        for (shop, other) in changes {
            scene.change(shop.0, |scene| scene.put("shop", &shop.1, &ready));
            scene.change(other.0, |scene| scene.put("other", &other.1, &other.2));
        }
    });
}
