//! Facts from a ruleset, such as the one that the kernel holds. Elements of frontends have the name of their Service
//! as a comment.

use std::collections::BTreeSet;

use super::fact::{Aspect, Fact, Parent, Services};
use crate::{
    model::ObjectName,
    placement::{AdoptedSlots, FrontendSlots},
    plane::number_from_value,
    restart::leftovers::owner_in,
    ruleset::Ruleset,
};

/// The facts of the Services that a ruleset serves.
pub fn programmed(ruleset: &Ruleset) -> Services {
    let adopted = AdoptedSlots::of(ruleset);
    let none = FrontendSlots::default();
    let mut services = Services::new();
    for (family, table) in &ruleset.tables {
        let chains = table.class_chains();
        for (key, element) in table.frontends(*family) {
            let owner = owner_in(element.comment.as_deref().unwrap_or("?/?"));
            let (namespace, name) = owner.split_once('/').unwrap_or(("?", owner));
            let facts = services.entry(ObjectName::new(namespace, name)).or_default();
            facts.insert(Aspect::Frontend { key, kind: None, port: None }, Fact::new(""));
            let class = number_from_value(&element.data);
            let chain = class.and_then(|class| chains.get(&class.0)).map_or("", |chain| chain);
            let slots = adopted.get(&key).unwrap_or(&none);
            let mut set = |field, value: &str| {
                facts.insert(Aspect::Setting { of: Some(key), field }, Fact::new(value));
            };
            // Without endpoints, the chain does not show the policy.
            if !chain.ends_with("no-endpoints") && chain != "no-local-endpoints" {
                set("traffic policy", if chain.contains("local") { "Local" } else { "Cluster" });
            }
            set("session affinity", if slots.port.is_some() { "ClientIP" } else { "None" });
            let ranges = slots.sources.iter().flat_map(|(_, ranges)| ranges);
            let ranges: BTreeSet<String> = ranges.map(|(first, last)| format!("{first} to {last}")).collect();
            let ranges = if ranges.is_empty() { "every source" } else { &Vec::from_iter(ranges).join(", ") };
            set("source ranges", ranges);
            for at in slots.endpoints() {
                facts.insert(Aspect::Endpoint { of: Parent::Frontend(key), at }, Fact::new(""));
            }
        }
    }
    services
}
