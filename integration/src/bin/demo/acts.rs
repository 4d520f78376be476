//! The acts in which everything works.

use portolan_integration::{Answer, Family, Pod, Protocol};

use crate::{
    picture::{Picture, bar},
    stage::{DemoError, Stage, counts},
};

/// The pods behind the Service, once it is scaled.
const PYTHON: [&str; 3] = ["pod-python", "pod-python-2", "pod-python-3"];
/// The container's port in all manifests.
const TARGET_PORT: u16 = 443;
pub(crate) const NODE_PORT: u16 = 30_080;

/// The pods on stage.
pub(crate) struct Cast {
    nginx: Pod,
    python: Vec<Pod>,
}

impl Cast {
    /// nginx on node-a, one python on node-b.
    pub(crate) fn new(stage: &Stage) -> Result<Self, DemoError> {
        let nginx = stage.lab.node_a.pod_at("pod-nginx", 2)?;
        let cast = Self { nginx, python: vec![start(stage, PYTHON[0], 2)?] };
        cast.check(stage)?;
        Ok(cast)
    }

    /// Checks that the current manifest describes these pods.
    fn check(&self, stage: &Stage) -> Result<(), DemoError> {
        for pod in self.python.iter().chain([&self.nginx]) {
            stage.expect(&format!("name: {}\n", pod.name()))?;
            stage.expect(&format!("podIPs: [{{ip: {}}}]\n", pod.address().v4))?;
        }
        stage.expect(&format!("containerPort: {TARGET_PORT}}}]\n"))
    }

    /// Replaces python by a pod with another address, as its controller would: the new pod runs, the
    /// manifest lists it, the old pod goes.
    fn recreate(&mut self, stage: &mut Stage, host: u8, manifest: &str) -> Result<(), DemoError> {
        let new = vec![start(stage, PYTHON[0], host)?];
        stage.change(manifest)?;
        let old = std::mem::replace(&mut self.python, new);
        old.into_iter().try_for_each(Pod::delete)?;
        self.check(stage)
    }
}

fn start(stage: &Stage, name: &str, host: u8) -> Result<Pod, DemoError> {
    Ok(stage.lab.node_b.pod_at(name, host)?.serve(Protocol::Tcp, TARGET_PORT)?)
}

fn service_ip(stage: &Stage) -> Result<std::net::SocketAddr, DemoError> {
    let address = stage.lab.cluster_ip(10).port(Family::V4, 3000);
    stage.expect(&format!("clusterIP: {}\n", address.ip()))?;
    Ok(address)
}

/// An arrow from nginx to its target, and on to the Pod that answers, if any.
fn one_try(stage: &mut Stage, caption: &str, asked: &[&str], answer: &Answer) {
    let end = match answer {
        Answer::Served { server, .. } => Picture::targets(&[format!("{server} answers")]),
        other => Picture::text(&format!("✗ {other}")),
    };
    let nginx = Picture::boxed(&["pod-nginx", "on node-a"]);
    stage.draw(caption, &nginx.to("▶", Picture::boxed(asked)).to("", end));
}

/// Act 1: pods have addresses, and addresses do not last.
pub(crate) fn no_service(stage: &mut Stage, cast: &mut Cast) -> Result<(), DemoError> {
    stage.act(
        1,
        "no Service",
        &[
            "nginx talks to python by the address of its pod. That works until the pod is recreated:",
            "a new pod gets a new address, and nginx still has the old one.",
        ],
    );
    let Some(target) = cast.python.first().map(|pod| pod.address().port(Family::V4, TARGET_PORT)) else {
        return Ok(());
    };
    let answer = cast.nginx.client().tcp(target);
    one_try(stage, "nginx asks the pod's address", &[&target.to_string()], &answer);
    stage.claim("nginx reaches python at its pod IP", answer.server() == Some(PYTHON[0]));

    stage.say("python is recreated");
    cast.recreate(stage, 3, "1-python-recreated.yaml")?;
    let answer = cast.nginx.client().tcp(target);
    one_try(stage, "nginx asks the address it knows", &[&target.to_string(), "no answer there"], &answer);
    stage.claim("nginx no longer reaches python", answer.server().is_none());
    stage.draw_services()
}

/// Act 2: a ClusterIP stays, whatever happens to the pods.
pub(crate) fn cluster_ip(stage: &mut Stage, cast: &mut Cast) -> Result<(), DemoError> {
    stage.act(
        2,
        "ClusterIP",
        &[
            "service-python gives python one address that stays. Every node rewrites the destination of",
            "the first packet of a connection to a ready pod with the label; the pods' port is 443, the",
            "Service's is 3000.",
        ],
    );
    let nginx = cast.nginx.client();
    stage.change("2-cluster-ip.yaml")?;
    let service = service_ip(stage)?;
    let via = ["service-python:3000", "ClusterIP 10.96.0.10"];
    let answer = nginx.tcp(service);
    one_try(stage, "nginx asks the Service", &via, &answer);
    stage.claim("nginx reaches python through service-python:3000", answer.server() == Some(PYTHON[0]));

    stage.say("python is recreated once more, with another address");
    cast.recreate(stage, 4, "2-python-recreated.yaml")?;
    let answer = nginx.tcp(service);
    one_try(stage, "nginx asks the Service, as before", &via, &answer);
    stage.claim(
        "nginx still reaches python: it never knew the pod's address",
        answer.server() == Some(PYTHON[0]),
    );

    stage.say("python is scaled to three");
    for (name, host) in PYTHON.iter().zip(4..).skip(1) {
        cast.python.push(start(stage, name, host)?);
    }
    stage.change("2-scaled.yaml")?;
    cast.check(stage)?;
    let answers = nginx.many(Protocol::Tcp, service, 90, 2);
    let shares = counts(&answers, &PYTHON);
    let service = Picture::boxed(&["pod-nginx", "on node-a"]).to("▶", Picture::boxed(&via));
    stage.draw("90 requests from nginx", &service.to("", tree(&shares, 60)));
    stage.claim("every request was served", total(&shares) == 90);
    stage.claim("they are spread over the three pods", is_spread(&shares));
    stage.draw_services()
}

