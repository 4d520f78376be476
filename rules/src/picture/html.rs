//! A picture as a self-contained HTML page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    model::{Panel, Picture, Port, Subject},
    svg::{STYLE, fragment},
    words::{number, severity_class},
};

/// The style sheet of the page around pictures.
pub const PAGE_STYLE: &str = include_str!("page.css");

/// A page with the picture, and the same data as a table that can be searched and copied.
pub fn html(picture: &Picture) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (picture.title()) " — Portolan" }
                style { "\n" (PreEscaped(PAGE_STYLE)) (PreEscaped(STYLE)) }
            }
            body { main { (content(picture)) } }
        }
    };
    format!("{}\n", page.into_string())
}

/// The picture and its table.
fn content(picture: &Picture) -> Markup {
    html! {
        div.picture { (fragment(picture)) }
        "\n"
        details {
            summary { "The same as a table" }
            @match &picture.subject {
                Subject::Services(panels) => { @for panel in panels { (table(panel)) } }
                Subject::Overview { rows, .. } => {
                    table {
                        thead { tr { th { "Service" } th { "Frontend" } th { "Used" } th { "Not used" } th { "Finding" } } }
                        tbody {
                            @for row in rows {
                                "\n" tr {
                                    td { (row.mark.sign()) (row.name) }
                                    td { (row.kind) " " code { (row.address) } }
                                    td.number {
                                        @if let Some(was) = row.was_used { (number(was)) " → " }
                                        (number(row.counts.used()))
                                    }
                                    td.number { (number(row.counts.unused)) }
                                    td { @if let Some(problem) = &row.problem {
                                        span class=(severity_class(problem.severity)) { (problem.sentence) }
                                    } }
                                }
                            }
                        }
                    }
                }
            }
        }
        "\n"
    }
}

fn table(panel: &Panel) -> Markup {
    html! {
        @for port in &panel.ports {
            "\n" h3 { (panel.mark.sign()) (panel.name) ", port " (port.title) }
            table {
                thead { tr { th { "Node" } th { "Pod" } th { "Endpoint" } th { "Share, or why it is not used" } } }
                tbody { (endpoints(port)) }
            }
        }
    }
}

fn endpoints(port: &Port) -> Markup {
    html! {
        @for node in &port.nodes {
            @for pod in &node.pods {
                "\n" tr {
                    td { (node.name.as_deref().unwrap_or("not known")) }
                    td { (pod.pod.as_deref().unwrap_or("")) }
                    td { (pod.mark.sign()) code { (pod.address) } }
                    td {
                        @for line in &pod.lines {
                            div.dim[line.left_out.is_some()] { (line.sentence()) }
                        }
                    }
                }
            }
            @if let Some(words) = &node.more.words {
                "\n" tr { td { (node.name.as_deref().unwrap_or("not known")) } td.dim colspan="3" { (words) } }
            }
        }
        @if let Some(words) = &port.more.words { "\n" tr { td.dim colspan="4" { (words) } } }
    }
}
