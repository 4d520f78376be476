//! The rulesets that are compared.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use portolan::kernel::nftables::{Kernel, Tables};
use portolan_integration::{
    kube_proxy::{Extent, Shape, Table},
    plan,
    synthetic::{Kinds, Synthetic},
};
use portolan_rules::{
    compile::Compiler,
    plane::{Config, PodDetector},
    ruleset::Ruleset,
};

use super::{
    Result,
    arena::{self, Arena},
    part,
};

/// The rulesets that are compared by default.
pub const DEFAULT: &str =
    "none,conntrack,floor,kube-proxy-b-1000,portolan-10,portolan-1000,portolan-10000,portolan-100000";

/// A ruleset on the node.
#[derive(Debug, Clone)]
pub enum Variant {
    /// No rules: plain forwarding.
    None,
    /// Connection tracking, because a rule asks for it, and no translation.
    Conntrack,
    /// One handwritten rule for the single Service.
    Floor,
    /// This many Services, programmed as kube-proxy does.
    KubeProxy(Shape, Extent, u32),
    /// This many Services, programmed by Portolan.
    Portolan(u32),
    /// Our rules for one Service with a part left out or changed.
    Part(&'static str),
    /// A name, and a file for `nft -f`.
    File(String, PathBuf),
}

impl FromStr for Variant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let services = |text: &str| match text.parse() {
            Ok(services) if (1..=1_000_000).contains(&services) => Ok(services),
            _ => Err(format!("{text} is not a number of Services")),
        };
        if let Some((name, path)) = text.split_once('=') {
            return Ok(Self::File(name.into(), path.into()));
        }
        if let Some(number) = text.strip_prefix("portolan-") {
            return Ok(Self::Portolan(services(number)?));
        }
        if let Some(name) = text.strip_prefix("part-") {
            let known = part::names().find(|known| *known == name);
            return known.map(Self::Part).ok_or_else(|| format!("{name} is not a part"));
        }
        for (prefix, shape) in [("kube-proxy-a-", Shape::A), ("kube-proxy-b-", Shape::B)] {
            let Some(rest) = text.strip_prefix(prefix) else { continue };
            return match rest.strip_suffix("-bare") {
                Some(number) => Ok(Self::KubeProxy(shape, Extent::Bare, services(number)?)),
                None => Ok(Self::KubeProxy(shape, Extent::Full, services(rest)?)),
            };
        }
        match text {
            "none" => Ok(Self::None),
            "conntrack" => Ok(Self::Conntrack),
            "floor" => Ok(Self::Floor),
            _ => Err("no such ruleset".into()),
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Conntrack => f.write_str("conntrack"),
            Self::Floor => f.write_str("floor"),
            Self::KubeProxy(shape, extent, services) => {
                let bare = if *extent == Extent::Bare { "-bare" } else { "" };
                write!(f, "kube-proxy-{}-{services}{bare}", shape.to_string().to_lowercase())
            }
            Self::Portolan(services) => write!(f, "portolan-{services}"),
            Self::Part(name) => write!(f, "part-{name}"),
            Self::File(name, _) => f.write_str(name),
        }
    }
}

impl Variant {
    /// The parts of our rules, and the rulesets that they are compared with.
    pub fn parts() -> Vec<Self> {
        let compared =
            [Self::None, Self::Floor, Self::KubeProxy(Shape::B, Extent::Full, 1_000), Self::Portolan(10)];
        compared.into_iter().chain(part::names().map(Self::Part)).collect()
    }

    /// The target of connections: the Service, or an endpoint if nothing translates.
    pub fn target(&self) -> SocketAddr {
        match self {
            Self::None | Self::Conntrack => first_endpoint(),
            _ => arena::service(),
        }
    }

    /// Whether connections go to all endpoints of the Service. A file may lead to only one of them.
    pub const fn balances(&self) -> bool {
        matches!(self, Self::KubeProxy(..) | Self::Portolan(_))
    }

    /// Loads the ruleset on the node.
    pub fn load(&self, arena: &Arena) -> Result<()> {
        let population = |services| Synthetic::new(services, Kinds::Plain).with_probe(arena::probe());
        match self {
            Self::None => Ok(()),
            // A chain without a hook: the rule is never reached, but enables connection tracking.
            Self::Conntrack => {
                arena.load("table ip conntrack {\n chain unused {\n  ct state new accept\n }\n}\n")
            }
            Self::Floor => arena.load(&format!(
                "table ip floor {{\n chain prerouting {{\n  type nat hook prerouting priority dstnat\n  \
                 ip daddr {} tcp dport {} dnat to {}\n }}\n}}\n",
                arena::service().ip(),
                arena::service().port(),
                first_endpoint()
            )),
            Self::KubeProxy(shape, extent, services) => {
                let table = Table { shape: *shape, extent: *extent, pods: arena::PODS, node: arena::NODE };
                arena.load(&table.load(&population(*services)))
            }
            Self::Portolan(services) => {
                let population = population(*services);
                arena.on_node(move || portolan(&population).map_err(|error| error.to_string()))?;
                Ok(())
            }
            Self::Part(name) => arena.load(&part::rules(name)),
            Self::File(_, path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
                arena.load(&text)
            }
        }
    }
}

/// The same pod networks as kube-proxy's `clusterCIDR`, so that both recognise pods in the same way.
fn config() -> Result<Config> {
    let pods = ipnetwork::IpNetwork::new(arena::PODS.0.into(), arena::PODS.1)?;
    Ok(Config { pods: PodDetector::Networks(vec![pods]), ..Config::default() })
}

fn portolan(population: &Synthetic) -> Result<()> {
    let mut compiler = Compiler::new(config()?);
    compiler.load(&mut population.state(), &Ruleset::default());
    Kernel::open()?.commit(&plan::creation(&compiler))?;
    Ok(())
}

fn first_endpoint() -> SocketAddr {
    ([10, 202, 0, 2], 8080).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ruleset_is_shown_as_it_is_asked_for() {
        for name in
            DEFAULT.split(',').chain(["none", "kube-proxy-a-10", "kube-proxy-b-7-bare", "portolan-1000000"])
        {
            assert_eq!(name.parse::<Variant>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn what_is_no_ruleset_is_refused() {
        for text in ["", "portolan", "portolan-", "portolan-0", "kube-proxy-c-1", "kube-proxy-b-1-naked"] {
            assert!(text.parse::<Variant>().is_err(), "{text}");
        }
    }
}
