//! Differences in sentences.

use std::{collections::BTreeMap, fmt};

use indexmap::IndexSet;

use super::{Aspect, Change, Difference, Parent, Port, Presence};
use crate::frontends::FrontendKey;

/// Maximum number of endpoints that are named one by one.
const NAMED: usize = 3;

impl Change {
    /// Whether the aspect is in one state only.
    const fn is_of_one(&self) -> bool {
        self.before.is_none() != self.after.is_none()
    }
}

impl Difference {
    /// What differs, in short sentences without a full stop.
    pub fn sentences(&self) -> Vec<String> {
        match self.presence {
            Presence::New => return vec![format!("new: {}", self.size(|(_, after)| *after))],
            Presence::Gone => return vec![format!("gone: had {}", self.size(|(before, _)| *before))],
            Presence::Both => {}
        }
        let of_changes = self.changes.iter().filter_map(|change| self.sentence(change));
        let sentences: IndexSet<String> = self.of_endpoints().into_iter().chain(of_changes).collect();
        sentences.into_iter().collect()
    }

    /// The numbers of frontends and endpoints of a Service that is in one state only.
    fn size(&self, count: impl Fn(&(usize, usize)) -> usize) -> String {
        let frontends = self.changes.iter().filter(|c| matches!(c.aspect, Aspect::Frontend { .. })).count();
        let endpoints = self.endpoints.values().map(count).max().unwrap_or(0);
        format!("{}, {}", plural(frontends, "frontend"), plural(endpoints, "endpoint"))
    }

    /// Whether a port is in one state only: then its frontends and endpoints are not described.
    fn is_port_of_one(&self, port: Port) -> bool {
        self.changes.iter().any(|change| change.aspect == Aspect::Port(port) && change.is_of_one())
    }

    /// Whether a frontend is in one state only.
    fn is_frontend_of_one(&self, frontend: FrontendKey) -> bool {
        let is_it = |aspect: &Aspect| matches!(aspect, Aspect::Frontend { key, .. } if *key == frontend);
        self.changes.iter().any(|change| is_it(&change.aspect) && change.is_of_one())
    }

    fn of_endpoints(&self) -> Vec<String> {
        let mut by_text: BTreeMap<String, Vec<Parent>> = BTreeMap::new();
        let parents = self.endpoints.iter().filter(|(parent, _)| match parent {
            Parent::Port(port) => !self.is_port_of_one(*port),
            Parent::Frontend(key) => !self.is_frontend_of_one(*key),
        });
        let mut are_others_equal = false;
        for (parent, (before, after)) in parents {
            let mut names: [Vec<String>; 2] = Default::default();
            for change in &self.changes {
                let Aspect::Endpoint { of, at } = &change.aspect else { continue };
                let was = change.before.as_ref().is_some_and(|fact| fact.is_used);
                let is = change.after.as_ref().is_some_and(|fact| fact.is_used);
                if of == parent && was != is {
                    names[usize::from(is)].push(at.to_string());
                }
            }
            let [gone, new] = names;
            let text = match (before == after, gone.is_empty() && new.is_empty()) {
                (_, true) => {
                    are_others_equal = true;
                    continue;
                }
                (true, _) => format!("{} of {} replaced", gone.len(), plural(*after, "endpoint")),
                (false, _) => format!("{before} → {}", plural(*after, "endpoint")),
            };
            let list = |sign: &str, names: Vec<String>| match names.len() {
                0 => String::new(),
                1..=NAMED => format!(" {sign}{}", names.join(&format!(" {sign}"))),
                count => {
                    format!(" {sign}{} and {} more", names[..NAMED].join(&format!(" {sign}")), count - NAMED)
                }
            };
            let members = format!("{}{}", list("-", gone), list("+", new));
            by_text.entry(format!("{text} ({})", members.trim_start())).or_default().push(*parent);
        }
        // A text that applies to all parents does not name them.
        let is_of_all = by_text.len() == 1 && !are_others_equal;
        let with_parents = |(text, parents): (String, Vec<Parent>)| {
            if is_of_all {
                return text;
            }
            let parents: Vec<String> = parents.iter().map(ToString::to_string).collect();
            format!("{}: {text}", parents.join(", "))
        };
        by_text.into_iter().map(with_parents).collect()
    }

    fn sentence(&self, change: &Change) -> Option<String> {
        let (before, after) = (&change.before, &change.after);
        let value = after.as_ref().map_or("", |fact| &fact.value);
        let presence = match (before, after) {
            (None, _) => Some("new"),
            (_, None) => Some("gone"),
            _ => None,
        };
        match &change.aspect {
            Aspect::Port(port) => Some(match presence {
                Some(presence) => format!("port {}/{} {presence}", port.number, port.protocol),
                None => format!("port {}/{} now named {value:?}", port.number, port.protocol),
            }),
            Aspect::Setting { of: Some(key), .. } if self.is_frontend_of_one(*key) => None,
            Aspect::Setting { of, field } => {
                let of = of.map(|key| format!("{key}: ")).unwrap_or_default();
                let value = if after.is_none() { "nothing" } else { value };
                Some(format!("{of}{field} now {value}"))
            }
            Aspect::Frontend { port: Some(port), .. } if self.is_port_of_one(*port) => None,
            Aspect::Frontend { key, kind, .. } => {
                let name = match (kind, key) {
                    (None, _) | (_, FrontendKey::NodePort(..)) => key.to_string(),
                    (Some(kind), _) => format!("{} {key}", kind.noun()),
                };
                Some(match (presence, value) {
                    (Some(presence), "") => format!("{name} {presence}"),
                    (Some(presence), value) => format!("{name} {presence}, {value}"),
                    (None, "") => format!("{name} now served"),
                    (None, value) => format!("{name} now {value}"),
                })
            }
            Aspect::Endpoint { of: Parent::Port(port), .. } if self.is_port_of_one(*port) => None,
            // The numbers of endpoints show these changes.
            Aspect::Endpoint { of: Parent::Frontend(_), .. } => None,
            Aspect::Endpoint { at, .. } => match (before, after) {
                (Some(_), Some(after)) if after.value.is_empty() => Some(format!("endpoint {at} now used")),
                (Some(_), Some(after)) => Some(format!("endpoint {at} now {}", after.value)),
                (None, Some(after)) if !after.is_used => Some(format!("endpoint {at} new, {}", after.value)),
                (Some(before), None) if !before.is_used => {
                    Some(format!("endpoint {at} gone, was {}", before.value))
                }
                _ => None,
            },
        }
    }
}

/// A number and a noun.
fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}/{} ({})", self.number, self.protocol, self.family)
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(f),
            Self::Frontend(key) => key.fmt(f),
        }
    }
}

impl fmt::Display for Difference {
    /// `default/web: 3 → 2 endpoints (-10.244.1.5:8080); port 80/tcp gone`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.service, self.sentences().join("; "))
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(f),
            Self::Setting { of: None, field } => f.write_str(field),
            Self::Setting { of: Some(key), field } => write!(f, "{field} of {key}"),
            Self::Frontend { key, .. } => write!(f, "frontend {key}"),
            Self::Endpoint { of, at } => write!(f, "endpoint {at} of {of}"),
        }
    }
}
