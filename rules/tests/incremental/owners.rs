//! Which Service owns an address: while Services, slices and ServiceCIDRs come and go, the result is the same as
//! compiled from nothing.

mod objects;

use std::{net::IpAddr, sync::Arc};

use portolan_rules::{
    compile::{Compiler, Loaded, Plan, Severity},
    model::{ObjectName, Service},
    plane::Config,
    ruleset::{DataType, ElementData, Family, Operation, Ruleset, Value, diff::diff},
    selection::health_check_node_port::health_check,
    state::State,
};
use proptest::{collection::vec, prelude::*};

use crate::{apply::Apply as _, cluster, plan::WholePlan, without_slots};
use objects::{Change, Condition, Objects, Shape, change, name, ready, service, slice};

/// The address at the beginning of a key or value.
fn address(ruleset: &Ruleset, set: &str, key: &[Value]) -> IpAddr {
    match key {
        [Value::Ipv4(address), ..] => (*address).into(),
        [Value::Ipv6(address), ..] => (*address).into(),
        other => panic!("{set} of {} tables begins with {other:?}", ruleset.tables.len()),
    }
}

/// The frontends, each with the Service that answers it, and the endpoints.
fn frontends_and_endpoints(ruleset: &Ruleset) -> (Vec<(IpAddr, String)>, Vec<IpAddr>) {
    let (mut frontends, mut endpoints) = (Vec::new(), Vec::new());
    for (family, table) in &ruleset.tables {
        for (key, element) in &table.sets["frontends"].elements {
            let values = key.values(&table.sets["frontends"].key).unwrap();
            let comment = element.comment.as_deref().unwrap_or_default();
            let service = comment.split(':').next().unwrap_or_default();
            frontends.push((address(ruleset, "frontends", &values), service.to_owned()));
        }
        for element in table.sets["endpoints"].elements.values() {
            let ElementData::Value(value) = &element.data else { panic!("an endpoint is a value") };
            let types = [family.address_type(), DataType::InetService];
            endpoints.push(address(ruleset, "endpoints", &value.values(&types).unwrap()));
        }
    }
    (frontends, endpoints)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_owner_of_an_address_does_not_depend_on_the_order_of_changes(
        steps in vec(vec(change(), 1..4), 1..12),
        cidrs_first in any::<bool>(),
    ) {
        let (mut objects, mut state) = (Objects::default(), cluster::state());
        let mut compiler = Compiler::new(Config::default());
        compiler.load(&mut state, &Ruleset::default());
        let mut kernel = compiler.ruleset();
        for step in steps {
            for change in &step {
                objects.apply(change, &mut compiler, &mut state);
            }
            let update = compiler.update(&mut state);
            let plan = WholePlan::of(&mut compiler, &update);
            kernel = plan.apply(&kernel).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&kernel, &compiler.ruleset(), "the transaction leads to the compiled ruleset");

            // Compiling from nothing, in one go or in parts, gives the same result.
            let (mut fresh, mut fresh_state) = objects.fresh(&state, cidrs_first);
            let problems = fresh.load(&mut fresh_state, &Ruleset::default());
            prop_assert_eq!(without_slots(&fresh.ruleset()), without_slots(&kernel));
            let (mut in_parts, mut parts_state) = objects.fresh(&state, !cidrs_first);
            let mut of_parts = Ruleset::default();
            let loaded = in_parts.load_in_parts(&mut parts_state, &mut |part| {
                of_parts = part.apply(&of_parts).expect("the kernel takes it");
                true
            });
            prop_assert!(matches!(loaded, Loaded::Complete(_)));
            prop_assert_eq!(without_slots(&of_parts), without_slots(&kernel));

            // A ClusterIP belongs to its Service, and no endpoint with a ClusterIP is programmed.
            let (frontends, endpoints) = frontends_and_endpoints(&kernel);
            for (address, service) in &frontends {
                let owners = objects.with_cluster_ip(*address);
                let is_owner = owners.iter().any(|owner| owner.to_string() == *service);
                prop_assert!(owners.is_empty() || is_owner, "{} answers {}", service, address);
            }
            for address in endpoints {
                let is_service = !objects.with_cluster_ip(address).is_empty() || objects.is_in_cidr(address);
                prop_assert!(!is_service, "{} is an endpoint", address);
            }
            // Each Service that loses an address is named once per address.
            for service in objects.services.values().filter(|s| !state.quarantined().contains(&s.name)) {
                let of_family = |a: &&IpAddr| a.is_ipv4() == service.cluster_ips[0].is_ipv4();
                let mut listed: Vec<_> =
                    service.load_balancer_ips.iter().chain(&service.external_ips).filter(of_family).collect();
                listed.sort();
                listed.dedup();
                for address in listed {
                    let owners = objects.with_cluster_ip(*address);
                    let is_lost = !owners.is_empty() && !owners.contains(&&service.name);
                    let words = format!(": {address} is the ClusterIP of Service ");
                    let said = problems.iter().filter(|p| p.service == service.name && p.message.contains(&words));
                    prop_assert_eq!(said.count(), usize::from(is_lost), "{}: {}", service.name, address);
                }
                // An address that cannot be an endpoint is not counted as an endpoint.
                let check = health_check(state.get(&service.name).unwrap(), state.node()).unwrap();
                let here = objects.ready_here(service);
                prop_assert_eq!(check.local_endpoints.iter().flatten().sum::<usize>(), here.len());
            }
            // A restart over the kernel's ruleset has nothing to write.
            let (mut restarted, mut restarted_state) = objects.fresh(&state, cidrs_first);
            restarted.load(&mut restarted_state, &kernel);
            prop_assert_eq!(diff(&Config::default().table, &kernel, &restarted.ruleset()).operations, vec![]);
        }
    }
}

