//! The list of Services, a page at a time, and the state of this node.

use std::collections::HashSet;

use maud::{Markup, html};
use portolan_rules::{
    explanation::Severity,
    model::{ObjectName, Service},
    picture::{self, Row, number},
    ruleset::Ruleset,
};

use super::layout;
use crate::observe::{query::Snapshot, server::shared::Shared};

/// Most Services on a page.
const PAGE: usize = 100;

/// The page with this number, counted from 1, of the Services that match this text.
pub fn page(shared: &Shared, snapshot: &Snapshot, search: &str, at: usize) -> Markup {
    let mut found: Vec<&Service> = snapshot
        .services
        .iter()
        .map(|service| &**service)
        .filter(|service| contains(service, search))
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let pages = found.len().div_ceil(PAGE).max(1);
    let at = at.clamp(1, pages);
    let shown: HashSet<&ObjectName> =
        found.iter().skip((at - 1) * PAGE).take(PAGE).map(|service| &service.name).collect();
    let compiled = snapshot.only(&shown).compile(&Ruleset::default());
    let view = compiled.view();
    let rows = view.services();
    let link = |page: usize| {
        let mut query = form_urlencoded::Serializer::new("/?".to_owned());
        if !search.is_empty() {
            query.append_pair("q", search);
        }
        query.append_pair("page", &page.to_string()).finish()
    };
    html! {
        (layout::status(shared))
        h1 { "Services" }
        p.dim {
            @if search.is_empty() { (number(found.len())) " in this cluster" }
            @else { (number(found.len())) " of " (number(snapshot.total)) " contain " code { (search) } ", " a href="/" { "show all" } }
        }
        @if !rows.is_empty() {
            table {
                thead { tr {
                    th { "Service" }
                    th.wide { "Frontend" }
                    th.number { "Endpoints" }
                    th { "State" }
                } }
                tbody {
                    @for explained in &rows {
                        "\n" (self::row(snapshot, &explained.service.name, &picture::row(&view, explained)))
                    }
                }
            }
        }
        @if pages > 1 {
            p.pages {
                @if at > 1 { a rel="prev" href=(link(at - 1)) { "← previous" } }
                span.dim { "page " (at) " of " (pages) }
                @if at < pages { a rel="next" href=(link(at + 1)) { "next →" } }
            }
        }
    }
}

/// Whether the name or an address of a Service contains the text, or the text is one of its node ports.
fn contains(service: &Service, search: &str) -> bool {
    if search.is_empty() || service.name.to_string().contains(search) {
        return true;
    }
    // Addresses consist of hexadecimal digits, dots and colons.
    let mut addresses =
        service.cluster_ips.iter().chain(&service.load_balancer_ips).chain(&service.external_ips);
    let is_number = search.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, '.' | ':'));
    is_number
        && (addresses.any(|address| address.to_string().contains(search))
            || service.ports.iter().any(|port| port.node_port.is_some_and(|port| port.to_string() == search)))
}

fn row(snapshot: &Snapshot, name: &ObjectName, row: &Row) -> Markup {
    let class = |problem: &picture::ShownFinding| picture::severity_class(problem.severity);
    html! {
        tr {
            td { a href=(path(name)) { (row.name) } }
            td.wide { (row.kind) " " code { (row.address) } }
            td.number { (number(row.counts.used())) " of " (number(row.counts.all())) }
            td {
                @if let Some((_, words)) = snapshot.quarantined.iter().find(|(refused, _)| refused == name) {
                    span.bad { "refused by the kernel: " (words) }
                } @else if snapshot.waiting.contains(name) {
                    span.warn { "waiting for the kernel" }
                } @else if let Some(problem) = row.problem.as_ref().filter(|it| it.severity > Severity::Info) {
                    span class=(class(problem)) title=(problem.hint) { (problem.sentence) }
                } @else {
                    span.good { "programmed" }
                    @if let Some(problem) = &row.problem { span.dim title=(problem.hint) { ", " (problem.sentence) } }
                }
            }
        }
    }
}

/// The path of the page of a Service.
pub fn path(name: &ObjectName) -> String {
    let encode =
        |part: &str| form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>().replace('+', "%20");
    format!("/services/{}/{}", encode(&name.namespace), encode(&name.name))
}
