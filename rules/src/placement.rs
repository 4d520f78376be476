//! Which endpoint stands at which slot of a frontend, and which endpoint ids session affinity gives out.

mod adopt;
mod endpoint_ids;
pub(crate) mod maglev;
mod placed;
pub(crate) mod slots;

pub(crate) use self::{
    adopt::{AdoptedSlots, FrontendSlots, Slots},
    endpoint_ids::{PortNumbers, SessionAffinity},
    placed::Placed,
};
