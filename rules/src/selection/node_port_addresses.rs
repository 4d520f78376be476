//! Which of the node's addresses answer node ports (`--nodeport-addresses`).

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnetwork::IpNetwork;

use crate::{model::Node, ruleset::Family};

/// The setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// `primary`: the node's primary address of each family, by the Node object. Without a Node
    /// object it is not known which address that is, and every address but loopback and link-local
    /// ones counts.
    #[default]
    Primary,
    /// The addresses inside these networks. A family of which no network is listed answers on every address, as for
    /// kube-proxy.
    Networks(Vec<IpNetwork>),
}

/// Why a setting is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodePortAddressesError {
    /// An entry is neither the word nor a network.
    #[error("{0:?} is neither a network such as 192.0.2.0/24 nor the word primary")]
    NotANetwork(String),
    /// The word stands beside networks.
    #[error("primary cannot be combined with networks")]
    Mixed,
}

impl FromStr for NodePortAddresses {
    type Err = NodePortAddressesError;

    /// Reads a comma-separated list, as kube-proxy's flag has it. An empty list means `primary`.
    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let entries: Vec<&str> = list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
        match entries.as_slice() {
            [] | ["primary"] => Ok(Self::Primary),
            entries if entries.contains(&"primary") => Err(NodePortAddressesError::Mixed),
            entries => {
                let network = |entry: &&str| {
                    let parsed = entry.contains('/').then(|| entry.parse().ok()).flatten();
                    parsed.ok_or_else(|| NodePortAddressesError::NotANetwork((*entry).to_owned()))
                };
                entries.iter().map(network).collect::<Result<_, _>>().map(Self::Networks)
            }
        }
    }
}

impl NodePortAddresses {
    /// Selects from the Node object's addresses and from those of the host's interfaces.
    pub fn select(&self, node: &Node, host: &[IpAddr]) -> BTreeSet<IpAddr> {
        let usable = |address: &&IpAddr| !address.is_loopback() && !address.is_unspecified();
        match self {
            Self::Networks(networks) => {
                let unlisted: Vec<Family> = self.unlisted().collect();
                let is_inside = |address: &&IpAddr| {
                    networks.iter().any(|network| network.contains(**address))
                        || unlisted.contains(&Family::of(**address))
                };
                host.iter().filter(usable).filter(is_inside).copied().collect()
            }
            Self::Primary if node.addresses.is_empty() => {
                host.iter().filter(usable).filter(|address| !is_link_local(address)).copied().collect()
            }
            Self::Primary => Family::ALL
                .iter()
                .filter_map(|family| {
                    node.addresses.iter().filter(usable).find(|a| Family::of(**a) == *family).copied()
                })
                .collect(),
        }
    }

    /// The families that answer on every address because only networks of another are listed, and of which the host has
    /// an address that others can reach.
    pub fn open_families(&self, host: &[IpAddr]) -> impl Iterator<Item = Family> {
        let is_reachable = |address: &IpAddr| !address.is_loopback() && !is_link_local(address);
        let reachable = host.iter().filter(|address| is_reachable(address));
        let of: BTreeSet<Family> = reachable.map(|address| Family::of(*address)).collect();
        self.unlisted().filter(move |family| of.contains(family))
    }

    /// The families of which no network is listed while one of another is.
    fn unlisted(&self) -> impl Iterator<Item = Family> {
        let networks = if let Self::Networks(networks) = self { &networks[..] } else { &[] };
        let is_listed = |family: &Family| networks.iter().any(|network| Family::of(network.ip()) == *family);
        Family::ALL.into_iter().filter(move |family| !networks.is_empty() && !is_listed(family))
    }

