//! Names of the chains that always exist.

/// Finds the frontend's class and goes to its chain.
pub const SERVICES: &str = "services";
/// Finds the class of a node port and goes to its chain.
pub const NODE_PORTS: &str = "node-ports";
/// Refuses packets to a ClusterIP at a port that is no frontend.
pub const CLUSTER_IP: &str = "cluster-ip";
/// Refuses packets.
pub const NO_ENDPOINTS: &str = "no-endpoints";
/// Drops packets.
pub const NO_LOCAL_ENDPOINTS: &str = "no-local-endpoints";
/// Leads pods and this node past policy Local.
pub const SHORT_CIRCUIT: &str = "short-circuit";
/// The same for a node port.
pub const SHORT_CIRCUIT_NODE_PORT: &str = "short-circuit-node-port";
/// Rewrites the destination to the endpoint at the drawn slot of a frontend with an address.
pub const SEND: &str = "send";
/// The same for a node port.
pub const SEND_NODE_PORT: &str = "send-node-port";
/// Hook of packets that arrive.
pub const PREROUTING: &str = "prerouting";
/// Hook of packets that this node sends.
pub const OUTPUT: &str = "output";
/// Hook of packets that leave.
pub const POSTROUTING: &str = "postrouting";
