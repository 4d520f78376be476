//! Which of the node's addresses answer node ports (`--nodeport-addresses`).

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnetwork::IpNetwork;

use crate::{model::Node, ruleset::Family};

/// The setting: which of the node's addresses answer node ports. All addresses that it names do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePortAddresses {
    /// `primary`: the node's primary address of each family, according to the Node object. Without a Node object, the
    /// primary address is not known, and every address except loopback and link-local ones counts.
    pub primary: bool,
    /// `all`: every address, and the loopback ones as with `localhost`.
    pub all: bool,
    /// `localhost`: 127.0.0.1 and `::1`, from the node itself.
    pub localhost: bool,
    /// The addresses inside these networks. If only networks of the other family are listed, a family answers on every
    /// address, as for kube-proxy, unless the setting contains a word as well.
    pub networks: Vec<IpNetwork>,
    /// Replaces the node's primary address of its family (`bindAddress`).
    pub bind_address: Option<IpAddr>,
}

impl Default for NodePortAddresses {
    fn default() -> Self {
        Self { primary: true, ..Self::networks(Vec::new()) }
    }
}

/// An entry of a setting that is neither a word nor a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a network such as 192.0.2.0/24 nor one of the words primary, localhost and all")]
pub struct NotANetwork(String);

impl FromStr for NodePortAddresses {
    type Err = NotANetwork;

    /// Reads a comma-separated list in the format of kube-proxy's flag. An empty list means `primary`.
    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let mut setting = Self::networks(Vec::new());
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match entry {
                "primary" => setting.primary = true,
                "localhost" => setting.localhost = true,
                "all" => setting.all = true,
                entry => {
                    let network = entry.contains('/').then(|| entry.parse().ok()).flatten();
                    setting.networks.push(network.ok_or_else(|| NotANetwork(entry.to_owned()))?);
                }
            }
        }
        if !setting.has_words() && setting.networks.is_empty() {
            setting.primary = true;
        }
        Ok(setting)
    }
}

impl NodePortAddresses {
    /// The addresses inside these networks.
    pub const fn networks(networks: Vec<IpNetwork>) -> Self {
        Self { primary: false, all: false, localhost: false, networks, bind_address: None }
    }

    const fn has_words(&self) -> bool {
        self.primary || self.all || self.localhost
    }

    /// Selects from the Node object's addresses and from those of the host's interfaces, but never loopback addresses.
    pub fn select(&self, node: &Node, host: &[IpAddr]) -> BTreeSet<IpAddr> {
        let unlisted: Vec<Family> = self.unlisted().collect();
        let is_selected = |address: &IpAddr| {
            self.all
                || self.networks.iter().any(|network| network.contains(*address))
                || unlisted.contains(&Family::of(*address))
        };
        let selected = host.iter().filter(|address| is_usable(address) && is_selected(address));
        let mut selected: BTreeSet<IpAddr> = selected.copied().collect();
        if self.primary {
            selected.extend(Family::ALL.into_iter().flat_map(|family| self.primary(family, node, host)));
        }
        selected
    }

    /// The primary address of a family, or the candidates for it.
    fn primary(&self, family: Family, node: &Node, host: &[IpAddr]) -> Vec<IpAddr> {
        let of_family = |address: &&IpAddr| Family::of(**address) == family;
        if let Some(address) = self.bind_address.as_ref().filter(of_family) {
            return vec![*address];
        }
        let usable = |address: &&IpAddr| is_usable(address) && of_family(address);
        if node.addresses.is_empty() {
            let host = host.iter().filter(usable);
            return host.filter(|address| !is_link_local(address)).copied().collect();
        }
        node.addresses.iter().find(usable).copied().into_iter().collect()
    }

    /// Whether node ports of a family answer on its loopback address: the setting contains a word for it, or a network
    /// of loopback addresses that includes it. A network of all addresses does not count.
    pub fn has_localhost(&self, family: Family) -> bool {
        let localhost = localhost(family);
        let mut networks = self.networks.iter().filter(|network| network.ip().is_loopback());
        self.localhost || self.all || networks.any(|network| network.contains(localhost))
    }

