//! Words and numbers that all writers use.

use super::model::{Frontend, Line, Mark, NodeBox, Picture, Place, Port, Row, Subject};
use crate::{
    explanation::{Answer, Severity, trace::percent},
    simulate::Probability,
};

/// Maximum number of characters of a text that are kept.
const LONGEST: usize = 300;

/// Cleans text from outside of characters that a terminal or a browser might obey: control characters, and those that
/// change the direction of writing.
pub(super) fn clean(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
    };
    let mut cleaned: String =
        text.chars().take(LONGEST).map(|c| if is_odd(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        cleaned.push('…');
    }
    cleaned
}

/// Shortens a text to at most this many characters.
pub fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// A number with commas.
pub fn number(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and its noun.
pub fn count(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", self::number(number), if number == 1 { one } else { many })
}

impl Picture {
    /// What the picture shows, in one line.
    pub fn title(&self) -> String {
        let shown = self.shown();
        if self.earlier.is_some() { format!("What differs: {shown}") } else { shown }
    }

    /// The input that the picture comes from, or the inputs of both states.
    pub fn origins(&self) -> String {
        match &self.earlier {
            Some(earlier) => format!("before: {earlier}; after: {}", self.origin),
            None => self.origin.clone(),
        }
    }

    /// The text of a picture that has nothing to draw.
    pub(super) const fn nothing(&self) -> &'static str {
        if self.earlier.is_some() { "No Service differs." } else { "There are no Services to draw." }
    }

    fn shown(&self) -> String {
        match &self.subject {
            Subject::Services(panels) => match panels.as_slice() {
                [] => "no Services".to_owned(),
                [panel] => format!("Service {}", panel.name),
                panels => count(panels.len(), "Service", "Services"),
            },
            Subject::Overview { rows, more, total } => format!(
                "{}, {}, {} of them used",
                count(rows.len() + more, "Service", "Services"),
                count(total.all(), "endpoint", "endpoints"),
                number(total.used())
            ),
        }
    }
}

impl Mark {
    /// The sign before a name.
    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::New => "+ ",
            Self::Gone => "- ",
            Self::Changed => "~ ",
        }
    }

    /// As a class of the style sheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::New => "new",
            Self::Gone => "gone",
            Self::Changed => "changed",
        }
    }
}

/// A share as a fraction, or `all`.
pub(super) fn part(share: &Probability) -> String {
    match &*share.to_string() {
        "1" => "all".to_owned(),
        fraction => fraction.to_owned(),
    }
}

impl Row {
    /// `3 of 5`, or `2 → 3 of 5` if the number was different.
    pub(super) fn used(&self) -> String {
        let was = self.was_used.map(|was| format!("{} → ", number(was))).unwrap_or_default();
        format!("{was}{} of {}", number(self.counts.used()), number(self.counts.all()))
    }
}

impl Place {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Here => "this node",
            Self::Zone => "same zone",
            Self::Elsewhere => "elsewhere",
        }
    }

    /// As a class of the style sheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Zone => "zone",
            Self::Elsewhere => "far",
        }
    }
}

/// A severity as a class of the style sheet.
pub const fn severity_class(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "bad",
        Severity::Warning => "warn",
        Severity::Info => "note",
    }
}

impl NodeBox {
    /// Name, place and zone.
    pub(super) fn heading(&self) -> String {
        let Some(name) = &self.name else { return "node not known".to_owned() };
        let mut heading = match self.place {
            Place::Elsewhere => name.clone(),
            place => format!("{name} · {}", place.words()),
        };
        if let Some(zone) = &self.zone {
            heading.push_str(" · zone ");
            heading.push_str(zone);
        }
        heading
    }
}

impl Frontend {
    /// The policy, and what becomes of connections.
    pub(super) fn summary(&self) -> String {
        match self.answer {
            None => format!("policy {}, not served by this node", self.policy),
            Some(_) => format!("policy {}: {}", self.policy, self.answers),
        }
    }

    /// The answer, if connections are refused or dropped.
    pub(super) fn refusal(&self) -> Option<Answer> {
        self.answer.filter(|answer| matches!(answer, Answer::Refused | Answer::Dropped))
    }

    /// Whether connections reach an endpoint.
    pub(super) fn is_open(&self) -> bool {
        self.answer.is_some() && self.refusal().is_none()
    }

    /// The summary, and what was different in the earlier state.
    pub(super) fn words(&self) -> String {
        match &self.was {
            Some(was) => format!("{} (was {was})", self.summary()),
            None => self.summary(),
        }
    }
}

impl Port {
    /// The innermost frontend with this policy: where the lines to its endpoints begin.
    pub(super) fn frontend_of(&self, policy: &str) -> usize {
        self.frontends.iter().rposition(|frontend| frontend.policy == policy).unwrap_or(0)
    }

    /// The innermost frontend whose connections reach no endpoint: how many frontends are around it, and what becomes
    /// of connections.
    pub(super) fn broken(&self) -> Option<(usize, &Frontend, &'static str)> {
        let mut frontends = self.frontends.iter().enumerate().rev();
        frontends.find_map(|(depth, frontend)| Some((depth, frontend, frontend.refusal()?.name())))
    }
}

impl Line {
    /// The share, or that there is none, in few words.
    pub(super) fn label(&self) -> String {
        match (&self.left_out, &self.share) {
            (Some(_), _) => "not used".to_owned(),
            (None, None) => "used".to_owned(),
            (None, Some(share)) => percent(share),
        }
    }

    /// The label, after the label in the earlier state.
    pub(super) fn both(&self) -> String {
        let was = self.was.as_ref().map(|was| format!("{was} → ")).unwrap_or_default();
        format!("{was}{}", self.label())
    }

    /// The whole line, for a tooltip.
    pub(super) fn sentence(&self) -> String {
        let what = match (&self.left_out, &self.share) {
            (Some((code, sentence)), _) => format!("not used: {sentence} [{code}]"),
            (None, None) => "used".to_owned(),
            (None, Some(share)) => format!("{} of new connections ({})", part(share), percent(share)),
        };
        let ending = if self.terminates { "; terminating, and no other is ready" } else { "" };
        let was = self.was.as_ref().map(|was| format!("; before: {was}")).unwrap_or_default();
        format!("policy {}: {what}{ending}{was}", self.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn nothing_is_left_that_a_terminal_obeys() {
        assert_eq!(clean("a\u{1b}[31m\u{202e}b\n"), "a�[31m�b�");
        assert_eq!(clean(&"x".repeat(1000)).chars().count(), LONGEST + 1);
        assert_eq!(shorten("abcdef", 4), "abc…");
    }
}
