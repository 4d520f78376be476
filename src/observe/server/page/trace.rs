//! A form for a connection, and the outcome of the connection.

use std::borrow::Cow;

use maud::{Markup, html};
use portolan_rules::{
    explanation::trace::{self, Trace},
    model::{ObjectName, Protocol},
    ruleset::{Family, Ruleset},
};

use crate::observe::query::{Snapshot, Wanted};

/// Most steps that are shown: there is one for each endpoint.
const STEPS: usize = 200;

/// The connection that is traced.
pub struct Question {
    from: String,
    to: String,
    protocol: Protocol,
}

impl Question {
    /// Reads the question from the parameters of the form.
    pub fn new<'a>(parameter: impl Fn(&str) -> Option<Cow<'a, str>>) -> Self {
        let text = |name| parameter(name).unwrap_or_default().trim().to_owned();
        let protocol = text("protocol").to_ascii_lowercase();
        let protocol = Protocol::from_name(&protocol);
        let from = text("from");
        Self {
            from: if from.is_empty() { "outside".to_owned() } else { from },
            to: text("to"),
            protocol: protocol.unwrap_or(Protocol::Tcp),
        }
    }

    /// Which Services to query from the reconciler.
    pub fn wanted(&self) -> Wanted {
        Wanted::of_destination(&self.to).unwrap_or(Wanted::NOTHING)
    }
}

/// The form, and the answer if a question was asked.
pub fn page(question: &Question, snapshot: &Snapshot) -> Markup {
    let Question { from, to, protocol } = question;
    html! {
        h1 { "Trace" }
        p.dim { "What would become of a new connection on this node, and what decides it. Nothing is sent." }
        form.trace action="/trace" {
            label { "From: pod, node, outside or an address" input name="from" value=(from) required; }
            label { "To: svc/NAMESPACE/NAME:PORT, ADDRESS:PORT or :NODEPORT" input name="to" size="40" value=(to) required; }
            label { "Protocol" select name="protocol" {
                @for known in Protocol::ALL { option selected[known == *protocol] { (known.name()) } }
            } }
            button { "Trace" }
        }
        @if !to.is_empty() { (answer(question, snapshot)) }
    }
}

fn answer(question: &Question, snapshot: &Snapshot) -> Markup {
    let compiled = snapshot.compile(&Ruleset::default());
    let view = compiled.view();
    let no_service = |name: &ObjectName| format!("there is no Service {name}");
    let traced = trace::destination(&view, &question.to, question.protocol, no_service).and_then(|to| {
        let origin = trace::origin(&view, &question.from, Family::of(to.ip()))?;
        Ok(Trace::new(&view, origin, to, question.protocol))
    });
    match traced {
        Err(message) => html! { p.bad { (message) } },
        Ok(traced) => html! {
            h2 #answer { (traced.answer()) }
            @let steps = traced.ladder(&view);
            ol { @for step in steps.iter().take(STEPS) { li { (step) } } }
            @if steps.len() > STEPS { p.dim { "and " (steps.len() - STEPS) " more" } }
        },
    }
}
