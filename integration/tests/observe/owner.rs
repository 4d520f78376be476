//! Another process owns the agent's tables, so that the kernel refuses every commit of the agent.

use std::{
    io::Write,
    process::{Child, Command, Stdio},
};

use portolan_integration::{Namespace, nft};

use crate::scene::wait_until;

/// An interactive `nft` with tables that only it may change (`flags owner`). The tables go on drop.
pub struct Owner(Child);

impl Owner {
    /// Replaces the agent's tables, if any, with tables of this owner.
    pub fn of_the_tables(namespace: &Namespace) -> Self {
        let mut command = Command::new("nft");
        command.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = namespace.enter(move || command.spawn()).unwrap();
        // One line is one transaction: the agent has no time to restore its own tables.
        let line: String = ["ip", "ip6"]
            .map(|family| {
                format!(
                    "add table {family} portolan; delete table {family} portolan; \
                     add table {family} portolan {{ flags owner; }}; "
                )
            })
            .concat();
        let input = child.stdin.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
        input.flush().unwrap();
        wait_until("the tables are owned", || {
            let tables = nft(namespace, &["list", "tables"], "").unwrap();
            let owned = nft(namespace, &["list", "ruleset"], "").unwrap_or_default();
            tables.matches("portolan").count() == 2 && owned.matches("flags owner").count() == 2
        });
        Self(child)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // The kernel removes the tables when the socket is closed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
