//! `v1` `Service`.

mod addresses;
mod convert;
mod lacks;
mod object;
mod ports;
mod selection;
#[cfg(test)]
mod tests;

pub use self::{
    lacks::{Lacks, WantedFamilies},
    object::Service,
    selection::{Selection, TargetPort},
};
