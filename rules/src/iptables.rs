//! The Services of an explanation as text for `iptables-restore` and `ip6tables-restore`.
//!
//! Lines of rules begin with `-4` or `-6`, and each of the two programs skips those of the other family, so that both
//! load the same text. Unlike in nftables, there are chains for each Service and endpoint:
//!
//! | Chain | What it does |
//! |---|---|
//! | `PTL-SERVICES` | addresses of frontends, then node ports on the node's addresses |
//! | `PTL-EXT-…` | a port of a Service, from outside: masquerades, or keeps to this node's endpoints (policy `Local`) |
//! | `PTL-FW-…` | source ranges of a load balancer |
//! | `PTL-SVC-…`, `PTL-SVL-…` | draws among all endpoints, or among those of this node |
//! | `PTL-SEP-…` | an endpoint |
//! | `PTL-MARK`, `PTL-POSTROUTING` | masquerading |
//! | `PTL-REFUSE`, `PTL-REFUSE-NP` | in `filter`: what is refused or dropped |
//!
//! Weights are shares of the draws. A Service with `source-hash` has a random draw, which a comment reports: no match
//! of iptables chooses among any number of endpoints by the source.

use std::{
    collections::BTreeSet,
    fmt::{Display, Write as _},
    hash::Hasher as _,
    net::IpAddr,
};

use ipnetwork::IpNetwork;
use siphasher::sip::SipHasher13;

use crate::{
    explanation::{ExplainedEndpoint, ExplainedFrontend, ExplainedPort, ExplainedService, View},
    frontends::{FrontendKey, FrontendKind},
    model::{LoadBalancing, Protocol, TrafficPolicy},
    plane::PodDetector,
    ruleset::Family,
};

/// Returns the Services as input for `iptables-restore -n` and `ip6tables-restore -n`, which do not flush the rules of
/// others.
///
/// `service_cidrs` are the networks that `ClusterIPs` are allocated from: packets to addresses there without a Service
/// are dropped.
pub fn iptables(view: &View<'_>, services: &[ExplainedService], service_cidrs: &[IpNetwork]) -> String {
    let config = view.compiler.config();
    let mut text = Text::default();
    let bit = 1_u32 << config.masquerade_bit;
    for chain in ["PTL-SERVICES", "PTL-NODE-PORTS", "PTL-MARK", "PTL-POSTROUTING"] {
        text.chains.insert(chain.to_owned());
    }
    text.nat(None, "PREROUTING", "-j PTL-SERVICES");
    text.nat(None, "OUTPUT", "-j PTL-SERVICES");
    text.nat(None, "POSTROUTING", "-j PTL-POSTROUTING");
    text.nat(None, "PTL-MARK", format_args!("-j MARK --or-mark {bit:#x}"));
    text.nat(None, "PTL-POSTROUTING", format_args!("-m mark ! --mark {bit:#x}/{bit:#x} -j RETURN"));
    text.nat(None, "PTL-POSTROUTING", format_args!("-j MARK --xor-mark {bit:#x}"));
    text.nat(None, "PTL-POSTROUTING", "-j MASQUERADE --random-fully");
    for service in services {
        if service.service.load_balancing == LoadBalancing::SourceHash {
            // Writing into a `String` does not fail.
            let _ = writeln!(
                text.notes,
                "# {}: source-hash (portolan.io/load-balancing) is a random draw here, so that clients change endpoints",
                service.service.name
            );
        }
        for port in service.ports.iter().filter(|port| config.families.contains(&port.family)) {
            Writer { view, service, port, text: &mut text }.write();
        }
    }
    for family in config.families.iter().copied() {
        for address in view.compiler.node_port_addresses(family) {
            text.nat(
                Some(family),
                "PTL-SERVICES",
                format_args!("-d {} -j PTL-NODE-PORTS", IpNetwork::from(address)),
            );
        }
        refuse_rest(view, services, service_cidrs, family, &mut text);
    }
    text.finish()
}

