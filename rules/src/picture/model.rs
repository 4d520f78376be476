//! What a picture consists of.

use crate::{
    explanation::{Answer, Severity},
    simulate::Probability,
};

/// A picture of Services, as one node sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The input that the picture comes from.
    pub origin: String,
    /// The input that the earlier state comes from, if this is a picture of two states.
    pub earlier: Option<String>,
    /// What is drawn.
    pub subject: Subject,
}

/// Whether something is in both of two states that are drawn over each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// It is equal in both states, or there is only one state.
    #[default]
    Same,
    /// It is only in the later state.
    New,
    /// It is only in the earlier state.
    Gone,
    /// It is in both states, and differs.
    Changed,
}

/// What is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A few Services, each as a whole.
    Services(Vec<Panel>),
    /// Many Services, one row each.
    Overview {
        /// The rows; Services with findings come first.
        rows: Vec<Row>,
        /// How many Services are not shown.
        more: usize,
        /// The endpoints of all Services.
        total: Counts,
    },
}

/// A Service in an overview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whether it is in both states.
    pub mark: Mark,
    /// Namespace and name.
    pub name: String,
    /// The outermost kind of frontend.
    pub kind: &'static str,
    /// Its first address, and how many more there are.
    pub address: String,
    /// Its endpoints.
    pub counts: Counts,
    /// How many endpoints were used in the earlier state, if the number differs.
    pub was_used: Option<usize>,
    /// Its worst finding.
    pub problem: Option<ShownFinding>,
}

/// Endpoints, by where they are. An address that serves several ports counts once per port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// On this node.
    pub here: usize,
    /// In this node's zone.
    pub zone: usize,
    /// Elsewhere.
    pub elsewhere: usize,
    /// Endpoints that no policy in force leads to.
    pub unused: usize,
}

impl Counts {
    /// The endpoints that connections are led to.
    pub const fn used(&self) -> usize {
        self.here + self.zone + self.elsewhere
    }

    /// All endpoints.
    pub const fn all(&self) -> usize {
        self.used() + self.unused
    }
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panel {
    /// Whether it is in both states.
    pub mark: Mark,
    /// Namespace and name.
    pub name: String,
    /// What is wrong with it, the worst first.
    pub problems: Vec<ShownFinding>,
    /// Further properties of the choice of endpoints, and what differs.
    pub notes: Vec<String>,
    /// Its ports, each once per family.
    pub ports: Vec<Port>,
    /// How many ports are not shown.
    pub more_ports: usize,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownFinding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub sentence: String,
    /// What to do about it.
    pub hint: String,
}

/// A port of a Service in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name, number, protocol and family.
    pub title: String,
    /// The frontends, the outermost first: each leads through those after it.
    pub frontends: Vec<Frontend>,
    /// The nodes with their endpoints; this node comes first, even without endpoints.
    pub nodes: Vec<NodeBox>,
    /// Endpoints on nodes that are not shown.
    pub more: More,
    /// Nodes without an endpoint that are not shown.
    pub idle_nodes: usize,
}

/// The frontends of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// The kind, in the API's words.
    pub kind: &'static str,
    /// The policy in force, in the API's words.
    pub policy: &'static str,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// How many addresses are not shown.
    pub more: usize,
    /// What becomes of a connection, in words.
    pub answers: String,
    /// Policy and answers in the earlier state, if they differ.
    pub was: Option<String>,
    /// What becomes of a connection. `None` if none of its addresses belongs to this Service, or none answers on this
    /// node.
    pub answer: Option<Answer>,
}

/// An address of a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether it is in both states.
    pub mark: Mark,
    /// As a client would write it.
    pub text: String,
    /// Why it does not belong to this Service.
    pub left_out: Option<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBox {
    /// Its name; `None` for endpoints whose node is not known.
    pub name: Option<String>,
    /// Where it is.
    pub place: Place,
    /// Its zone, where known.
    pub zone: Option<String>,
    /// `InternalIP`s and `ExternalIP`s, in words.
    pub addresses: String,
    /// Its endpoints.
    pub pods: Vec<PodCard>,
    /// Endpoints that are not shown.
    pub more: More,
}

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The node whose view is drawn.
    Here,
    /// Another node in the zone of that node.
    Zone,
    /// Any other node.
    Elsewhere,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodCard {
    /// Whether it is in both states.
    pub mark: Mark,
    /// Its Pod, where known.
    pub pod: Option<String>,
    /// Address and port.
    pub address: String,
    /// Its weight, in words; empty if it is 1.
    pub weight: String,
    /// What each policy in force does with it.
    pub lines: Vec<Line>,
}

impl PodCard {
    /// The lines of the policies that lead to it.
    pub fn used(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.left_out.is_none())
    }

    /// Whether a policy leads to it.
    pub fn is_used(&self) -> bool {
        self.used().next().is_some()
    }

    /// Whether connections are led to it although its Pod terminates.
    pub fn terminates(&self) -> bool {
        self.lines.iter().any(|line| line.terminates)
    }

    /// Why no policy leads to it.
    pub fn why_unused(&self) -> Option<&str> {
        let reasons = self.lines.iter().filter_map(|line| line.left_out.as_ref());
        reasons.map(|(_, sentence)| &**sentence).next().filter(|_| !self.is_used())
    }
}

/// What a policy does with an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The policy.
    pub policy: &'static str,
    /// The reason's code and the reason, if it is left out.
    pub left_out: Option<(&'static str, String)>,
    /// Its share of the connections, where that is known.
    pub share: Option<Probability>,
    /// Whether connections are led to it although its Pod terminates.
    pub terminates: bool,
    /// Its share in the earlier state, or that it had none, if that differs.
    pub was: Option<String>,
}

/// Endpoints that are not shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct More {
    /// How many.
    pub endpoints: usize,
    /// How many of them are used.
    pub used: usize,
    /// A summary in words, with what differs and the share under the first policy; `None` if there are no such
    /// endpoints.
    pub words: Option<String>,
}
