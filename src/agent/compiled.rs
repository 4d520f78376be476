//! The state as compiled before the kernel's large sets are read.

use portolan_rules::{
    compile::{Compiler, Problem},
    plane::{SetName, has_leaders},
    restart::endpoint_id_keys,
    ruleset::{Elements, Family, Ruleset},
    state::State,
};

use crate::kernel::nftables::{Error, Tables};

/// A large set, and how many elements it has, if the kernel reports that.
pub(super) type Unread = (Family, SetName, Option<u32>);

/// A state compiled without knowing which endpoint stands at which slot in the kernel.
pub(super) struct Compiled {
    pub compiler: Compiler,
    /// What is wrong with the state.
    pub problems: Vec<Problem>,
}

impl Compiled {
    /// Compiles the state with the kernel's set sizes, and with the endpoint ids that an earlier run assigned for
    /// session affinity. The ids are read from the maps of endpoints that were left out.
    pub(super) fn new(
        kernel: &mut impl Tables,
        compiler: &Compiler,
        state: &mut State,
        present: &mut Ruleset,
        unread: &[Unread],
    ) -> Result<Self, Error> {
        let name = &compiler.config().table;
        let of_endpoints = || unread.iter().filter(|(_, set, _)| has_leaders(*set));
        for (family, endpoints, _) in of_endpoints() {
            let Some(table) = present.tables.get_mut(family) else { continue };
            let keys = endpoint_id_keys(table, *endpoints);
            if let Some(set) = table.sets.get_mut(endpoints.name())
                && !keys.is_empty()
            {
                set.elements = kernel.elements(name, *family, set, &keys)?;
            }
        }
        let mut compiler = compiler.clone();
        let problems = compiler.load(state, present);
        for (family, endpoints, _) in of_endpoints() {
            let table = present.tables.get_mut(family);
            if let Some(set) = table.and_then(|table| table.sets.get_mut(endpoints.name())) {
                set.elements = Elements::new();
            }
        }
        Ok(Self { compiler, problems })
    }
}