/// A compiler that has compiled these Services, each with an endpoint 10.0.0.n, and what the kernel holds.
struct Scene {
    objects: Objects,
    state: State,
    compiler: Compiler,
    kernel: Ruleset,
}

impl Scene {
    fn new() -> Self {
        let (mut state, mut compiler) = (cluster::state(), Compiler::new(Config::default()));
        compiler.load(&mut state, &Ruleset::default());
        let kernel = compiler.ruleset();
        Self { objects: Objects::default(), state, compiler, kernel }
    }

    fn change(&mut self, change: &Change) -> Plan {
        self.objects.apply(change, &mut self.compiler, &mut self.state);
        let update = self.compiler.update(&mut self.state);
        self.kernel =
            WholePlan::of(&mut self.compiler, &update).apply(&self.kernel).expect("the kernel takes it");
        update
    }

    fn owners(&self, address: &str) -> Vec<String> {
        let (frontends, _) = frontends_and_endpoints(&self.kernel);
        let at = frontends.into_iter().filter(|(at, _)| at.to_string() == address);
        at.map(|(_, service)| service).collect()
    }

    fn endpoints(&self) -> Vec<String> {
        let (_, mut endpoints) = frontends_and_endpoints(&self.kernel);
        endpoints.sort();
        endpoints.iter().map(IpAddr::to_string).collect()
    }
}

fn plain(cluster_ip: &'static str, created: i64) -> Shape {
    let (load_balancer, external) = (Vec::new(), Vec::new());
    Shape { created: Some(created), cluster_ip, load_balancer, external, ports: vec![80], udp: false }
}

