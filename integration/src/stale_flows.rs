//! Removes flows from connection tracking, as the agent does.

use portolan::kernel::conntrack::{Conntrack, Error};
use portolan_rules::{incremental::flows::Flows, ruleset::Family};

/// Removes the stale flows of both families; returns their number.
///
/// # Errors
/// The kernel could not be queried, or refused.
pub fn remove_stale(conntrack: &mut Conntrack, flows: &Flows) -> Result<usize, Error> {
    let mut removed = 0;
    for family in Family::ALL {
        conntrack.remove_stale(family, flows, &|_, _| true, &mut removed)?;
    }
    Ok(removed)
}
