//! Facts from a ruleset, such as what the kernel holds. Elements of frontends have the name of their Service as a comment.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::fact::{Aspect, Door, Fact, Services};
use crate::{
    frontends::FrontendKey,
    model::ObjectName,
    plane::{SetName, attribute, endpoint_from_value, is_at_endpoint_id, number_from_value},
    ruleset::{Concat, ElementData, Family, Ruleset, Set, Table},
};

/// The facts of the Services that a ruleset serves.
pub fn programmed(ruleset: &Ruleset) -> Services {
    let mut services = Services::new();
    for (family, table) in &ruleset.tables {
        let chains = chains(table);
        let endpoints = endpoints(*family, table);
        let affinity = with_affinity(*family, table);
        let sources = sources(*family, table);
        for (key, class, name) in frontends(*family, table) {
            let facts = services.entry(name).or_default();
            facts.insert(Aspect::Frontend { key, kind: None, port: None }, Fact::new(""));
            let chain = class.and_then(|class| chains.get(&class)).map_or("", |chain| chain);
            let mut set = |field, value: &str| {
                facts.insert(Aspect::Setting { of: Some(key), field }, Fact::new(value));
            };
            // Without endpoints, the chain is another one whatever the policy.
            if !chain.ends_with("no-endpoints") && chain != "no-local-endpoints" {
                set("traffic policy", if chain.contains("local") { "Local" } else { "Cluster" });
            }
            set("session affinity", if affinity.contains(&key) { "ClientIP" } else { "None" });
            let ranges =
                sources.get(&key).map_or_else(|| "every source".to_owned(), |ranges| ranges.join(", "));
            set("source ranges", &ranges);
            for at in endpoints.get(&key).into_iter().flatten() {
                facts.insert(Aspect::Endpoint { of: Door::Frontend(key), at: *at }, Fact::new(""));
            }
        }
    }
    services
}

/// The frontends, the number of their class, and their Services.
fn frontends(family: Family, table: &Table) -> Vec<(FrontendKey, Option<u32>, ObjectName)> {
    let mut all = Vec::new();
    for set in [SetName::Frontends, SetName::NodePorts].iter().filter_map(|set| table.sets.get(set.name())) {
        for (key, element) in set.elements.iter() {
            let Some(frontend) =
                key.values(&set.key).and_then(|values| FrontendKey::from_values(family, &values))
            else {
                continue;
            };
            // `NAMESPACE/NAME:PORT`
            let comment = element.comment.as_deref().unwrap_or("?/?");
            let comment = comment.split(':').next().unwrap_or_default();
            let (namespace, name) = comment.split_once('/').unwrap_or(("?", comment));
            let class = number_from_value(&element.data).map(|class| class.0);
            all.push((frontend, class, ObjectName::new(namespace, name)));
        }
    }
    all
}

/// The chains of classes.
fn chains(table: &Table) -> BTreeMap<u32, &str> {
    let Some(set) = table.sets.get(SetName::Classes.name()) else { return BTreeMap::new() };
    set.elements
        .iter()
        .filter_map(|(key, element)| {
            let class = number_from_value(&ElementData::Value(key.clone()))?;
            Some((class.0, &**element.target()?))
        })
        .collect()
}

/// The endpoints of each frontend, each once however many slots it has.
fn endpoints(family: Family, table: &Table) -> BTreeMap<FrontendKey, BTreeSet<SocketAddr>> {
    let mut all: BTreeMap<FrontendKey, BTreeSet<SocketAddr>> = BTreeMap::new();
    for set in
        [SetName::Endpoints, SetName::NodeEndpoints].iter().filter_map(|set| table.sets.get(set.name()))
    {
        let types = &set.key;
        for (key, element) in set.elements.iter().filter(|(key, _)| !is_at_endpoint_id(key)) {
            let ElementData::Value(value) = &element.data else { continue };
            let frontend = FrontendKey::from_slot(family, types, key);
            if let (Some((frontend, _)), Some(at)) = (frontend, endpoint_from_value(family, value)) {
                all.entry(frontend).or_default().insert(at);
            }
        }
    }
    all
}

/// The frontends with session affinity.
fn with_affinity(family: Family, table: &Table) -> BTreeSet<FrontendKey> {
    let sets = [SetName::Attributes, SetName::NodePortAttributes];
    let sets = sets.iter().filter_map(|set| table.sets.get(set.name()));
    let of_set = |set: &Set| {
        let keys = set.elements.iter().filter_map(|(key, _)| FrontendKey::from_slot(family, &set.key, key));
        keys.filter(|(_, number)| *number == attribute::PORT_NUMBER).map(|(key, _)| key).collect::<Vec<_>>()
    };
    sets.flat_map(of_set).collect()
}

/// The first and the last address of the source ranges of each frontend that has some.
fn sources(family: Family, table: &Table) -> BTreeMap<FrontendKey, Vec<String>> {
    let mut all: BTreeMap<FrontendKey, BTreeSet<String>> = BTreeMap::new();
    let sets = [SetName::AllowedSources, SetName::OtherAllowedSources];
    for set in sets.iter().filter_map(|set| table.sets.get(set.name())) {
        for (key, element) in set.elements.iter() {
            let last_of = |key: &Concat| {
                let values = key.values(&set.key)?;
                let (source, frontend) = values.split_last()?;
                Some((FrontendKey::from_values(family, frontend)?, source.address()?))
            };
            let Some((frontend, first)) = last_of(key) else { continue };
            let last = element.end.as_ref().and_then(|end| last_of(end)).map_or(first, |(_, last)| last);
            all.entry(frontend).or_default().insert(format!("{first} to {last}"));
        }
    }
    all.into_iter().map(|(key, ranges)| (key, ranges.into_iter().collect())).collect()
}
