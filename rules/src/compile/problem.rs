//! Problems of Services, in words that name the field.

use std::net::IpAddr;

use crate::{
    frontends::{Claimed, FrontendKey, FrontendKind, Rank},
    model::{ObjectName, Service, ServicePort},
    ruleset::{COMMENT_MAX, Family},
    state::ServiceState,
};

/// Something about a Service that its author should know. The rest of the Service is programmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether something is not programmed as the Service asks.
    pub severity: Severity,
    /// The Service.
    pub service: ObjectName,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
}

/// How much a [`Problem`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something is not programmed as the Service asks.
    Error,
    /// Everything that can work is programmed as the Service asks, but there is something to know.
    Notice,
}

impl Problem {
    /// An error: something is not programmed as the Service asks.
    pub fn error(service: &Service, message: String) -> Self {
        Self { severity: Severity::Error, service: service.name.clone(), message }
    }

    /// A notice: there is something to know.
    pub fn notice(service: &Service, message: String) -> Self {
        Self { severity: Severity::Notice, service: service.name.clone(), message }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service {}: {}", self.service, self.message)
    }
}

/// Maximum number of problems that are reported for a Service.
const MOST: usize = 20;

/// Adds a problem of a Service, unless it is known already: both families of a port have the same problems.
pub fn note(problems: &mut Vec<Problem>, problem: Problem) {
    if problems.len() < MOST && !problems.contains(&problem) {
        problems.push(problem);
    }
}

/// The problem that a frontend is not served because another Service answers it.
pub fn contested(key: &FrontendKey, loser: &Rank, holder: &Rank) -> Problem {
    let (kind, other) = (key.kind(loser.service()), key.kind(holder.service()));
    let article = if other == FrontendKind::ExternalIp { "an" } else { "a" };
    let whose = if kind == other {
        "belongs to the older".into()
    } else {
        format!("is {article} {} of", other.noun())
    };
    let (field, holder) = (kind.field(), holder.name());
    let message = format!("{field}: {key} {whose} Service {holder}; not programmed for this one");
    Problem::error(loser.service(), message)
}

/// The problem that a frontend is not served because its address is another Service's ClusterIP, if that is so.
pub fn not_ours(
    service: &Service,
    state: &ServiceState,
    key: &FrontendKey,
    kind: FrontendKind,
) -> Option<Problem> {
    let FrontendKey::Address(address, ..) = key else { return None };
    let other = state.cluster_ip_of(*address)?;
    let field = kind.field();
    let message =
        format!("{field}: {address} is the ClusterIP of Service {other}; not programmed for this one");
    Some(Problem::error(service, message))
}

/// The problem that a port repeats a frontend of an earlier port, and is not served there. The API server refuses a
/// Service with two equal ports, but a manifest may contain one.
pub fn repeated(service: &Service, port: &ServicePort, key: &FrontendKey) -> Problem {
    let message = format!("port {:?} repeats {key} of an earlier port and is not served there", port.name);
    Problem::error(service, message)
}

/// The problem that addresses that no endpoint can have are left out: one message for all of them.
pub fn left_out(service: &Service, state: &ServiceState) -> Option<Problem> {
    let is_served =
        |address: &IpAddr| service.cluster_ips.iter().any(|ip| Family::of(*ip) == Family::of(*address));
    let mut left_out = state.left_out().filter(|(address, _)| is_served(address));
    let (address, owner) = left_out.next()?;
    let why = match owner {
        Some(owner) => format!("is the ClusterIP of Service {owner}"),
        None => "is in a ServiceCIDR".into(),
    };
    let more = match left_out.count() {
        0 => String::new(),
        more => format!(", with {more} more"),
    };
    let message =
        format!("endpoint {address} {why}, and no endpoint can have a Service's address; left out{more}");
    Some(Problem::notice(service, message))
}

/// The problem that more ports have session affinity than there are port numbers.
pub fn too_many_affinity_ports(service: &Service) -> Problem {
    Problem::error(service, "too many ports have session affinity; this one goes without".into())
}

/// The problem that the comment on a port's elements is too long for the kernel.
pub fn cut(service: &Service, port: &ServicePort) -> Problem {
    let message = format!(
        "port {:?}: namespace, name and port are too long for a kernel comment, which is cut at {COMMENT_MAX} bytes",
        port.name
    );
    Problem::notice(service, message)
}
