//! A Service.

use maud::{Markup, html};

use super::part::{MARGIN, Part, Pen, WIDTH, more_classes, nl};
use crate::picture::{
    model::{Frontend, Line, Mark, NodeBox, Panel, Place, PodCard, Port},
    words::{count, part, severity_class, shorten},
};

/// Where the frontends end, the nodes begin, and how wide these are.
const FRONTENDS_END: usize = 420;
const NODES_START: usize = 568;
const NODE_WIDTH: usize = WIDTH - MARGIN - NODES_START;
/// How far a frontend is inset from the one around it.
const INSET: usize = 12;
/// Height of a line of text.
const LINE: usize = 17;
/// Height of an endpoint, and the distance from one endpoint to the next.
const POD: usize = 40;
const POD_STEP: usize = 46;
/// Width of a letter of addresses, and of most others.
const MONO: usize = 8;
const LETTER: usize = 7;

/// A Service with its ports.
pub(super) fn panel(panel: &Panel) -> Part {
    let mut pen = Pen(18);
    let mut markup = vec![html! {
        (nl()) text.head x=(MARGIN) y=(pen.down(24)) { (panel.mark.sign()) "Service " (shorten(&panel.name, 80)) }
    }];
    for problem in &panel.problems {
        let class = severity_class(problem.severity);
        markup.push(html! {
            (nl()) text.(class) x=(MARGIN) y=(pen.down(LINE)) {
                title { (problem.hint) }
                (problem.severity.name()) ": " (shorten(&problem.sentence, 140))
            }
            (nl()) text.small.dim x=(MARGIN + 16) y=(pen.down(LINE + 3)) { (shorten(&problem.hint, 150)) }
        });
    }
    for note in &panel.notes {
        markup.push(html! { (nl()) text.dim x=(MARGIN) y=(pen.down(LINE)) { (shorten(note, 150)) } });
    }
    for port in &panel.ports {
        let (height, drawn) = self::port(port);
        markup
            .push(html! { (nl()) g transform={ "translate(0 " (pen.down(height)) ")" } { (drawn) (nl()) } });
    }
    if panel.more_ports > 0 {
        markup.push(html! {
            (nl()) text.dim x=(MARGIN) y=(pen.down(LINE) + 4) {
                "and " (count(panel.more_ports, "more port", "more ports"))
            }
        });
    }
    (pen.0 + 10, html! { @for part in &markup { (part) } })
}

/// An endpoint or a node to which a line may go.
struct Target<'a> {
    y: usize,
    node: &'a NodeBox,
    /// `None` for the point at which connections end that reach no endpoint.
    pod: Option<&'a PodCard>,
}

fn port(port: &Port) -> Part {
    let top = 26;
    // The nodes begin where the innermost frontend does, from which most lines go.
    let inner = port.frontends.iter().rev().skip(1).map(head).sum::<usize>();
    let mut y = top + inner;
    let mut targets = Vec::new();
    let mut nodes = Vec::new();
    for node in &port.nodes {
        let (height, drawn) = self::node(node, y, &mut targets);
        nodes.push(drawn);
        y += height + 12;
    }
    let idle = (port.idle_nodes > 0)
        .then(|| format!("and {} without endpoints", count(port.idle_nodes, "node", "nodes")));
    for words in port.more.words.clone().into_iter().chain(idle) {
        nodes.push(html! { (nl()) text.dim x=(NODES_START + 10) y=(y + 10) { (words) } });
        y += LINE;
    }
    let heads: usize = port.frontends.iter().map(head).sum();
    let bottom = (y - 12).max(top + heads + INSET * port.frontends.len() + 20);
    let frontends = port.frontends.iter().enumerate().scan(top, |y, (depth, frontend)| {
        let at = *y;
        *y += head(frontend);
        Some(self::frontend(frontend, depth, at, bottom - depth * INSET))
    });
    let markup = html! {
        (nl()) text.name x=(MARGIN) y="16" { "Port " (shorten(&port.title, 100)) }
        @for frontend in frontends { (frontend) }
        @for node in &nodes { (node) }
        @for target in &targets { (lines(port, target)) }
    };
    (bottom + 24, markup)
}

/// Height of the text at the top of a frontend.
fn head(frontend: &Frontend) -> usize {
    12 + LINE
        * (2 + frontend.addresses.len()
            + usize::from(frontend.more > 0)
            + usize::from(frontend.was.is_some()))
}

