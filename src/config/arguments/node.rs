//! Facts of the node, which every command that compiles rules needs.

use clap::Args;

use super::boolean;

/// Facts of the node, with kube-proxy's names and meanings.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Node")]
pub struct NodeArgs {
    /// Name of this node.
    #[arg(long, value_name = "NAME", help = "Name of this node [default: $NODE_NAME, else the host's name]")]
    pub hostname_override: Option<String>,

    /// Networks of the pods in the cluster, one a family, separated by a comma; traffic to a ClusterIP
    /// from elsewhere is masqueraded
    #[arg(long, value_name = "CIDR,…")]
    pub cluster_cidr: Option<String>,

    /// Networks of this node's addresses that answer node ports, or `primary`: the first address of each
    /// family of the Node object, every address if there is none [default: primary]
    #[arg(long, value_name = "CIDR,…")]
    pub nodeport_addresses: Vec<String>,

    /// How connections of pods are told from others: ClusterCIDR, NodeCIDR (of the Node object),
    /// BridgeInterface or InterfaceNamePrefix [default: ClusterCIDR]
    #[arg(long, value_name = "MODE")]
    pub detect_local_mode: Option<String>,

    /// Bridge of this node's pods, for BridgeInterface
    #[arg(long, value_name = "NAME")]
    pub pod_bridge_interface: Option<String>,

    /// Beginning of the names of pods' interfaces, for InterfaceNamePrefix
    #[arg(long, value_name = "PREFIX")]
    pub pod_interface_name_prefix: Option<String>,

    /// Networks of ClusterIPs besides those of ServiceCIDR objects; an address in them that no Service has
    /// meets silence
    #[arg(long, value_name = "CIDR,…")]
    pub service_cluster_ip_range: Option<String>,

    /// Bit of the packet mark, 0 to 31, that asks for masquerading [default: 14]
    #[arg(long, alias = "iptables-masquerade-bit", value_name = "BIT", allow_negative_numbers = true)]
    pub masquerade_bit: Option<i32>,

    /// Masquerade all traffic to ClusterIPs
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub masquerade_all: Option<bool>,

    /// Count the new connections of each endpoint in the kernel; `run` shows them as metrics
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub endpoint_counters: Option<bool>,

    /// Serve the Services whose label service.kubernetes.io/service-proxy-name has this value, rather than
    /// those without that label
    #[arg(long, value_name = "NAME")]
    pub service_proxy_name: Option<String>,

    /// Name of the nftables tables; several agents on a node need one each [default: portolan]
    #[arg(long, value_name = "NAME")]
    pub table_name: Option<String>,
}
