//! Rulesets for tests: one that answers for a few Services, one with everything that the model can express, and
//! arbitrary ones.

pub(crate) mod arbitrary;
mod every_kind;
mod services;
mod values;

pub(crate) use self::{
    every_kind::every_kind,
    services::services,
    values::{address, concat},
};
