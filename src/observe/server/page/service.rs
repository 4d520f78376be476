//! A Service: its picture, what is wrong with it, and its endpoints.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use maud::{Markup, html};
use portolan_rules::{
    explanation::{ExplainedEndpoint, ExplainedPort, ExplainedService, View},
    model::ObjectName,
    picture::{self, count, number},
    ruleset::Ruleset,
};

use crate::{
    kernel::conntrack::{self, Bounds},
    observe::{
        counts::Totals,
        endpoint_counters::Counters,
        flows::{Frontends, Row},
        query::Snapshot,
        server::{shared::Shared, status::span},
    },
};

/// Most endpoints in the tables of all ports together.
const ENDPOINTS: usize = 500;

/// Most ports, counted once for each of their families, that have a table.
const PORTS: usize = 50;

/// Most connections that are read.
const FLOWS: usize = 1_000;
/// Most connections that are shown.
const SHOWN: usize = 100;
/// How long reading may take: the kernel walks its whole table.
const PATIENCE: Duration = Duration::from_millis(200);

/// The page; `None` if there is no Service of this name.
pub fn page(shared: &Shared, snapshot: &Snapshot, name: &ObjectName) -> Option<Markup> {
    let compiled = snapshot.compile(&Ruleset::default());
    let view = compiled.view();
    let explained = view.service(name)?;
    // From the last reading, at most ten seconds ago unless readings take long.
    let counted = shared.counters.as_ref().and_then(Counters::recent).map(Totals::from);
    let origin = format!("from the agent on node {}", shared.settings.node.node_name);
    let drawn = picture::picture(&view, std::slice::from_ref(&explained), &origin);
    let cluster_ip = explained.service.cluster_ips.first();
    let first = explained.service.ports.first();
    let target = cluster_ip.zip(first).map(|(address, port)| {
        let to = SocketAddr::new(*address, port.port).to_string();
        let mut query = form_urlencoded::Serializer::new("/trace?from=pod&".to_owned());
        query.append_pair("to", &to).append_pair("protocol", port.protocol.name()).finish()
    });
    let mut rest = ENDPOINTS;
    let tables = explained.ports.iter().take(PORTS).map(|port| {
        let shown = port.endpoints.len().min(rest);
        rest -= shown;
        endpoints(&view, &explained, port, shown, counted.as_ref())
    });
    let more = explained.ports.len().saturating_sub(PORTS);
    Some(html! {
        h1 { (name) }
        @if let Some((_, words)) = snapshot.quarantined.iter().find(|(refused, _)| refused == name) {
            p.bad { "Refused by the kernel, and not programmed: " (words) }
        } @else if snapshot.waiting.contains(name) {
            p.warn { "A change of this Service waits for the kernel." }
        } @else {
            p.good { "Programmed as shown." }
        }
        @if let Some(target) = target { p { a href=(target) { "Trace a connection to it" } } }
        div.picture { (picture::fragment(&drawn)) }
        @for table in tables { (table) }
        @if more > 0 { p.dim { "and " (count(more, "more port", "more ports")) } }
        @if let Some(refused) = counted.as_ref().map(|counted| counted.refused(name)).filter(|refused| *refused > 0) {
            p.warn { (number(refused as usize)) " attempts to connect were refused or dropped, as there was no endpoint." }
        }
        (connections(&view, &explained))
    })
}

/// The first connections of a Service in connection tracking.
fn connections(view: &View<'_>, explained: &ExplainedService) -> Markup {
    let frontends = Frontends::of(view, std::slice::from_ref(explained));
    let destinations = frontends.destinations();
    if destinations.is_empty() {
        return html! {};
    }
    let bounds = Bounds { most: FLOWS, until: Some(Instant::now() + PATIENCE) };
    let listed = match conntrack::list(&destinations, bounds) {
        Ok(listed) => listed,
        Err(error) => {
            return html! { h2 { "Connections" } p.dim { "Connections cannot be listed: " (error) } };
        }
    };
    let mut rows: Vec<Row> = listed.flows.iter().filter_map(|flow| frontends.row(flow)).collect();
    rows.sort();
    let more = rows.len().saturating_sub(SHOWN);
    html! {
        h2 { "Connections" }
        @if rows.is_empty() { p { "None." } } @else {
            table {
                thead { tr { th { "Client" } th { "Frontend" } th { "Endpoint" } th { "State" } th.number { "Age" } } }
                tbody {
                    @for row in rows.iter().take(SHOWN) {
                        "\n" tr {
                            td { code { (row.client) } }
                            td { code { (row.frontend) } "/" (row.protocol) }
                            td { code { (row.endpoint) } }
                            td {
                                (row.state)
                                @if let Some(stale) = row.stale { span.warn title="It takes no new connections." { " (" (stale) ")" } }
                            }
                            td.number { @if let Some(age) = row.age_seconds { (span(Duration::from_secs(age))) } @else { "–" } }
                        }
                    }
                }
            }
        }
        @if more > 0 { p.dim { "and " (number(more)) " more" } }
        @if listed.is_cut { p.dim { "Not all of them were read; " code { "portolan flows " (explained.service.name) } " lists them." } }
    }
}

fn endpoints(
    view: &View<'_>,
    explained: &ExplainedService,
    port: &ExplainedPort,
    shown: usize,
    counted: Option<&Totals>,
) -> Markup {
    let policies = view.shares(explained, port);
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
    let more = port.endpoints.len().saturating_sub(shown);
    html! {
        h2 { "Endpoints of port " (port) }
        @if port.endpoints.is_empty() { p { "None." } } @else {
            table {
                thead { tr {
                    th { "Endpoint" } th { "Node" } th { "Share, or why it is not used" }
                    @if counted.is_some() { th.number { "New connections" } }
                } }
                tbody {
                    @for endpoint in port.endpoints.iter().take(shown) {
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