    /// The families that answer on every address because only networks of the other family are listed, and of which the
    /// host has an address that other hosts can reach.
    pub fn open_families(&self, host: &[IpAddr]) -> impl Iterator<Item = Family> {
        let is_reachable = |address: &IpAddr| !address.is_loopback() && !is_link_local(address);
        let reachable = host.iter().filter(|address| is_reachable(address));
        let of: BTreeSet<Family> = reachable.map(|address| Family::of(*address)).collect();
        self.unlisted().filter(move |family| of.contains(family))
    }

    /// The families of which no network is listed, if a network of the other family is listed, and no word.
    fn unlisted(&self) -> impl Iterator<Item = Family> {
        let networks = if self.has_words() { &[] } else { &self.networks[..] };
        let is_listed = |family: &Family| networks.iter().any(|network| Family::of(network.ip()) == *family);
        Family::ALL.into_iter().filter(move |family| !networks.is_empty() && !is_listed(family))
    }

    /// The addresses at which health checks of Services are answered (`healthCheckNodePort`): the same addresses, or,
    /// if these are all addresses of a family that the host has, the unspecified address, which needs only one socket.
    pub fn health_check_addresses(&self, node: &Node, host: &[IpAddr]) -> BTreeSet<IpAddr> {
        let every = |family: &Family| {
            let mut all = self.networks.iter().filter(|network| network.prefix() == 0);
            let is_unknown = || {
                let is_bound = self.bind_address.is_some_and(|address| Family::of(address) == *family);
                self.primary && node.addresses.is_empty() && !is_bound
            };
            self.all
                || all.any(|network| Family::of(network.ip()) == *family)
                || self.unlisted().any(|of| of == *family)
                || is_unknown()
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

/// The loopback address of a family that the name `localhost` stands for.
pub const fn localhost(family: Family) -> IpAddr {
    match family {
        Family::Ip => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::Ip6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

fn is_usable(address: &IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified()
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
    fn words_add_to_each_other_and_to_networks() {
        let node = ["192.0.2.1", "2001:db8::1"];
        assert_eq!(selected("localhost", &node, &HOST), addresses(&[]));
        assert_eq!(selected("primary,localhost", &node, &HOST), addresses(&node));
        assert_eq!(
            selected("primary,198.51.100.0/24", &node, &HOST),
            addresses(&["192.0.2.1", "198.51.100.1", "2001:db8::1"])
        );
        assert_eq!(selected("localhost,192.0.2.0/24", &node, &HOST), addresses(&["192.0.2.1"]));
        let every = addresses(&["192.0.2.1", "198.51.100.1", "2001:db8::1", "fe80::1"]);
        assert_eq!(selected("all", &node, &HOST), every);
        assert_eq!(selected("all,primary,10.0.0.0/8", &node, &HOST), every);
    }

    #[test]
    fn localhost_answers_where_it_is_asked_for() {
        for (setting, expected) in [
            ("", [false, false]),
            ("primary", [false, false]),
            ("0.0.0.0/0,::/0", [false, false]),
            ("primary,localhost", [true, true]),
            ("localhost", [true, true]),
            ("all", [true, true]),
            ("127.0.0.0/8", [true, false]),
            ("primary,127.0.0.1/32", [true, false]),
            ("192.0.2.0/24,::1/128", [false, true]),
            ("127.0.0.2/32", [false, false]),
        ] {
            let setting: NodePortAddresses = setting.parse().unwrap();
            assert_eq!(Family::ALL.map(|family| setting.has_localhost(family)), expected, "{setting:?}");
        }
    }

    #[test]
    fn what_is_not_a_network_is_named() {
        let error = "192.0.2.0/24,lan".parse::<NodePortAddresses>().unwrap_err();
        assert_eq!(
            error.to_string(),
            r#""lan" is neither a network such as 192.0.2.0/24 nor one of the words primary, localhost and all"#
        );
    }
}
