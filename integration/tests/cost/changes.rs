//! The number of netlink messages of one change does not depend on the number of Services.

use std::sync::Arc;

use portolan::{
    agent::cold_start,
    kernel::nftables::{Commit, Kernel},
};
use portolan_integration::{
    Namespace, plan,
    synthetic::{Kinds, Synthetic, service_name, spare},
};
use portolan_rules::{compile::Compiler, model::EndpointSlice, plane::Config, state::State};

/// Makes one change after the other.
struct Changes {
    kernel: Kernel,
    compiler: Compiler,
    state: State,
    synthetic: Synthetic,
}

impl Changes {
    /// Starts in the namespace of the calling thread.
    fn new(services: u32) -> Self {
        let synthetic = Synthetic::new(services, Kinds::Plain);
        let mut state = synthetic.state();
        let mut compiler = Compiler::new(Config::default());
        let mut kernel = Kernel::open().unwrap();
        cold_start(&mut kernel, &mut compiler, &mut state).1.unwrap();
        Self { kernel, compiler, state, synthetic }
    }

    fn commit(&mut self) -> Commit {
        let update = self.compiler.update(&mut self.state);
        plan::commit(&mut self.kernel, &mut self.compiler, &update).unwrap()
    }

    /// Removes what the last changes retired.
    fn retire(&mut self) -> Commit {
        plan::retire(&mut self.kernel, &mut self.compiler).unwrap()
    }

    fn endpoints(&mut self, n: u32, change: impl Fn(&mut EndpointSlice)) -> Commit {
        let mut slice = self.synthetic.slices(n).remove(0);
        change(&mut slice);
        self.state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
        self.commit()
    }
}

/// Returns messages and bytes of a swapped, an added and a removed endpoint, of a created and a deleted Service, and of
/// retiring.
fn each_kind(services: u32) -> Vec<(&'static str, usize, usize)> {
    Namespace::new("cost").unwrap().enter(move || {
        let mut changes = Changes::new(services);
        let add = |slice: &mut EndpointSlice| slice.endpoints.push(spare(slice, 0));
        let remove = |slice: &mut EndpointSlice| drop(slice.endpoints.pop());
        // Other Services already have the endpoint counts that the changes need.
        changes.endpoints(0, add);
        changes.endpoints(1, remove);

        let mut figures = Vec::new();
        let mut note = |what, commit: Commit| figures.push((what, commit.messages, commit.bytes));
        note("swap", changes.endpoints(2, |slice| slice.endpoints[2] = spare(slice, 0)));
        note("add", changes.endpoints(3, add));
        note("remove", changes.endpoints(4, remove));
        note("removed", changes.retire());
        let new = changes.synthetic.len();
        changes.state.set_service(&service_name(new), Some(Arc::new(changes.synthetic.service(new))));
        note("create", changes.endpoints(new, |_| {}));
        changes.state.set_service(&service_name(new), None);
        changes.state.set_slice(&changes.synthetic.slices(new)[0].name, None);
        note("delete", changes.commit());
        note("deleted", changes.retire());
        figures
    })
}

#[test]
fn a_change_takes_as_many_messages_as_it_changes_maps_in_one_way() {
    let messages: Vec<_> = each_kind(1_000).into_iter().map(|(what, messages, _)| (what, messages)).collect();
    let now = [
        ("swap", 2),
        ("add", 3),
        ("remove", 2),
        ("removed", 1),
        ("create", 3),
        ("delete", 2),
        ("deleted", 1),
    ];
    assert_eq!(messages, now);
}

#[test]
fn a_change_is_as_long_among_a_thousand_services_as_among_ten() {
    // The comments contain the Services' names, which are a little longer.
    let (few, many) = (each_kind(10), each_kind(1_000));
    for ((what, few_messages, few_bytes), (_, messages, bytes)) in few.into_iter().zip(many) {
        assert_eq!(messages, few_messages, "{what}");
        assert!(bytes.abs_diff(few_bytes) <= 16, "{what}: {bytes} bytes, not {few_bytes}");
        assert!(bytes < 1_200, "{what}: {bytes} bytes");
    }
}