fn frontend(frontend: &Frontend, depth: usize, y: usize, bottom: usize) -> Markup {
    let x = MARGIN + depth * INSET;
    let width = FRONTENDS_END - x - depth * INSET;
    let bad = if frontend.is_open() { "" } else { " bad" };
    let left = x + 10;
    let letters = (width - 20) / MONO;
    let mut pen = Pen(y + LINE + 1);
    html! {
        (nl()) g {
            title { (frontend.kind) ", policy " (frontend.policy) ": " (frontend.answers) }
            rect class={ "frontend" (bad) } x=(x) y=(y) width=(width) height=(bottom - y) rx="8" {}
            (nl()) text.name x=(left) y=(pen.down(LINE)) { (frontend.kind) tspan.dim { "  policy " (frontend.policy) } }
            @for address in &frontend.addresses {
                @let sign = address.mark.sign();
                @if let Some(reason) = &address.left_out {
                    (nl()) text.mono.bad x=(left) y=(pen.down(LINE)) {
                        title { (address.text) ": " (reason) }
                        (shorten(&format!("✗ {sign}{} {reason}", address.text), letters))
                    }
                } @else {
                    (nl()) text class={ "mono" (more_classes(&[address.mark.class()])) } x=(left) y=(pen.down(LINE)) {
                        (sign) (shorten(&address.text, letters - sign.len()))
                    }
                }
            }
            @if frontend.more > 0 {
                (nl()) text.small.dim x=(left) y=(pen.down(LINE)) { "and " (count(frontend.more, "more", "more")) }
            }
            @if frontend.answer.is_none() {
                (nl()) text.small.bad x=(left) y=(pen.down(LINE)) { "not served by this node" }
            } @else {
                (nl()) text.small.dim x=(left) y=(pen.down(LINE)) { (shorten(&frontend.answers, (width - 20) / 6)) }
            }
            @if let Some(was) = &frontend.was {
                (nl()) text.small.changed x=(left) y=(pen.down(LINE)) {
                    title { "was " (was) }
                    (shorten(&format!("was {was}"), (width - 20) / 6))
                }
            }
        }
    }
}

fn node<'a>(node: &'a NodeBox, y: usize, targets: &mut Vec<Target<'a>>) -> Part {
    let addresses = &node.addresses;
    let class = node.place.class();
    let mut pen = Pen(y + 8 + LINE);
    let left = NODES_START + 12;
    let letters = (NODE_WIDTH - 24) / LETTER;
    let heading = html! { (nl()) text.name.(class) x=(left) y=(pen.down(LINE)) { (shorten(&node.heading(), letters)) } };
    let addresses = (!addresses.is_empty()).then(|| {
        html! {
            (nl()) text.small.dim x=(left) y=(pen.down(LINE)) {
                title { (addresses) }
                (shorten(addresses, letters + 4))
            }
        }
    });
    let is_empty = node.pods.is_empty() && node.more.words.is_none();
    if is_empty {
        pen.down(LINE);
    }
    if node.place == Place::Here {
        targets.push(Target { y: y + 8 + LINE - 4, node, pod: None });
    }
    let mut cards = Vec::new();
    let mut at = pen.0 - 8;
    for pod in &node.pods {
        targets.push(Target { y: at + POD / 2, node, pod: Some(pod) });
        cards.push(card(pod, left, at));
        at += POD_STEP;
    }
    let more = node.more.words.as_ref().map(|words| {
        at += LINE;
        html! { (nl()) text.dim x=(left) y=(at - 3) { (words) } }
    });
    let height = at + 6 - y;
    let markup = html! {
        (nl()) rect class={ "node " (class) } x=(NODES_START) y=(y) width=(NODE_WIDTH) height=(height) rx="8" {}
        (heading)
        @if let Some(addresses) = addresses { (addresses) }
        @if is_empty { (nl()) text.dim x=(left) y=(at - LINE + 12) { "no endpoint on this node" } }
        @for card in cards { (card) }
        @if let Some(more) = more { (more) }
    };
    (height, markup)
}

