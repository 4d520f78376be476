//! Names and messages that several commands use.

use portolan_rules::{explanation::View, model::ObjectName};

/// Parses the name of a Service: NAME in this namespace, or NAMESPACE/NAME.
pub fn object_name(name: &str, namespace: &str) -> ObjectName {
    let (namespace, name) = name.split_once('/').unwrap_or((namespace, name));
    ObjectName::new(namespace, name)
}

/// Returns the message that there is no such Service, with the nearest name if one is similar.
pub fn no_service(view: &View<'_>, name: &ObjectName) -> String {
    let distance = |other: &ObjectName| strsim::osa_distance(&name.to_string(), &other.to_string());
    let services = view.state.services().map(|(service, _)| &service.name);
    let nearest = services.map(|other| (distance(other), other)).min();
    let nearest = nearest.filter(|(distance, other)| *distance <= 2 || other.name == name.name);
    let hint = nearest.map(|(_, nearest)| format!("; did you mean {nearest}?")).unwrap_or_default();
    format!("there is no Service {name} in the input{hint}")
}
