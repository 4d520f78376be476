//! NodePort acceptance: behaviour.md §3, §14 invariants 3 and 10, the rows "ext→second node IP" of §12a. New and
//! removed addresses take effect at once.

use std::time::Duration;

use portolan_integration::{Answer, CLUSTER_CIDR, Dual, Family, Protocol};

use crate::{
    frontends::{assert_all_serve, exposed, node_port, put, ready},
    scene::{Scene, wait_until},
};

/// The promised time limit.
const SECOND: Duration = Duration::from_secs(1);

/// A host address within the networks answers within a second of its arrival, and stops within a second of its removal;
/// an address outside of the networks is left alone.
#[test]
fn an_address_that_comes_or_goes_counts_within_a_second() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    put(&scene, 1, &exposed(&scene, 1), &ready(&[&one, &two]));
    let networks = "172.16.0.0/24,fd00:172:16::/64";
    scene.run_with(&["--cluster-cidr", CLUSTER_CIDR, "--nodeport-addresses", networks]);
    let node = &scene.lab.node_a;
    let listed = Dual::new([172, 16, 0, 99], [0xfd00, 0x172, 0x16, 0, 0, 0, 0, 0x99]);
    let unlisted = Dual::new([172, 17, 0, 99], [0xfd00, 0x172, 0x17, 0, 0, 0, 0, 0x99]);
    let change = |verb: &str| {
        let nodad = if verb == "add" { " nodad" } else { "" };
        // The second address is on `lo`, so that the kernel does not choose it as a source for other destinations.
        for (address, device) in [(listed, "eth1"), (unlisted, "lo")] {
            let (v4, v6) = (address.v4, address.v6);
            let commands =
                format!("addr {verb} {v4}/32 dev {device}\naddr {verb} {v6}/128 dev {device}{nodad}\n");
            node.namespace().ip(&commands).unwrap();
        }
    };
    let shell = scene.shell.client();
    // The best times for new and for removed addresses; a busy machine may delay some of them.
    let (mut came, mut gone) = (Duration::MAX, Duration::MAX);
    for round in 0.. {
        let is_prompt = came.max(gone) < SECOND;
        if round >= 2 && is_prompt || round == 20 {
            break;
        }
        change("add");
        for family in Family::BOTH {
            let target = listed.port(family, node_port(1));
            let serves = || shell.within(Duration::from_millis(200)).tcp(target).server().is_some();
            came = came.min(wait_until("the new address answers", serves));
            for client in [scene.shell.client(), node.client()] {
                assert_all_serve(&client, target, &["web-1", "web-2"], "the new address");
            }
            // This address belongs to the node's own processes: nothing listens there at first.
            let target = unlisted.port(family, node_port(1));
            assert!(shell.tcp(target).is_refused(), "an address outside of the networks");
            let _server = node.serve(family, unlisted, Protocol::Tcp, node_port(1)).unwrap();
            assert_eq!(shell.tcp(target).server(), Some("node-a"), "an address outside of the networks");
        }
        change("del");
        for family in Family::BOTH {
            let target = listed.port(family, node_port(1));
            let ask = || shell.within(Duration::from_millis(200)).tcp(target);
            let is_gone = || matches!(ask(), Answer::Unreachable | Answer::TimedOut);
            gone = gone.min(wait_until("the address is gone", is_gone));
        }
    }
    assert!(came < SECOND, "a new address answered after {came:?} at best");
    assert!(gone < SECOND, "an address was gone after {gone:?} at best");
}
