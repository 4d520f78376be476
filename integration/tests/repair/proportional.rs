//! The cost of a change depends on the change, not on the number of Services.

use std::collections::BTreeMap;

use portolan_integration::{Agent, Manifests, eventually};
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene};

fn numbered(n: u16) -> [u8; 2] {
    n.to_be_bytes()
}

/// Returns a Service and its slice with this number of endpoints.
pub fn objects(n: u16, endpoints: u8) -> Vec<Value> {
    let [high, low] = numbered(n);
    let name = format!("many-{n}");
    let addresses = (0..endpoints).map(|i| json!({"addresses": [format!("10.{}.{high}.{low}", 128 + i)]}));
    vec![
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
            "spec": {"clusterIP": format!("10.97.{high}.{low}"), "ports": [{"port": 80, "name": "http"}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name},
            },
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": addresses.collect::<Vec<_>>(),
        }),
    ]
}

pub fn fill(manifests: &Manifests, services: u16) {
    let all: Vec<Value> = (0..services).flat_map(|n| objects(n, 3)).collect();
    manifests.put("many.yaml", &all).unwrap();
    manifests.put("one.yaml", &objects(50_000, 3)).unwrap();
}

/// Returns the fields of the last reconcile that wrote something, from the agent's log after this many bytes.
fn write(agent: &Agent, after: usize) -> Option<BTreeMap<String, String>> {
    let stderr = agent.stderr();
    let said = stderr[after..].lines();
    let line = said.rev().find(|line| line.contains("\"Reconciled\"") && !line.contains("operations=0"))?;
    let fields = line.split_whitespace().filter_map(|field| field.split_once('='));
    Some(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[test]
fn a_change_of_one_service_writes_the_same_beside_ten_and_beside_two_thousand() {
    let mut costs = Vec::new();
    for services in [10, 2_000] {
        let scene = Scene::new();
        fill(&scene.manifests, services);
        let agent = scene.run();
        // One ready endpoint more, one less, and an endpoint count that no other Service has.
        let mut cost = Vec::new();
        for endpoints in [4, 3, 5] {
            let before = agent.stderr().len();
            scene.manifests.put("one.yaml", &objects(50_000, endpoints)).unwrap();
            let told = || write(&agent, before).is_some();
            eventually(PATIENCE, told).expect("the change is written, and reported");
            let fields = write(&agent, before).unwrap();
            assert_eq!(fields["full"], "false", "nothing is read back: {fields:?}");
            cost.push((fields["operations"].clone(), fields["messages"].clone(), fields["bytes"].clone()));
        }
        costs.push(cost);
    }
    assert_eq!(costs[0], costs[1], "operations, messages, bytes beside 10 and beside 2,000 Services");
    let operations: Vec<u32> = costs[0].iter().map(|(operations, ..)| operations.parse().unwrap()).collect();
    assert!(operations.iter().all(|operations| (1..20).contains(operations)), "{operations:?}");
}

#[test]
fn a_repair_of_one_element_reads_and_writes_the_same_beside_ten_and_beside_two_thousand() {
    let mut costs = Vec::new();
    for services in [10, 2_000] {
        let scene = Scene::new();
        fill(&scene.manifests, services);
        let agent = scene.run();
        // A Service that exists in both cases, and one of its endpoints, at its slot.
        let (frontend, endpoint) = ("10.97.0.3 . tcp . 80", "10.97.0.3 . tcp . 80 . 0:1");
        let mut cost = Vec::new();
        for commands in [
            format!("delete element ip portolan endpoints {{ {endpoint} }}"),
            format!(
                "delete element ip portolan endpoints {{ {endpoint} }}\n\
                 add element ip portolan endpoints {{ {endpoint} : 192.0.2.7 . 7 }}"
            ),
            format!("delete element ip portolan frontends {{ {frontend} }}"),
            "add element ip portolan frontends { 192.0.2.99 . tcp . 80 : 0:1 }".to_owned(),
        ] {
            let before = agent.stderr().len();
            scene.expect_restored(&commands);
            let told = || write(&agent, before).is_some();
            eventually(PATIENCE, told).expect("the repair is reported");
            let fields = write(&agent, before).unwrap();
            assert_eq!(fields["full"], "false", "no set is read back: {commands}: {fields:?}");
            cost.push(["operations", "messages", "bytes"].map(|field| fields[field].clone()));
        }
        costs.push(cost);
    }
    assert_eq!(costs[0], costs[1], "operations, messages, bytes beside 10 and beside 2,000 Services");
}
