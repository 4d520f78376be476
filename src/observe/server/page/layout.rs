//! The parts that all pages share.

use std::time::Duration;

use maud::{DOCTYPE, Markup, html};

use crate::observe::server::{shared::Shared, status::span};

/// The HTML document around a page.
pub fn document(node: &str, title: &str, page: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · " (node) " · Portolan" }
                link rel="stylesheet" href="/page.css";
                link rel="icon" href="/page.svg";
                script src="/page.js" defer {}
                noscript { meta http-equiv="refresh" content="30"; }
            }
            body {
                header {
                    nav {
                        a.home href="/" { "Portolan" }
                        span.dim { (node) }
                        a href="/trace" { "Trace" }
                        a href="/commits" { "Commits" }
                        a href="/statusz" { "Status" }
                        a href="/metrics" { "Metrics" }
                        form action="/" role="search" {
                            input type="search" name="q" placeholder="Service or address" aria-label="Search Services";
                        }
                    }
                }
                main { (page) }
            }
        }
    }
}

/// The state of this node: whether it is in sync, since when, and how old its data is.
pub fn status(shared: &Shared) -> Markup {
    let report = shared.health.report();
    let reasons = report.unready_reasons();
    let ago = |at: jiff::Timestamp| span(report.now.duration_since(at).unsigned_abs());
    let oldest = report.ages.iter().map(|(_, age)| *age).max_by_key(|age| age.unwrap_or(Duration::MAX));
    html! {
        section.status.bad[!reasons.is_empty()] {
            p.verdict {
                @match (report.synced, report.waiting) {
                    (None, _) => { "The kernel has not been programmed yet" }
                    (Some(_), Some(waiting)) => { "A change has been waiting for the kernel for " (span(waiting)) }
                    (Some(synced), None) => { "In sync" span.dim { ", last reconcile " (ago(synced)) " ago" } }
                }
            }
            @for reason in &reasons { p.warn { (reason) } }
            p.dim {
                "Version " (env!("CARGO_PKG_VERSION")) ", up " (span(shared.started.elapsed()))
                @if let Some(oldest) = oldest {
                    ", last news from the API server: "
                    @match oldest {
                        Some(age) => { (span(age)) " ago" }
                        None => { "never" }
                    }
                }
            }
        }
    }
}
