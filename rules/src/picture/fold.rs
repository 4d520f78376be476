//! Folds what does not fit into a picture into numbers.

use super::{
    model::{Counts, Mark, More, NodeBox, Panel, Picture, PodCard, Port, Row, Subject},
    words::{clean, number},
};
use crate::{explanation::trace::percent, simulate::Probability};

/// Maximum number of Services in an overview.
const ROWS: usize = 240;
/// Maximum number of ports of a Service.
const PORTS: usize = 6;
/// Maximum number of addresses of one kind of frontend.
const ADDRESSES: usize = 4;
/// Maximum number of nodes of a port.
const NODES: usize = 8;
/// Maximum number of endpoints of a port, unless its nodes need more to show [`LEAST_PODS`] each.
const PODS: usize = 24;
/// Endpoints of a node that are always drawn, however many nodes there are.
const LEAST_PODS: usize = 3;

/// Makes an overview of Services that shows the first ones.
pub(super) fn fold_rows(mut rows: Vec<Row>, origin: &str) -> Picture {
    let mut total = Counts::default();
    for row in rows.iter().filter(|row| row.mark != Mark::Gone) {
        total.here += row.counts.here;
        total.zone += row.counts.zone;
        total.elsewhere += row.counts.elsewhere;
        total.unused += row.counts.unused;
    }
    let more = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    Picture { origin: clean(origin), earlier: None, subject: Subject::Overview { rows, more, total } }
}

/// Reduces a Service to what a picture has room for.
pub(super) fn fold(mut panel: Panel) -> Panel {
    panel.more_ports = panel.ports.len().saturating_sub(PORTS);
    panel.ports.truncate(PORTS);
    panel.ports.iter_mut().for_each(port);
    panel
}

fn port(port: &mut Port) {
    for frontend in &mut port.frontends {
        // Differences come first.
        frontend.addresses.sort_by_key(|address| address.mark == Mark::Same);
        frontend.more = frontend.addresses.len().saturating_sub(ADDRESSES);
        frontend.addresses.truncate(ADDRESSES);
    }
    let with_endpoints = port.nodes.iter().filter(|node| !node.pods.is_empty()).count();
    let most = (PODS / with_endpoints.clamp(1, NODES)).max(LEAST_PODS);
    // This node comes first, then the nodes on which something differs.
    let differs = |node: &NodeBox| node.pods.iter().any(|pod| pod.mark != Mark::Same);
    if port.nodes.len() > NODES
        && let Some((_, others)) = port.nodes.split_first_mut()
    {
        others.sort_by_key(|node| !differs(node));
    }
    let hidden = port.nodes.split_off(port.nodes.len().min(NODES));
    port.more = more(&hidden.into_iter().flat_map(|node| node.pods).collect::<Vec<_>>());
    port.more.words = port.more.words.take().map(|words| words + ", on other nodes");
    port.nodes.iter_mut().for_each(|node| self::node(node, most));
}

fn node(node: &mut NodeBox, most: usize) {
    if node.pods.len() <= most {
        return;
    }
    // Endpoints that are alike are folded: one that is left out or differs is shown before one of many that serve.
    let (mut plain, mut odd): (Vec<_>, Vec<_>) =
        std::mem::take(&mut node.pods).into_iter().partition(is_plain);
    let odd_shown = odd.len().min(most / 2).max(most.saturating_sub(plain.len()));
    let mut hidden = plain.split_off(plain.len().min(most - odd_shown.min(most)));
    hidden.extend(odd.split_off(odd.len().min(odd_shown)));
    node.pods = plain;
    node.pods.extend(odd);
    node.more = more(&hidden);
}

fn is_plain(pod: &PodCard) -> bool {
    pod.mark == Mark::Same && pod.is_used() && !pod.terminates()
}

/// `and 1,940 more, 1,900 of them used: 97.0 %`.
fn more(hidden: &[PodCard]) -> More {
    if hidden.is_empty() {
        return More::default();
    }
    let is_used = |pod: &&PodCard| pod.mark != Mark::Gone && pod.is_used();
    let shares = hidden.iter().filter(is_used).filter_map(|pod| pod.lines.first()?.share.as_ref());
    let mut sum: Option<Probability> = None;
    for share in shares {
        *sum.get_or_insert_with(|| Probability::new(0, 1)) += share;
    }
    let count = |mark| hidden.iter().filter(|pod| pod.mark == mark).count();
    let marked = match (count(Mark::New), count(Mark::Gone)) {
        (0, 0) => String::new(),
        (new, gone) => format!(" ({new} new, {gone} gone)"),
    };
    let (endpoints, used) = (hidden.len(), hidden.iter().filter(is_used).count());
    let of_them = match used {
        0 => ", not used".to_owned(),
        used if used == endpoints => String::new(),
        used => format!(", {} of them used", number(used)),
    };
    let percent = sum.map(|sum| format!(": {}", percent(&sum))).unwrap_or_default();
    let words = format!("and {} more{marked}{of_them}{percent}", number(endpoints));
    More { endpoints, used, words: Some(words) }
}
