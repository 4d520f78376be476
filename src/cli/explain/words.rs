//! Words and numbers that several commands have.

use std::process::ExitCode;

use portolan_rules::{explanation::View, frontends::FrontendKind, model::ObjectName};

/// The exit status for input that cannot be used, and other errors.
pub fn error() -> ExitCode {
    ExitCode::from(2)
}

/// That there is no such Service, and which name comes nearest.
pub fn no_service(view: &View<'_>, name: &ObjectName) -> String {
    let distance = |other: &ObjectName| strsim::osa_distance(&name.to_string(), &other.to_string());
    let services = view.state.services().map(|(service, _)| &service.name);
    let nearest = services.map(|other| (distance(other), other)).min();
    let nearest = nearest.filter(|(distance, other)| *distance <= 2 || other.name == name.name);
    let hint = nearest.map(|(_, nearest)| format!("; did you mean {nearest}?")).unwrap_or_default();
    format!("there is no Service {name} in the input{hint}")
}

/// What kind of frontend it is, in the API's words.
pub const fn kind(kind: FrontendKind) -> &'static str {
    match kind {
        FrontendKind::ClusterIp => "ClusterIP",
        FrontendKind::LoadBalancer => "LoadBalancer",
        FrontendKind::ExternalIp => "externalIP",
        FrontendKind::NodePort => "NodePort",
    }
}