/// Act 3: two more lines open a port on every node.
pub(crate) fn node_port(stage: &mut Stage) -> Result<(), DemoError> {
    stage.act(
        3,
        "NodePort",
        &[
            "A ClusterIP means nothing outside the cluster. Two lines open port 30080 on every node, also on",
            "the node that runs no python pod. It is a ClusterIP as well.",
        ],
    );
    stage.change("3-node-port.yaml")?;
    stage.expect(&format!("nodePort: {NODE_PORT}\n"))?;
    let client = stage.lab.client();
    let nodes =
        stage.lab.nodes().map(|node| (node.name().to_owned(), node.outside().port(Family::V4, NODE_PORT)));
    for ((name, target), remark) in nodes.iter().zip(["runs no python pod", "runs the python pods"]) {
        let answers = client.many(Protocol::Tcp, *target, 30, 2);
        let shares = counts(&answers, &PYTHON);
        let node = Picture::boxed(&[&format!("{name} {target}"), remark]);
        let picture = Picture::boxed(&["client", "203.0.113.10"]).to("▶", node).to("", tree(&shares, 30));
        stage.draw(&format!("30 requests from outside to {name}"), &picture);
        stage.claim(&format!("{name}, which {remark}, answers at {target}"), total(&shares) == 30);
    }
    let inside = stage.lab.node_b.inside().port(Family::V4, NODE_PORT);
    let answer = stage.lab.node_a.client().tcp(inside);
    stage.claim(&format!("node-a reaches it at node-b's inside address {inside}"), answer.server().is_some());
    let answer = stage.lab.node_a.client().tcp(service_ip(stage)?);
    stage.claim("it is still a ClusterIP", answer.server().is_some());
    stage.draw_services()
}

/// Act 4: one address for all nodes.
pub(crate) fn load_balancer(stage: &mut Stage) -> Result<(), DemoError> {
    stage.act(
        4,
        "LoadBalancer",
        &[
            "Which node should the client ask? A load balancer answers with one address of its own, the",
            "VIP, and spreads connections over the nodes: here the router does. Its address stands in the",
            "Service's status. It is a NodePort and a ClusterIP as well.",
        ],
    );
    stage.change("4-load-balancer.yaml")?;
    let vip = stage.lab.external_ip(80).port(Family::V4, 3000);
    stage.expect(&format!("- ip: {}\n", vip.ip()))?;
    let answers = stage.lab.client().many(Protocol::Tcp, vip, 60, 2);
    let nodes = stage.lab.nodes().map(|node| {
        // A pod sees the address of the node that forwarded the connection.
        let through = answers.iter().filter(|answer| answer.source().is_some_and(|ip| node.owns(ip)));
        (node.name().to_owned(), through.count() as u32)
    });
    let client = Picture::boxed(&["client", "203.0.113.10"]);
    let vip = Picture::boxed(&["VIP 198.51.100.80:3000", "at the router"]);
    let picture =
        client.to("▶", vip).to("", tree(&nodes.each_ref().map(|(name, count)| (&**name, *count)), 60));
    stage.draw("60 requests from outside to the VIP: through which node", &picture);
    let shares = counts(&answers, &PYTHON);
    stage.draw("and to which pod", &Picture::boxed(&["node-a and node-b"]).to("", tree(&shares, 60)));
    let both = nodes.iter().all(|(_, count)| *count > 0);
    stage.claim("every request was served", total(&shares) == 60);
    stage.claim("through both nodes", both);
    stage.claim("by all three pods", is_spread(&shares));
    let target = stage.lab.node_a.outside().port(Family::V4, NODE_PORT);
    let answer = stage.lab.client().tcp(target);
    stage.claim("it is still a NodePort", answer.server().is_some());
    let answer = stage.lab.node_a.client().tcp(service_ip(stage)?);
    stage.claim("it is still a ClusterIP", answer.server().is_some());
    stage.draw_services()
}

/// A tree of counts, each with its bar; a count of `full` has the longest bar.
fn tree(shares: &[(&str, u32)], full: u32) -> Picture {
    let lines: Vec<_> =
        shares.iter().map(|(name, count)| format!("{name:<12}  {}", bar(*count, full))).collect();
    Picture::targets(&lines)
}

fn total(shares: &[(&str, u32)]) -> u32 {
    shares.iter().map(|(_, count)| count).sum()
}

/// Whether each of three pods has a share within seven standard deviations of a third, and not zero: a fair choice
/// misses that once in 10^10 times.
fn is_spread(shares: &[(&str, u32)]) -> bool {
    let third = f64::from(total(shares)) / 3.0;
    let deviation = (third * 2.0 / 3.0).sqrt();
    shares.iter().all(|(_, count)| *count > 0 && (f64::from(*count) - third).abs() < 7.0 * deviation)
}