/// Writes what is refused or dropped whatever the port.
fn refuse_rest(
    view: &View<'_>,
    services: &[ExplainedService],
    service_cidrs: &[IpNetwork],
    family: Family,
    text: &mut Text,
) {
    let cluster_ips: BTreeSet<IpAddr> =
        services.iter().flat_map(|service| service.service.cluster_ips.iter().copied()).collect();
    for address in cluster_ips.into_iter().filter(|address| Family::of(*address) == family) {
        let to = IpNetwork::from(address);
        text.filter(family, "PTL-REFUSE", format_args!("-d {to} -p tcp -j REJECT --reject-with tcp-reset"));
        text.filter(family, "PTL-REFUSE", format_args!("-d {to} -j REJECT"));
    }
    for address in view.compiler.node_port_addresses(family) {
        text.filter(family, "PTL-REFUSE", format_args!("-d {} -j PTL-REFUSE-NP", IpNetwork::from(address)));
    }
    for network in service_cidrs.iter().filter(|network| Family::of(network.ip()) == family) {
        text.filter(family, "PTL-REFUSE", format_args!("-d {network} -j DROP"));
    }
}

/// Both tables while they are written.
#[derive(Default)]
struct Text {
    /// Comments at the head.
    notes: String,
    /// Chains of `nat`.
    chains: BTreeSet<String>,
    nat: String,
    filter: String,
}

impl Text {
    /// Appends a rule to `nat`, for both families or for one.
    fn nat(&mut self, family: Option<Family>, chain: &str, rule: impl Display) {
        // Writing into a `String` does not fail.
        let _ = writeln!(self.nat, "{}-A {chain} {rule}", family.map_or("", prefix));
    }

    /// Appends a rule to `filter`.
    fn filter(&mut self, family: Family, chain: &str, rule: impl Display) {
        // Writing into a `String` does not fail.
        let _ = writeln!(self.filter, "{}-A {chain} {rule}", prefix(family));
    }

    fn finish(self) -> String {
        let mut text = format!(
            "# Load it with `iptables-restore -n` and `ip6tables-restore -n`: each takes the lines of its family.\n\
             # Weights are shares of random draws. For session affinity, each endpoint remembers its own clients.\n\
             {}*nat\n",
            self.notes
        );
        for chain in &self.chains {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        text.push_str(&self.nat);
        text.push_str("COMMIT\n*filter\n:PTL-REFUSE - [0:0]\n:PTL-REFUSE-NP - [0:0]\n");
        for hook in ["INPUT", "FORWARD", "OUTPUT"] {
            let _ = writeln!(text, "-A {hook} -m conntrack --ctstate NEW -j PTL-REFUSE");
        }
        text.push_str(&self.filter);
        text.push_str("COMMIT\n");
        text
    }
}

/// The prefix of a line for one family.
const fn prefix(family: Family) -> &'static str {
    match family {
        Family::Ip => "-4 ",
        Family::Ip6 => "-6 ",
    }
}

/// Writes one port of a Service in one family.
struct Writer<'w> {
    view: &'w View<'w>,
    service: &'w ExplainedService,
    port: &'w ExplainedPort,
    text: &'w mut Text,
}

