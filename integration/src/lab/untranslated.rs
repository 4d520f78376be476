//! Packets that left a node, or were delivered on it, as they were sent to a Service.

use super::{Lab, LabError};

/// Packets from a node that the router sees must not have a Service's address as their destination.
const AT_THE_ROUTER: &str = "
    table inet untranslated {
        chain prerouting {
            type filter hook prerouting priority raw;
            iifname br-out ip daddr { 10.96.0.0/16, 198.51.100.0/24 } counter
            iifname br-out ip6 daddr { fd00:10:96::/112, 2001:db8:3::/64 } counter
        }
    }\n";
/// A node port of a Service must not be delivered to the node's own processes.
const AT_A_NODE: &str = "
    table inet untranslated {
        chain input {
            type filter hook input priority raw;
            meta nfproto ipv4 meta l4proto { tcp, udp } th dport 30000-32767 counter
            meta nfproto ipv6 meta l4proto { tcp, udp } th dport 30000-32767 counter
        }
    }\n";

impl Lab {
    /// Begins to count packets that a node leaves untranslated: to ClusterIPs and external addresses, at the
    /// router, and to the ports 30000 to 32767, at the node itself.
    pub fn count_untranslated(&self) -> Result<(), LabError> {
        self.router.filter("nft", &["-f", "-"], AT_THE_ROUTER)?;
        for node in self.nodes() {
            node.namespace().filter("nft", &["-f", "-"], AT_A_NODE)?;
        }
        Ok(())
    }

    /// How many packets were left untranslated since [`Lab::count_untranslated`].
    pub fn untranslated(&self) -> Result<u64, LabError> {
        let namespaces = [&self.router, self.node_a.namespace(), self.node_b.namespace()];
        let mut sum = 0;
        for namespace in namespaces {
            let text = namespace.filter("nft", &["list", "table", "inet", "untranslated"], "")?;
            // counter packets 3 bytes 84
            let words = text.split_whitespace();
            let numbers = words.clone().zip(words.skip(1)).filter(|(word, _)| *word == "packets");
            sum += numbers.filter_map(|(_, number)| number.parse::<u64>().ok()).sum::<u64>();
        }
        Ok(sum)
    }
}
