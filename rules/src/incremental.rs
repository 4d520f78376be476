//! What changed, and the transactions that it is committed in.

mod changed_slices;
pub mod flows;
mod ledger;
pub mod plan;

pub(crate) use self::{
    changed_slices::{Slices, changed_addresses},
    ledger::{Ledger, NetChanges},
};