fn messages(update: &Plan) -> Vec<String> {
    update.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_service_that_waits_for_a_cluster_ip_has_it_while_no_other_does() {
    let mut scene = Scene::new();
    let thief = Shape { external: vec!["10.96.0.2"], ports: vec![80, 81], ..plain("10.96.0.1", 1) };
    scene.change(&Change::Service(0, Some(thief.clone())));
    assert_eq!(scene.owners("10.96.0.2"), ["default/svc-0", "default/svc-0"]);

    let come = scene.change(&Change::Service(1, Some(plain("10.96.0.2", 2))));
    assert_eq!(scene.owners("10.96.0.2"), ["default/svc-1"], "port 81 is not the other's either");
    let said = "Service default/svc-0: spec.externalIPs: 10.96.0.2 is the ClusterIP of Service default/svc-1; not \
                programmed for this one";
    assert_eq!(messages(&come), [said], "the losing Service is named once");
    assert_eq!(come.problems[0].severity, Severity::Error);

    let again = scene.change(&Change::Service(0, Some(Shape { ports: vec![80], ..thief.clone() })));
    assert_eq!(messages(&again), [""; 0], "the problem is reported once");
    let by_load_balancer = Shape { load_balancer: vec!["10.96.0.2"], external: vec![], ..thief };
    let other_field = scene.change(&Change::Service(0, Some(by_load_balancer)));
    assert_eq!(messages(&other_field), [said.replace("spec.externalIPs", "status.loadBalancer.ingress")]);

    // The address stays the ClusterIP of a Service that the kernel refuses.
    scene.change(&Change::Quarantine(1, true));
    assert_eq!(scene.owners("10.96.0.2"), [""; 0]);
    scene.change(&Change::Quarantine(1, false));
    assert_eq!(scene.owners("10.96.0.2"), ["default/svc-1"]);

    scene.change(&Change::Service(1, None));
    assert_eq!(scene.owners("10.96.0.2"), ["default/svc-0", "default/svc-0"]);
}

#[test]
fn a_load_balancer_address_wins_over_an_older_external_ip_port_by_port() {
    let mut scene = Scene::new();
    let external = Shape { external: vec!["203.0.113.1"], ports: vec![80, 81], ..plain("10.96.0.1", 1) };
    scene.change(&Change::Service(0, Some(external.clone())));
    let balanced = Shape { load_balancer: vec!["203.0.113.1"], ..plain("10.96.0.2", 2) };
    let come = scene.change(&Change::Service(1, Some(balanced.clone())));
    // Addresses of load balancers are shared: of nodes, with k3s.
    assert_eq!(scene.owners("203.0.113.1"), ["default/svc-1", "default/svc-0"]);
    let said = "Service default/svc-0: spec.externalIPs: 203.0.113.1:80/tcp is a load balancer address of Service \
                default/svc-1; not programmed for this one";
    assert_eq!(messages(&come), [said]);

    // If a Service lists the address as both, the load balancer address counts.
    let both = Shape { load_balancer: vec!["203.0.113.1"], ..external.clone() };
    let taken = scene.change(&Change::Service(0, Some(both)));
    assert_eq!(scene.owners("203.0.113.1"), ["default/svc-0", "default/svc-0"], "the older of equals");
    let said = "Service default/svc-1: status.loadBalancer.ingress: 203.0.113.1:80/tcp belongs to the older Service \
                default/svc-0; not programmed for this one";
    assert_eq!(messages(&taken), [said]);
    scene.change(&Change::Service(0, Some(external.clone())));
    assert_eq!(scene.owners("203.0.113.1"), ["default/svc-1", "default/svc-0"], "and less again");

    let also = Shape { external: vec!["203.0.113.1"], ..plain("10.96.0.2", 2) };
    scene.change(&Change::Service(1, Some(also)));
    assert_eq!(scene.owners("203.0.113.1"), ["default/svc-0", "default/svc-0"], "the older of equals");
    scene.change(&Change::Service(1, Some(balanced)));
    scene.change(&Change::Service(1, None));
    assert_eq!(scene.owners("203.0.113.1"), ["default/svc-0", "default/svc-0"]);
}

#[test]
fn an_endpoint_is_left_out_while_it_is_a_services_address() {
    let mut scene = Scene::new();
    scene.change(&Change::Service(0, Some(plain("10.96.0.1", 1))));
    let listed = vec!["10.0.0.1", "10.96.0.2", "10.96.0.3"];
    scene.change(&Change::Slice(0, 0, Some(ready(&listed))));
    assert_eq!(scene.endpoints(), listed, "of whatever else they are");

    let come = scene.change(&Change::Service(1, Some(plain("10.96.0.2", 2))));
    assert_eq!(scene.endpoints(), ["10.0.0.1", "10.96.0.3"]);
    let said = "Service default/svc-0: endpoint 10.96.0.2 is the ClusterIP of Service default/svc-1, and no endpoint can \
                have a Service's address; left out";
    assert_eq!(messages(&come), [said]);
    assert_eq!(come.problems[0].severity, Severity::Notice);
    let in_range = scene.change(&Change::Cidrs(1));
    assert_eq!(scene.endpoints(), ["10.0.0.1"]);
    assert_eq!(messages(&in_range), [format!("{said}, with 1 more")]);
    scene.change(&Change::Service(1, None));
    assert_eq!(scene.endpoints(), ["10.0.0.1"], "it is in a ServiceCIDR");
    scene.change(&Change::Cidrs(0));
    assert_eq!(scene.endpoints(), listed);

    // Its own ClusterIP is not an endpoint either.
    scene.change(&Change::Slice(0, 0, Some(ready(&["10.96.0.1", "10.0.0.2"]))));
    assert_eq!(scene.endpoints(), ["10.0.0.2"]);
    scene.change(&Change::Slice(0, 1, Some(ready(&["10.0.0.1"]))));
    assert_eq!(scene.endpoints(), ["10.0.0.1", "10.0.0.2"], "in another slice");
}

/// Load balancer addresses and externalIPs may be those of nodes, and so of pods in their network.
#[test]
fn an_endpoint_may_be_a_load_balancer_address_or_an_external_ip() {
    let mut scene = Scene::new();
    let node =
        Shape { load_balancer: vec!["192.0.2.1"], external: vec!["10.0.0.1"], ..plain("10.96.0.1", 1) };
    scene.change(&Change::Cidrs(1));
    scene.change(&Change::Service(0, Some(node)));
    scene.change(&Change::Service(1, Some(plain("10.96.0.2", 2))));
    let update = scene.change(&Change::Slice(1, 0, Some(ready(&["192.0.2.1", "10.0.0.1"]))));
    assert_eq!(scene.endpoints(), ["10.0.0.1", "192.0.2.1"]);
    assert_eq!(messages(&update), [""; 0]);
}

#[test]
fn a_new_cluster_ip_concerns_only_services_that_name_it() {
    let mut scene = Scene::new();
    for n in 2..100 {
        scene.change(&Change::Service(
            n,
            Some(plain(if n % 2 == 0 { "10.96.0.1" } else { "10.96.0.3" }, n.into())),
        ));
        scene.change(&Change::Slice(n, n, Some(ready(&["10.0.0.1", "203.0.113.1"]))));
    }
    scene.change(&Change::Slice(50, 50, Some(ready(&["10.0.0.1", "10.96.0.2"]))));
    let named = Shape { external: vec!["10.96.0.2"], ..plain("10.96.0.3", 60) };
    scene.change(&Change::Service(60, Some(named)));
    let come = scene.change(&Change::Service(1, Some(plain("10.96.0.2", 1))));
    assert_eq!(come.recompiled, 3, "itself, the Service with an endpoint there, and the one that lists it");
    let gone = scene.change(&Change::Service(1, None));
    assert_eq!(gone.recompiled, 3);
}

/// The incremental update looks at the changed endpoints only.
#[test]
fn what_is_left_out_stays_so_when_nothing_else_changes() {
    let mut scene = Scene::new();
    scene.change(&Change::Service(0, Some(plain("10.96.0.1", 1))));
    scene.change(&Change::Service(1, Some(plain("10.96.0.2", 2))));
    let listed = |condition| Some(vec![("10.0.0.2", Condition::Ready), ("10.96.0.2", condition)]);
    for condition in [Condition::Unready, Condition::Ready, Condition::Terminating, Condition::Ready] {
        let update = scene.change(&Change::Slice(0, 0, listed(condition)));
        assert_eq!(scene.endpoints(), ["10.0.0.2"], "{condition:?}");
        assert!(update.recompiled == 1 && scene.compiler.ruleset() == scene.kernel);
    }
}

/// Clients are remembered by the number of the port that they connected to.
#[test]
fn an_older_service_that_comes_while_the_agent_is_away_takes_nothing_over() {
    let sticky = |n, shape: &Shape| {
        let service = Service { affinity_timeout: Some(60), ..service(name(n), shape) };
        (name(n), Arc::new(service))
    };
    let balanced = sticky(1, &Shape { load_balancer: vec!["203.0.113.1"], ..plain("10.96.0.2", 2) });
    let external = sticky(0, &Shape { external: vec!["203.0.113.1"], ..plain("10.96.0.1", 1) });
    let of = |n| ObjectName::new("default", format!("slice-{n}"));
    let loaded = |services: Vec<(ObjectName, Arc<Service>)>, kernel: &Ruleset| {
        let (mut state, mut compiler) = (cluster::state(), Compiler::new(Config::default()));
        for (i, (service, _)) in services.iter().enumerate() {
            let list = [("10.0.0.1", Condition::Ready), ("10.0.0.2", Condition::Ready)];
            state.set_slice(&of(i), Some(Arc::new(slice(of(i), &service.name, &list))));
        }
        state.replace_services(services);
        compiler.load(&mut state, kernel);
        compiler.ruleset()
    };
    let before = loaded(vec![balanced.clone()], &Ruleset::default());
    let after = loaded(vec![balanced, external], &before);
    let diff = diff(&Config::default().table, &before, &after);
    let removed = diff.operations.iter().filter(|(_, op)| matches!(op, Operation::DeleteElement { .. }));
    assert_eq!(removed.collect::<Vec<_>>(), Vec::<&(Family, Operation)>::new());
    assert!(!diff.is_empty());
}
