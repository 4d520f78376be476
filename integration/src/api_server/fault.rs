//! Faults that a test injects into the server.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::Resource;

/// The verb of a request, as the API names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// One object.
    Get,
    /// All objects of a kind.
    List,
    /// Their changes.
    Watch,
    /// A new object.
    Create,
    /// A change of an object.
    Patch,
    /// The end of an object.
    Delete,
}

/// A request that the server has received, whether or not it could be served.
#[derive(Debug, Clone)]
pub struct Request {
    /// When it arrived.
    pub at: Instant,
    /// What it asks for.
    pub verb: Verb,
    /// The resource; `None` for an Event.
    pub resource: Option<Resource>,
    /// The parameters of the URL.
    pub query: BTreeMap<String, String>,
    /// Whether the response may be in protobuf.
    pub is_protobuf: bool,
    /// Whether the response may be compressed.
    pub takes_gzip: bool,
}

/// How a request goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is answered this much later.
    Delay(Duration),
    /// It is refused with this status code and, if given, `Retry-After` in seconds.
    Refuse(u16, Option<u32>),
    /// Something in front of the server answers with this status code, and a page.
    Gateway(u16),
    /// It is never answered, but the connection stays open.
    Hang,
    /// It is answered once the rules are cleared.
    Hold,
}

/// A fault, and the requests that it affects.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The resource of affected requests; any if `None`.
    pub resource: Option<Resource>,
    /// The verb of affected requests; any if `None`.
    pub verb: Option<Verb>,
    /// Whether only requests for a further page of a list are affected.
    pub continued: bool,
    /// How many requests are affected.
    pub times: usize,
    /// How they go wrong.
    pub fault: Fault,
}

impl Rule {
    /// A rule that affects every request.
    pub fn always(fault: Fault) -> Self {
        Self { resource: None, verb: None, continued: false, times: usize::MAX, fault }
    }

    /// Limits the rule to requests of this resource.
    #[must_use]
    pub fn of(self, resource: Resource) -> Self {
        Self { resource: Some(resource), ..self }
    }

    /// Limits the rule to requests with this verb.
    #[must_use]
    pub fn on(self, verb: Verb) -> Self {
        Self { verb: Some(verb), ..self }
    }

    /// Limits the rule to requests for a further page of a list.
    #[must_use]
    pub fn on_further_pages(self) -> Self {
        Self { continued: true, ..self }
    }

    /// Limits the rule to this many requests.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    fn applies(&self, request: &Request) -> bool {
        self.times > 0
            && self.resource.is_none_or(|resource| request.resource == Some(resource))
            && self.verb.is_none_or(|verb| request.verb == verb)
            && (!self.continued || request.query.contains_key("continue"))
    }
}

/// How the events of watches go wrong. Versions, bookmarks and the end of a watch remain correct.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventFaults {
    /// Every event whose number is a multiple of this is never sent; 0 loses none.
    pub lose_every: usize,
    /// Every event is sent twice.
    pub duplicate: bool,
    /// Of the events that are sent together, each pair is swapped.
    pub swap: bool,
}

/// Features that most servers have and this one lacks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lacks {
    /// Long lists are not compressed.
    pub compression: bool,
    /// Responses are only in JSON, as from a proxy in front of API servers.
    pub protobuf: bool,
    /// There is no watch cache (`--watch-cache=false`), which would ignore the limit of a list.
    pub watch_cache: bool,
}

/// The current faults.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub rules: Vec<Rule>,
    pub events: EventFaults,
    /// Watches send nothing.
    pub silent: bool,
    /// How often all watches then in progress were silenced for ever.
    pub forgotten: u32,
    /// The features that the server lacks.
    pub lacks: Lacks,
    /// A watch from a forgotten version is refused with status 410, rather than accepted and ended with an ERROR.
    pub gone_as_status: bool,
}

impl Faults {
    /// The fault that affects this request; uses up one of the rule's times.
    pub fn meet(&mut self, request: &Request) -> Option<Fault> {
        let rule = self.rules.iter_mut().find(|rule| rule.applies(request))?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    /// Whether requests that are held must still wait.
    pub fn is_holding(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.fault, Fault::Hold))
    }

    /// Whether a watch that began at this count of [`Self::forgotten`] sends nothing.
    pub fn silence(&self, generation: u32) -> bool {
        self.silent || self.forgotten != generation
    }
}

impl EventFaults {
    /// Distorts these events; `count` is the number of earlier events.
    pub fn distort<T: Clone>(self, events: Vec<T>, count: &mut usize) -> Vec<T> {
        let mut sent = Vec::new();
        for event in events {
            *count += 1;
            if self.lose_every > 0 && (*count).is_multiple_of(self.lose_every) {
                continue;
            }
            if self.duplicate {
                sent.push(event.clone());
            }
            sent.push(event);
        }
        if self.swap {
            sent.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_wear_out() {
        let request = Request {
            at: Instant::now(),
            is_protobuf: false,
            takes_gzip: false,
            verb: Verb::List,
            resource: Some(Resource::Nodes),
            query: BTreeMap::new(),
        };
        let mut faults = Faults::default();
        faults.rules.push(Rule::always(Fault::Hang).of(Resource::Services));
        faults.rules.push(Rule::always(Fault::Refuse(500, None)).on(Verb::List).times(1));
        assert!(matches!(faults.meet(&request), Some(Fault::Refuse(500, None))));
        assert!(faults.meet(&request).is_none());
    }

    #[test]
    fn a_rule_of_further_pages_spares_the_first() {
        let request = |query: &[&str]| Request {
            at: Instant::now(),
            is_protobuf: false,
            takes_gzip: false,
            verb: Verb::List,
            resource: Some(Resource::Services),
            query: query.iter().map(|name| ((*name).to_owned(), String::new())).collect(),
        };
        let mut faults = Faults::default();
        faults.rules.push(Rule::always(Fault::Hold).on_further_pages());
        assert!(faults.meet(&request(&["limit"])).is_none());
        assert!(matches!(faults.meet(&request(&["limit", "continue"])), Some(Fault::Hold)));
        assert!(faults.is_holding());
    }

    #[test]
    fn events_are_lost_doubled_and_swapped() {
        let distort = |faults: EventFaults| faults.distort(vec![1, 2, 3, 4, 5], &mut 0);
        assert_eq!(distort(EventFaults::default()), [1, 2, 3, 4, 5]);
        assert_eq!(distort(EventFaults { lose_every: 2, ..EventFaults::default() }), [1, 3, 5]);
        assert_eq!(distort(EventFaults { lose_every: 1, ..EventFaults::default() }), [0; 0]);
        assert_eq!(
            distort(EventFaults { duplicate: true, ..EventFaults::default() }),
            [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
        );
        assert_eq!(distort(EventFaults { swap: true, ..EventFaults::default() }), [2, 1, 4, 3, 5]);
    }
}