    /// Where health checks of Services are answered (`healthCheckNodePort`): on the same addresses, or if that is
    /// all of a family that the host has, on the unspecified address, which needs one socket only.
    pub fn health_check_addresses(&self, node: &Node, host: &[IpAddr]) -> BTreeSet<IpAddr> {
        let every = |family: &Family| match self {
            Self::Networks(networks) => {
                let mut all =
                    networks.iter().filter(|network| network.prefix() == 0).map(|all| Family::of(all.ip()));
                all.any(|of| of == *family) || self.unlisted().any(|of| of == *family)
            }
            Self::Primary => node.addresses.is_empty(),
        };
        let exists = |family: &Family| host.iter().any(|address| Family::of(*address) == *family);
        let every: Vec<Family> =
            Family::ALL.into_iter().filter(|family| every(family) && exists(family)).collect();
        let mut selected = self.select(node, host);
        selected.retain(|address| !every.contains(&Family::of(*address)));
        let unspecified = |family| match family {
            Family::Ip => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::Ip6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        selected.extend(every.into_iter().map(unspecified));
        selected
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn selected(setting: &str, node: &[&str], host: &[&str]) -> Vec<IpAddr> {
        let node = Node { addresses: addresses(node), ..Node::default() };
        setting.parse::<NodePortAddresses>().unwrap().select(&node, &addresses(host)).into_iter().collect()
    }

    const HOST: [&str; 6] = ["127.0.0.1", "192.0.2.1", "198.51.100.1", "::1", "fe80::1", "2001:db8::1"];

    #[test]
    fn primary_is_the_first_address_of_each_family_of_the_node_object() {
        let node = ["192.0.2.1", "198.51.100.1", "2001:db8::1"];
        assert_eq!(selected("primary", &node, &HOST), addresses(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(selected("", &node[..1], &HOST), addresses(&["192.0.2.1"]));
    }

    #[test]
    fn primary_without_a_node_object_is_every_address_that_others_can_reach() {
        assert_eq!(selected("primary", &[], &HOST), addresses(&["192.0.2.1", "198.51.100.1", "2001:db8::1"]));
    }

    #[test]
    fn networks_select_from_the_host_but_never_loopback() {
        assert_eq!(
            selected("192.0.2.0/24, ::/0", &[], &HOST),
            addresses(&["192.0.2.1", "2001:db8::1", "fe80::1"])
        );
    }

    #[test]
    fn a_family_without_a_network_answers_on_every_address() {
        assert_eq!(selected("192.0.2.0/24", &[], &HOST), addresses(&["192.0.2.1", "2001:db8::1", "fe80::1"]));
        assert_eq!(
            selected("2001:db8::/32", &["192.0.2.1"], &HOST),
            addresses(&["192.0.2.1", "198.51.100.1", "2001:db8::1"])
        );
        let open = |setting: &str, host: &[&str]| -> Vec<Family> {
            let setting: NodePortAddresses = setting.parse().unwrap();
            setting.open_families(&addresses(host)).collect()
        };
        assert_eq!(open("192.0.2.0/24", &HOST), [Family::Ip6]);
        assert_eq!(open("192.0.2.0/24", &["192.0.2.1", "::1", "fe80::1"]), []);
        assert_eq!(open("192.0.2.0/24,::/0", &HOST), []);
        assert_eq!(open("primary", &HOST), []);
    }

    #[test]
    fn health_checks_are_answered_on_the_same_addresses_with_one_socket_for_all() {
        let listen = |setting: &str, node: &[&str]| -> Vec<IpAddr> {
            let node = Node { addresses: addresses(node), ..Node::default() };
            let setting: NodePortAddresses = setting.parse().unwrap();
            setting.health_check_addresses(&node, &addresses(&HOST)).into_iter().collect()
        };
        assert_eq!(listen("primary", &["192.0.2.1"]), addresses(&["192.0.2.1"]));
        assert_eq!(listen("primary", &[]), addresses(&["0.0.0.0", "::"]));
        assert_eq!(listen("192.0.2.0/24,::/0", &[]), addresses(&["192.0.2.1", "::"]));
        assert_eq!(listen("203.0.113.0/24", &[]), addresses(&["::"]));
    }

    #[test]
    fn what_is_not_a_network_is_named() {
        let error = "192.0.2.0/24,lan".parse::<NodePortAddresses>().unwrap_err();
        assert_eq!(
            error.to_string(),
            r#""lan" is neither a network such as 192.0.2.0/24 nor the word primary"#
        );
        assert_eq!("primary,10.0.0.0/8".parse::<NodePortAddresses>(), Err(NodePortAddressesError::Mixed));
    }
}
