//! The API server: where it is, whether it knows the node, and what it permits.

use super::outcome::{Check, or_ok};
use crate::{
    config::settings::RunSettings,
    source::cluster::{Cluster, Inspection, Options},
    text::first,
};

/// How many names of Nodes are shown.
const SHOWN: usize = 5;

pub fn check(settings: &RunSettings) -> Vec<Check> {
    let startup_taint = settings.api.startup_taint.as_deref().map(Into::into);
    match Cluster::new(&settings.api, Options { startup_taint, ..Options::from(&settings.node) }) {
        Ok(cluster) => describe(&cluster.inspect(), &settings.node.node_name),
        Err(error) => {
            let hint = "give --kubeconfig or --config with clientConnection.kubeconfig, as the agent has it";
            vec![Check::failed("api-server", error.to_string(), hint)]
        }
    }
}

fn describe(inspection: &Inspection, node: &str) -> Vec<Check> {
    let Inspection { url, service_addresses, is_node_denied, .. } = inspection;
    let mut checks = Vec::new();
    if !service_addresses.is_empty() {
        let addresses: Vec<String> = service_addresses.iter().map(ToString::to_string).collect();
        let message = format!(
            "{url} is behind a Service: {} is there only once a service proxy has programmed it",
            addresses.join(", ")
        );
        checks.push(Check::failed(
            "api-server",
            message,
            "use the address of a control-plane node or its load balancer",
        ));
    }
    let answers = || Check::ok("api-server", format!("{url} answers, and is outside of the Services"));
    match &inspection.node {
        Err(error) if !is_node_denied => {
            checks.push(Check::failed("api-server", format!("{url}: {error}"), ""));
            checks.push(Check::skipped("node", "the API server could not be asked"));
            checks.push(Check::skipped("rights", "the API server could not be asked"));
            return checks;
        }
        Err(error) => {
            checks.extend(service_addresses.is_empty().then(answers));
            checks.push(Check::skipped("node", error.clone()));
        }
        Ok(None) => {
            checks.extend(service_addresses.is_empty().then(answers));
            checks.push(Check::ok("node", format!("there is a Node {node}")));
        }
        Ok(Some(names)) => {
            let message = format!("there is no Node {node:?}; there are {}", first(names, SHOWN));
            checks.push(Check::failed(
                "node",
                message,
                "set --hostname-override, or $NODE_NAME from spec.nodeName",
            ));
        }
    }
    match &inspection.missing_rights {
        Err(error) => checks.push(Check::skipped("rights", error.clone())),
        Ok(missing) => checks.extend(rights(missing)),
    }
    checks
}

fn rights(missing: &[crate::source::cluster::Right]) -> Vec<Check> {
    let hint = "the ClusterRole of docker/kustomize/base/rbac.yaml grants all of them, and so does system:node-proxier; \
                patching nodes is for --remove-taint, and of docker/kustomize/components/startup-taint";
    let names = |is_needed: bool| -> Vec<String> {
        missing.iter().filter(|right| right.is_needed == is_needed).map(ToString::to_string).collect()
    };
    let (needed, optional) = (names(true), names(false));
    let mut checks = Vec::new();
    if !needed.is_empty() {
        checks.push(Check::failed("rights", format!("not granted: {}", needed.join(", ")), hint));
    }
    if !optional.is_empty() {
        let message = format!("not granted, but optional: {}", optional.join(", "));
        checks.push(Check::warning("rights", message, hint));
    }
    or_ok(checks, "rights", "all rights that the agent needs are granted")
}
