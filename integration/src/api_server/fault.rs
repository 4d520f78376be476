//! What a test has the server do wrong.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::Resource;

/// What a request asks for, in the API's words.
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

/// A request that the server has got, whether or not it could be served.
#[derive(Debug, Clone)]
pub struct Request {
    /// When it came.
    pub at: Instant,
    /// What it asks for.
    pub verb: Verb,
    /// Of what; `None` if that is an Event.
    pub resource: Option<Resource>,
    /// The parameters of the URL.
    pub query: BTreeMap<String, String>,
    /// Whether the answer may be in protobuf.
    pub is_protobuf: bool,
    /// Whether the answer may be compressed.
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
    /// It is never answered, though the connection stays.
    Hang,
    /// It is answered once the rules are cleared.
    Hold,
}

/// A fault, and the requests that meet it.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Requests of this resource; of any if `None`.
    pub resource: Option<Resource>,
    /// Requests with this verb; with any if `None`.
    pub verb: Option<Verb>,
    /// Only requests for a further page of a list.
    pub continued: bool,
    /// How many of them.
    pub times: usize,
    /// How they go wrong.
    pub fault: Fault,
}

impl Rule {
    /// Every request meets this fault.
    pub fn always(fault: Fault) -> Self {
        Self { resource: None, verb: None, continued: false, times: usize::MAX, fault }
    }

    /// Only requests of this resource do.
    #[must_use]
    pub fn of(self, resource: Resource) -> Self {
        Self { resource: Some(resource), ..self }
    }

    /// Only requests with this verb do.
    #[must_use]
    pub fn on(self, verb: Verb) -> Self {
        Self { verb: Some(verb), ..self }
    }

    /// Only requests for a further page of a list do.
    #[must_use]
    pub fn on_further_pages(self) -> Self {
        Self { continued: true, ..self }
    }

    /// Only the next so many do.
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

/// How the events of watches go wrong. Versions, bookmarks and the end of a watch are as they should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventFaults {
    /// Every so-many-th event is never sent; 0 for none.
    pub lose_every: usize,
    /// Every event is sent twice.
    pub duplicate: bool,
    /// Of the events that are sent together, each two change places.
    pub swap: bool,
}

/// What a server does not have that most have.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lacks {
    /// Long lists are not compressed.
    pub compression: bool,
    /// Answers are in JSON alone, as of what stands before API servers.
    pub protobuf: bool,
    /// There is no watch cache (`--watch-cache=false`), which would ignore the limit of a list.
    pub watch_cache: bool,
}

/// All that goes wrong at the moment.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub rules: Vec<Rule>,
    pub events: EventFaults,
    /// Watches say nothing.
    pub silent: bool,
    /// How often all watches then under way were to say nothing any more.
    pub forgotten: u32,
    /// What the server does not have.
    pub lacks: Lacks,
    /// A watch of what is forgotten is refused with status 410, rather than accepted and ended with an ERROR.
    pub gone_as_status: bool,
}

impl Faults {
    /// The fault that this request meets; that is one time less.
    pub fn meet(&mut self, request: &Request) -> Option<Fault> {
        let rule = self.rules.iter_mut().find(|rule| rule.applies(request))?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    /// Whether requests that are held must still wait.
    pub fn is_holding(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.fault, Fault::Hold))
    }

    /// Whether a watch that began when so many times watches had been forgotten says nothing.
    pub fn silence(&self, generation: u32) -> bool {
        self.silent || self.forgotten != generation
    }
}

impl EventFaults {
    /// Lets these events go wrong; `count` is how many there were before.
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
