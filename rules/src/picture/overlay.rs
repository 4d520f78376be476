//! Two states in one picture: differences are marked, and the shares of both states are shown.

use std::collections::BTreeMap;

use super::{
    fold::{fold, fold_rows},
    make::{OUTSIDE_IN, PANELS, panel, row},
    model::{Address, Frontend, Line, Mark, NodeBox, Panel, Picture, PodCard, Port, Row, Subject},
    words::{clean, count},
};
use crate::{comparison::Difference, explanation::View};

/// Maximum number of changes of a Service that are described in words.
const SENTENCES: usize = 6;

/// One of two states.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// The state.
    pub view: View<'a>,
    /// The input that the state comes from.
    pub origin: &'a str,
}

/// Makes a picture of the Services that differ between two states: each Service as a whole if they are few.
pub fn overlay(before: State<'_>, after: State<'_>, differences: &[Difference]) -> Picture {
    let earlier = Some(clean(before.origin));
    if differences.len() > PANELS {
        let rows = differences.iter().filter_map(|difference| {
            let name = &difference.service;
            let old = before.view.service(name).map(|service| row(&before.view, &service));
            let new = after.view.service(name).map(|service| row(&after.view, &service));
            self::rows(old, new)
        });
        return Picture { earlier, ..fold_rows(rows.collect(), after.origin) };
    }
    let panels = differences.iter().filter_map(|difference| {
        let name = &difference.service;
        let old = before.view.service(name).map(|service| panel(&before.view, &service));
        let new = after.view.service(name).map(|service| panel(&after.view, &service));
        let mut panel = panels(old, new)?;
        let sentences = difference.sentences();
        panel.notes.extend(sentences.iter().take(SENTENCES).map(|sentence| clean(sentence)));
        let more = sentences.len().saturating_sub(SENTENCES);
        panel.notes.extend((more > 0).then(|| format!("and {}", count(more, "more change", "more changes"))));
        Some(fold(panel))
    });
    Picture { origin: clean(after.origin), earlier, subject: Subject::Services(panels.collect()) }
}

fn rows(before: Option<Row>, after: Option<Row>) -> Option<Row> {
    match (before, after) {
        (None, None) => None,
        (None, Some(new)) => Some(Row { mark: Mark::New, ..new }),
        (Some(old), None) => Some(Row { mark: Mark::Gone, ..old }),
        (Some(old), Some(new)) => {
            let was = old.counts.used();
            let was_used = (was != new.counts.used()).then_some(was);
            Some(Row { mark: Mark::Changed, was_used, ..new })
        }
    }
}

fn panels(before: Option<Panel>, after: Option<Panel>) -> Option<Panel> {
    let (mark, old, new) = match (before, after) {
        (None, None) => return None,
        (None, Some(new)) => (Mark::New, Vec::new(), new),
        (Some(mut old), None) => (Mark::Gone, std::mem::take(&mut old.ports), old),
        (Some(old), Some(new)) => (Mark::Changed, old.ports, new),
    };
    let ports = merge(old, new.ports, |port| port.title.clone(), ports);
    Some(Panel { mark, ports, ..new })
}

/// Merges two lists in the order of the later one. Items that are gone come last.
fn merge<T, K: Ord>(
    before: Vec<T>,
    after: Vec<T>,
    key: impl Fn(&T) -> K,
    both: impl Fn(Option<T>, Option<T>) -> Option<T>,
) -> Vec<T> {
    let mut old: Vec<Option<T>> = before.into_iter().map(Some).collect();
    let mut places: BTreeMap<K, usize> = BTreeMap::new();
    for (place, item) in old.iter().enumerate() {
        places.extend(item.as_ref().map(|item| (key(item), place)));
    }
    let mut merged: Vec<T> = Vec::new();
    for item in after {
        let earlier = places.get(&key(&item)).and_then(|place| old.get_mut(*place)?.take());
        merged.extend(both(earlier, Some(item)));
    }
    merged.extend(old.into_iter().flatten().filter_map(|item| both(Some(item), None)));
    merged
}

fn ports(before: Option<Port>, after: Option<Port>) -> Option<Port> {
    let port = after.as_ref().or(before.as_ref())?.clone();
    let lists = |port: Option<Port>| port.map(|port| (port.frontends, port.nodes)).unwrap_or_default();
    let ((old_frontends, old_nodes), (new_frontends, new_nodes)) = (lists(before), lists(after));
    let mut frontends = merge(old_frontends, new_frontends, |frontend| frontend.kind, frontends);
    // The outer frontends lead through the inner ones.
    frontends.sort_by_key(|frontend| OUTSIDE_IN.iter().position(|kind| kind.name() == frontend.kind));
    let mut nodes = merge(old_nodes, new_nodes, |node| (node.place, node.name.clone()), nodes);
    nodes.sort_by(|a, b| (a.place, a.name.is_none(), &a.name).cmp(&(b.place, b.name.is_none(), &b.name)));
    Some(Port { frontends, nodes, ..port })
}

fn frontends(before: Option<Frontend>, after: Option<Frontend>) -> Option<Frontend> {
    let was = match (&before, &after) {
        (Some(old), Some(new)) => Some(old.summary()).filter(|was| *was != new.summary()),
        _ => None,
    };
    let addresses = |frontend: &Option<Frontend>| {
        frontend.as_ref().map(|frontend| frontend.addresses.clone()).unwrap_or_default()
    };
    let addresses = merge(
        addresses(&before),
        addresses(&after),
        |address| address.text.clone(),
        |old, new| {
            Some(match (old, new) {
                (Some(old), Some(new)) => {
                    let mark = if old.left_out == new.left_out { Mark::Same } else { Mark::Changed };
                    Address { mark, ..new }
                }
                (None, new) => Address { mark: Mark::New, ..new? },
                (old, None) => Address { mark: Mark::Gone, ..old? },
            })
        },
    );
    Some(Frontend { addresses, was, ..after.or(before)? })
}

fn nodes(before: Option<NodeBox>, after: Option<NodeBox>) -> Option<NodeBox> {
    let pods = |node: &Option<NodeBox>| node.as_ref().map(|node| node.pods.clone()).unwrap_or_default();
    let pods = merge(pods(&before), pods(&after), |pod| pod.address.clone(), self::pods);
    Some(NodeBox { pods, ..after.or(before)? })
}

fn pods(before: Option<PodCard>, after: Option<PodCard>) -> Option<PodCard> {
    let (Some(old), Some(new)) = (&before, &after) else {
        let mark = if after.is_some() { Mark::New } else { Mark::Gone };
        return Some(PodCard { mark, ..after.or(before)? });
    };
    let lines = new.lines.iter().map(|line| {
        let earlier = old.lines.iter().find(|other| other.policy == line.policy);
        let was = earlier.map(Line::label).filter(|was| *was != line.label());
        Line { was, ..line.clone() }
    });
    // Compares the policies that are in force in both states, but no shares: a share depends on other endpoints.
    let state = |line: &Line| (line.left_out.is_some(), line.terminates);
    let is_other = |line: &Line| {
        let earlier = old.lines.iter().find(|other| other.policy == line.policy);
        earlier.is_some_and(|earlier| state(earlier) != state(line))
    };
    let differs =
        old.weight != new.weight || old.is_used() != new.is_used() || new.lines.iter().any(is_other);
    let mark = if differs { Mark::Changed } else { Mark::Same };
    Some(PodCard { mark, lines: lines.collect(), ..new.clone() })
}
