//! The endpoints at the slots of a frontend, and the endpoint ids that session affinity assigns.
//!
//! `slots` assigns slots to endpoints for a random choice, `maglev` for a choice by the source address; `placed` keeps
//! them. `endpoint_ids` numbers endpoints for session affinity. `adopt` reads both from the rules of an earlier run.

mod adopt;
mod endpoint_ids;
pub(crate) mod maglev;
mod placed;
pub(crate) mod slots;

pub(crate) use self::{
    adopt::{AdoptedSlots, FrontendSlots, Slots},
    endpoint_ids::{PortNumbers, SessionAffinity},
    placed::{Placed, SlotChange},
};
