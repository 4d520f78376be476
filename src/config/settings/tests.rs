use std::net::IpAddr;

use portolan_rules::{model::Node, plane::PodDetector, selection::node_port_addresses::NodePortAddresses};

use super::*;
use crate::config::{Options, options::*};

fn args(given: &[(&Row, &str)]) -> Options {
    let usual = [
        (&HOSTNAME_OVERRIDE, " Node-A "),
        (&POD_BRIDGE_INTERFACE, "br0"),
        (&POD_INTERFACE_NAME_PREFIX, "cali/"),
        (&SERVICE_CLUSTER_IP_RANGE, "10.96.0.1/12"),
    ];
    Options::of(&[&usual[..], given].concat())
}

#[test]
fn names_and_networks_are_normalised() {
    let settings = Settings::new(&args(&[(&CLUSTER_CIDR, "10.128.0.1/14, fd00::/56")])).unwrap();
    assert_eq!(&*settings.node_name, "node-a");
    let networks = ["10.128.0.0/14", "fd00::/56"].map(|network| network.parse().unwrap());
    assert_eq!(settings.detect_local, DetectLocal::ClusterCidr(networks.into()));
    assert_eq!(settings.service_cidrs, ["10.96.0.0/12".parse().unwrap()]);
}

#[test]
fn what_is_wrong_is_named() {
    let error = |list| Settings::new(&args(&[(&CLUSTER_CIDR, list)])).unwrap_err().to_string();
    assert_eq!(error("10.0.0.1"), r#"--cluster-cidr: "10.0.0.1" is not a network such as 10.128.0.0/14"#);
    assert_eq!(
        error("10.0.0.0/8,172.16.0.0/12"),
        r#"--cluster-cidr: at most one network of each family, not "10.0.0.0/8,172.16.0.0/12""#
    );
}

#[test]
fn leading_zeros_are_decimal_as_in_objects() {
    let args = args(&[(&NODEPORT_ADDRESSES, "192.000.002.0/24"), (&CLUSTER_CIDR, "010.0.0.0/8")]);
    let settings = Settings::new(&args).unwrap();
    assert_eq!(settings.detect_local, DetectLocal::ClusterCidr(vec!["10.0.0.0/8".parse().unwrap()]));
    let networks = NodePortAddresses::networks(vec!["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(settings.node_port_addresses, networks);
}

#[test]
fn pods_are_recognised_by_what_the_mode_names() {
    let node = Node { pod_cidrs: vec!["10.1.2.3/24".parse().unwrap()], ..Node::default() };
    let mode = |mode: &str| {
        let args = args(&[(&DETECT_LOCAL_MODE, mode)]);
        Settings::new(&args).map(|settings| settings.detect_local.detector(&node))
    };
    assert_eq!(mode("ClusterCIDR").unwrap(), Some(PodDetector::None));
    assert_eq!(mode("NodeCIDR").unwrap(), Some(PodDetector::Networks(vec!["10.1.2.0/24".parse().unwrap()])));
    assert_eq!(DetectLocal::NodeCidr.detector(&Node::default()), None, "unknown");
    let bridge = PodDetector::Interface { name: "br0".into(), prefix: false };
    assert_eq!(mode("BridgeInterface").unwrap(), Some(bridge));
    assert_eq!(
        mode("InterfaceNamePrefix").unwrap_err().to_string(),
        r#"--pod-interface-name-prefix: "cali/" is not the name of an interface: 1 to 15 characters, no blank, no slash"#
    );
    assert_eq!(
        mode("Cluster").unwrap_err().to_string(),
        r#"--detect-local-mode: "Cluster" is invalid, must be ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix"#
    );
}

#[test]
fn the_masquerade_bit_is_one_of_the_mark() {
    assert_eq!(Settings::new(&args(&[(&MASQUERADE_BIT, "31")])).unwrap().config.masquerade_bit, 31);
    for wrong in ["32", "-1"] {
        let problem = Options::default().parse(&MASQUERADE_BIT, wrong).unwrap_err();
        assert_eq!(problem, format!("{wrong} is not a whole number from 0 to 31"));
    }
}

#[test]
fn tables_have_names_that_nft_reads() {
    let table = |name: &str| Settings::new(&args(&[(&TABLE_NAME, name)]));
    assert_eq!(&*table("portolan-2").unwrap().config.table, "portolan-2");
    assert_eq!(&*Settings::new(&args(&[])).unwrap().config.table, "portolan");
    for name in ["", "2", "a b", "a\"", "kube-proxy", &"a".repeat(64)] {
        let error = table(name).unwrap_err().to_string();
        assert!(error.starts_with("--table-name: "), "{error}");
    }
}

#[test]
fn the_proxy_name_is_a_label_s_value() {
    let name = |name: &str| {
        let args = args(&[(&SERVICE_PROXY_NAME, name)]);
        Settings::new(&args).map(|settings| settings.proxy_name)
    };
    assert_eq!(name("").unwrap(), None);
    assert_eq!(name("edge.v2").unwrap().as_deref(), Some("edge.v2"));
    for wrong in ["-a", "a-", "a b", &"a".repeat(64)] {
        assert!(name(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_bind_address_stands_for_the_primary_one_of_its_family() {
    let addresses = |list: &[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
    let node = Node { addresses: addresses(&["192.0.2.1", "2001:db8::1"]), ..Node::default() };
    let selected = |bind: &str, networks: &str| {
        let settings =
            Settings::new(&args(&[(&BIND_ADDRESS, bind), (&NODEPORT_ADDRESSES, networks)])).unwrap();
        Vec::from_iter(settings.node_port_addresses.select(&node, &addresses(&["192.0.2.1", "198.51.100.1"])))
    };
    assert_eq!(selected("0.0.0.0", "primary"), addresses(&["192.0.2.1", "2001:db8::1"]));
    assert_eq!(selected("198.51.100.1", "primary"), addresses(&["198.51.100.1", "2001:db8::1"]));
    assert_eq!(selected("2001:db8::7", "primary"), addresses(&["192.0.2.1", "2001:db8::7"]));
    assert_eq!(selected("198.51.100.1", "192.0.2.0/24,::/0"), addresses(&["192.0.2.1"]));
}