impl Writer<'_> {
    fn write(&mut self) {
        let served: Vec<&ExplainedFrontend> =
            self.port.frontends.iter().filter(|frontend| frontend.left_out.is_none()).collect();
        let has = |policy| self.port.endpoints.iter().any(|endpoint| endpoint.left_out(policy).is_none());
        let (has_any, has_local) = (has(TrafficPolicy::Cluster), has(TrafficPolicy::Local));
        if has_any {
            for policy in TrafficPolicy::ALL {
                self.write_draw(policy);
            }
            if served.iter().any(|frontend| frontend.kind != FrontendKind::ClusterIp) {
                self.write_external(has_local);
            }
        }
        for frontend in served {
            if has_any {
                self.write_entry(frontend);
            }
            self.write_refusal(frontend, has_any, has_local);
        }
    }

    /// The name of a chain for this port and family, of at most 28 characters.
    fn chain(&self, kind: &str, of: &str) -> String {
        let mut hasher = SipHasher13::new();
        let ExplainedPort { port, family, .. } = self.port;
        let name = &self.service.service.name;
        hasher.write(format!("{name}:{}/{} {family} {of}", port.port, port.protocol).as_bytes());
        format!("PTL-{kind}-{:016X}", hasher.finish())
    }

    fn nat(&mut self, chain: &str, rule: impl Display) {
        self.text.chains.insert(chain.to_owned());
        self.text.nat(Some(self.port.family), chain, rule);
    }

    fn comment(&self) -> String {
        let name = &self.port.port.name;
        let port = if name.is_empty() { String::new() } else { format!(":{name}") };
        format!("-m comment --comment \"{}{port}\"", self.service.service.name)
    }

    /// The chain that draws among the endpoints of a policy.
    fn draw(&self, policy: TrafficPolicy) -> String {
        match policy {
            TrafficPolicy::Cluster => self.chain("SVC", ""),
            TrafficPolicy::Local => self.chain("SVL", ""),
        }
    }

    fn write_draw(&mut self, policy: TrafficPolicy) {
        let port = self.port;
        let used: Vec<&ExplainedEndpoint> =
            port.endpoints.iter().filter(|endpoint| endpoint.left_out(policy).is_none()).collect();
        let chain = self.draw(policy);
        if let Some(seconds) = self.service.service.affinity_timeout {
            for endpoint in &used {
                let to = self.endpoint(endpoint);
                self.nat(
                    &chain,
                    format_args!("-m recent --name {to} --rcheck --seconds {seconds} --reap -j {to}"),
                );
            }
        }
        let mut rest: f64 = used.iter().map(|endpoint| f64::from(endpoint.weight)).sum();
        for (i, endpoint) in used.iter().enumerate() {
            let to = self.endpoint(endpoint);
            let weight = f64::from(endpoint.weight);
            let share = weight / rest;
            let draw = format!("-m statistic --mode random --probability {share:.11} ");
            let draw = if i + 1 == used.len() { "" } else { &draw };
            self.nat(&chain, format_args!("{draw}-j {to}"));
            rest -= weight;
        }
    }

    /// Returns the chain of an endpoint. Writes the chain on the first call.
    fn endpoint(&mut self, endpoint: &ExplainedEndpoint) -> String {
        let chain = self.chain("SEP", &endpoint.at.to_string());
        if self.text.chains.contains(&chain) {
            return chain;
        }
        let protocol = self.port.port.protocol;
        // A Pod that reaches itself is masqueraded, since it would answer itself directly otherwise.
        self.nat(&chain, format_args!("-s {} -j PTL-MARK", IpNetwork::from(endpoint.at.ip())));
        let remember = match self.service.service.affinity_timeout {
            Some(_) => format!("-m recent --name {chain} --set "),
            None => String::new(),
        };
        self.nat(&chain, format_args!("-p {protocol} {remember}-j DNAT --to-destination {}", endpoint.at));
        chain
    }

    /// The chain of connections from outside.
    fn write_external(&mut self, has_local: bool) {
        let chain = self.chain("EXT", "");
        let all = self.draw(TrafficPolicy::Cluster);
        let outside = |frontend: &&ExplainedFrontend| frontend.kind != FrontendKind::ClusterIp;
        let policy = self.port.frontends.iter().find(outside).map(|frontend| frontend.policy);
        if policy == Some(TrafficPolicy::Cluster) {
            self.nat(&chain, "-j PTL-MARK");
            self.nat(&chain, format_args!("-j {all}"));
            return;
        }
        if let Some(pods) = self.pods("") {
            self.nat(&chain, format_args!("{pods} -j {all}"));
        }
        self.nat(&chain, "-m addrtype --src-type LOCAL -j PTL-MARK");
        self.nat(&chain, format_args!("-m addrtype --src-type LOCAL -j {all}"));
        if has_local {
            let local = self.draw(TrafficPolicy::Local);
            self.nat(&chain, format_args!("-j {local}"));
        }
    }

    /// A match on connections of Pods, or of all others with `!`.
    fn pods(&self, not: &str) -> Option<String> {
        match &self.view.compiler.config().pods {
            PodDetector::None => None,
            PodDetector::Networks(networks) => {
                let network = networks.iter().find(|network| Family::of(network.ip()) == self.port.family)?;
                Some(format!("{not}-s {network}"))
            }
            PodDetector::Interface { name, prefix } => {
                Some(format!("{not}-i {name}{}", if *prefix { "+" } else { "" }))
            }
        }
    }

    /// Leads a frontend to its chain.
    fn write_entry(&mut self, frontend: &ExplainedFrontend) {
        let chain = match frontend.key {
            FrontendKey::Address(..) => "PTL-SERVICES",
            FrontendKey::NodePort(..) => "PTL-NODE-PORTS",
        };
        let (at, comment) = (self.to(&frontend.key), self.comment());
        match frontend.kind {
            FrontendKind::ClusterIp => {
                if self.view.compiler.config().masquerade_all {
                    self.nat(chain, format_args!("{at} {comment} -j PTL-MARK"));
                } else if let Some(others) = self.pods("! ") {
                    self.nat(chain, format_args!("{at} {others} {comment} -j PTL-MARK"));
                }
                let draw = self.draw(frontend.policy);
                if self.text.chains.contains(&draw) {
                    self.nat(chain, format_args!("{at} {comment} -j {draw}"));
                }
            }
            FrontendKind::LoadBalancer if self.is_restricted() => {
                let external = self.chain("EXT", "");
                let firewall = self.chain("FW", "");
                if self.text.chains.insert(firewall.clone()) {
                    for source in self.sources() {
                        self.nat(&firewall, format_args!("-s {source} -j {external}"));
                    }
                }
                self.nat(chain, format_args!("{at} {comment} -j {firewall}"));
            }
            FrontendKind::LoadBalancer | FrontendKind::ExternalIp | FrontendKind::NodePort => {
                let external = self.chain("EXT", "");
                self.nat(chain, format_args!("{at} {comment} -j {external}"));
            }
        }
    }

    /// Whether source ranges exclude any client of this family: there are ranges, and none admits every client.
    fn is_restricted(&self) -> bool {
        let ranges = self.service.service.source_ranges.iter();
        let mut ranges = ranges.filter(|range| Family::of(range.ip()) == self.port.family).peekable();
        ranges.peek().is_some() && ranges.all(|range| range.prefix() > 0)
    }

    /// The source ranges of this family. If the node is in one of them, the load balancer's addresses are sources as
    /// well: a connection from the node to such an address has this address as its source.
    fn sources(&self) -> Vec<String> {
        let (service, family) = (&self.service.service, self.port.family);
        let ranges = service.source_ranges.iter().filter(|range| Family::of(range.ip()) == family);
        let ranges: Vec<&IpNetwork> = ranges.collect();
        let mut sources: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        let is_within = |address: &IpAddr| ranges.iter().any(|range| range.contains(*address));
        if self.view.state.node().addresses.iter().any(is_within) {
            let own = service.load_balancer_ips.iter().filter(|address| Family::of(**address) == family);
            sources.extend(own.map(|address| IpNetwork::from(*address).to_string()));
        }
        sources
    }

    /// A match on connections to a frontend.
    fn to(&self, key: &FrontendKey) -> String {
        let protocol = self.port.port.protocol;
        let (address, port) = match *key {
            FrontendKey::Address(address, _, port) => (format!("-d {} ", IpNetwork::from(address)), port),
            FrontendKey::NodePort(_, _, port) => (String::new(), port),
        };
        format!("{address}-p {protocol} -m {protocol} --dport {port}")
    }

    /// Writes what becomes of connections that no rule of `nat` has led to an endpoint: they keep their destination.
    fn write_refusal(&mut self, frontend: &ExplainedFrontend, has_any: bool, has_local: bool) {
        let (protocol, comment, family) = (self.port.port.protocol, self.comment(), self.port.family);
        let chain = match frontend.key {
            FrontendKey::Address(..) => "PTL-REFUSE",
            FrontendKey::NodePort(..) => "PTL-REFUSE-NP",
        };
        let at = self.to(&frontend.key);
        let reset = if protocol == Protocol::Tcp { " --reject-with tcp-reset" } else { "" };
        let is_restricted = frontend.kind == FrontendKind::LoadBalancer && self.is_restricted();
        if !has_any && is_restricted {
            for source in self.sources() {
                let rule = format_args!("{at} -s {source} {comment} -j REJECT{reset}");
                self.text.filter(family, chain, rule);
            }
        } else if !has_any {
            self.text.filter(family, chain, format_args!("{at} {comment} -j REJECT{reset}"));
        }
        let is_without_local = frontend.policy == TrafficPolicy::Local && !has_local;
        if is_restricted || has_any && is_without_local {
            self.text.filter(family, chain, format_args!("{at} {comment} -j DROP"));
        }
    }
}
