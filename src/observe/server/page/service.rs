//! A Service: its picture, what is wrong with it, and its endpoints.

use std::net::SocketAddr;

use maud::{Markup, html};
use portolan_rules::{
    explanation::{ExplainedEndpoint, ExplainedPort, ExplainedService, View},
    model::{ObjectName, TrafficPolicy},
    picture::{self, number},
};

use super::scene::Scene;
use crate::observe::{counts::Totals, endpoint_counters::Counters, query::Snapshot, server::shared::Shared};

/// Endpoints that the table of a port lists.
const ENDPOINTS: usize = 500;

/// The page; nothing if there is no Service of this name.
pub fn page(shared: &Shared, snapshot: &Snapshot, name: &ObjectName) -> Option<Markup> {
    let scene = Scene::new(snapshot);
    let view = scene.view();
    let explained = view.service(name)?;
    // As last read, within the last ten seconds unless that takes long.
    let counted = shared.counters.as_ref().and_then(Counters::recent).map(Totals::new);
    let origin = format!("from the agent on node {}", shared.settings.node_name);
    let drawn = picture::picture(&view, std::slice::from_ref(&explained), &origin);
    let cluster_ip = explained.service.cluster_ips.first();
    let first = explained.service.ports.first();
    let target = cluster_ip.zip(first).map(|(address, port)| {
        let to = SocketAddr::new(*address, port.port).to_string();
        let mut query = form_urlencoded::Serializer::new("/trace?from=pod&".to_owned());
        query.append_pair("to", &to).append_pair("protocol", port.protocol.name()).finish()
    });
    Some(html! {
        h1 { (name) }
        @if let Some((_, words)) = snapshot.quarantined.iter().find(|(refused, _)| refused == name) {
            p.bad { "Refused by the kernel, and not programmed: " (words) }
        } @else if snapshot.waiting.contains(name) {
            p.warn { "A change of it waits for the kernel." }
        } @else {
            p.good { "Programmed as shown." }
        }
        @if let Some(target) = target { p { a href=(target) { "Trace a connection to it" } } }
        div.picture { (picture::fragment(&drawn)) }
        @for port in &explained.ports { (endpoints(&view, &explained, port, counted.as_ref())) }
    })
}

fn endpoints(
    view: &View<'_>,
    explained: &ExplainedService,
    port: &ExplainedPort,
    counted: Option<&Totals>,
) -> Markup {
    let policies: Vec<(TrafficPolicy, _)> = [TrafficPolicy::Cluster, TrafficPolicy::Local]
        .into_iter()
        .filter(|policy| port.frontends.iter().any(|frontend| frontend.policy == *policy))
        .map(|policy| (policy, view.shares(explained, port, policy)))
        .collect();
    let several = policies.len() > 1;
    let verdict = |endpoint: &ExplainedEndpoint| {
        html! {
            @for (policy, shares) in &policies {
                @let name = if several { format!("{policy:?}: ") } else { String::new() };
                @match (endpoint.left_out(*policy), shares.get(&endpoint.at)) {
                    (Some(reason), _) => {
                        div.dim title=(format!("{}: {}", reason.field(), reason.hint())) { (name) "not used: " (reason) }
                    }
                    (None, Some(share)) => { div { (name) (share) " of new connections" } }
                    (None, None) => { div { (name) "used" } }
                }
            }
        }
    };
    let more = port.endpoints.len().saturating_sub(ENDPOINTS);
    html! {
        h2 {
            "Endpoints of port " @if !port.port.name.is_empty() { (port.port.name) " " }
            (port.port.port) "/" (port.port.protocol) " (" (port.family) ")"
        }
        @if port.endpoints.is_empty() { p { "None." } } @else {
            table {
                thead { tr {
                    th { "Endpoint" } th { "Node" } th { "Share, or why it is not used" }
                    @if counted.is_some() { th.number { "New connections" } }
                } }
                tbody {
                    @for endpoint in port.endpoints.iter().take(ENDPOINTS) {
                        "\n" tr {
                            td { code { (endpoint.at) } }
                            td { (endpoint.node.as_deref().unwrap_or("not known")) }
                            td { (verdict(endpoint)) }
                            @if let Some(counted) = counted {
                                td.number { (number(counted.of_endpoint(&explained.service.name, &port.port.name, endpoint.at) as usize)) }
                            }
                        }
                    }
                }
            }
            @if more > 0 { p.dim { "and " (more) " more" } }
        }
    }
}