fn card(pod: &PodCard, x: usize, y: usize) -> Markup {
    let width = NODE_WIDTH - 24;
    let sign = pod.mark.sign();
    let look = more_classes(&[if pod.is_used() { "" } else { "unused" }, pod.mark.class()]);
    let dim = if pod.mark == Mark::Gone {
        " gone"
    } else if pod.is_used() {
        ""
    } else {
        " dim"
    };
    html! {
        (nl()) g {
            title { (pod.address) @for line in &pod.lines { "\n" (line.sentence()) } }
            rect class={ "pod" (look) } x=(x) y=(y) width=(width) height=(POD) rx="6" {}
            @if let Some(name) = &pod.pod {
                text class={ "name" (dim) } x=(x + 10) y=(y + 16) { (sign) (shorten(name, 26 - sign.len())) tspan.dim { (pod.weight) } }
                text class={ "mono" (dim) } x=(x + width - 10) y=(y + 16) text-anchor="end" {
                    (shorten(&pod.address, 48_usize.saturating_sub(name.chars().count().min(26))))
                }
            } @else {
                text class={ "mono" (dim) } x=(x + 10) y=(y + 16) { (sign) (pod.address) tspan.dim { (pod.weight) } }
            }
            @if let Some(why) = pod.why_unused() {
                text.small.dim x=(x + 10) y=(y + 32) { "not used: " (shorten(why, 52)) }
            } @else {
                text.small.dim x=(x + 10) y=(y + 32) { (shorten(&summary(pod), 62)) }
            }
        }
    }
}

/// What the policies do with an endpoint that is used.
fn summary(pod: &PodCard) -> String {
    let several = pod.lines.len() > 1;
    let share = |line: &Line| {
        let policy = if several { format!("{} ", line.policy) } else { String::new() };
        line.share.as_ref().map(|share| format!("{policy}{}", part(share)))
    };
    let shares: Vec<String> = pod.lines.iter().filter_map(share).collect();
    let ending = if pod.terminates() { "terminating, no other is ready: " } else { "" };
    match shares.as_slice() {
        _ if pod.mark == Mark::Gone => "gone".to_owned(),
        [] => format!("{ending}used"),
        shares => format!("{ending}{} of new connections", shares.join(", ")),
    }
}

/// The lines to an endpoint, one for each policy that leads to it; or the line that ends at this node.
fn lines(port: &Port, target: &Target<'_>) -> Markup {
    let Some(pod) = target.pod else { return broken(port, target) };
    let used: Vec<_> = pod.used().collect();
    let class = if pod.mark == Mark::Gone { "bad" } else { target.node.place.class() };
    html! {
        @for (number, line) in used.iter().enumerate() {
            @let y = if used.len() == 1 { target.y } else { target.y - 8 + 20 * number };
            @let ends = if line.terminates || pod.mark == Mark::Gone { " ends" } else { "" };
            @let label = if pod.lines.len() > 1 { format!("{} {}", line.policy, line.both()) } else { line.both() };
            (arrow(start(port, line.policy), y, NODES_START + 10, &format!("{class}{ends}"), class, &label, &line.sentence()))
        }
    }
}

/// Where the lines of a policy begin: at the edge of the innermost frontend with this policy.
fn start(port: &Port, policy: &str) -> usize {
    let depth = port.frontend_of(policy);
    FRONTENDS_END - depth * INSET
}

/// The line that ends at this node, for frontends that lead to no endpoint.
fn broken(port: &Port, target: &Target<'_>) -> Markup {
    let Some((depth, frontend, word)) = port.broken() else { return html! {} };
    let from = FRONTENDS_END - depth * INSET;
    let sentence = format!("{}: {}", frontend.kind, frontend.answers);
    arrow(from, target.y, NODES_START, "bad", "bad", &format!("✗ {word}"), &sentence)
}

fn arrow(from: usize, y: usize, to: usize, line: &str, class: &str, label: &str, sentence: &str) -> Markup {
    let middle = usize::midpoint(FRONTENDS_END, NODES_START);
    html! {
        (nl()) g {
            title { (sentence) }
            path class={ "line " (line) } d={ "M" (from) " " (y) "H" (to - 6) } {}
            path class={ "tip " (class) } d={ "M" (to) " " (y) "l-9 -4v8z" } {}
            text class={ "small " (class) } x=(middle) y=(y - 4) text-anchor="middle" { (label) }
        }
    }
}
