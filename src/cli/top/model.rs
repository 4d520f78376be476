//! What the view shows, and what keys do to it.

use std::{cmp::Reverse, sync::Arc};

use clap::ValueEnum as _;
use portolan_rules::model::ObjectName;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::Value;

use super::arguments::Sort;
use crate::{
    cli::get::{
        rows::{EndpointRow, PortRow, ServiceRow},
        table::per_second,
    },
    observe::counts::Totals,
};

/// Number of lines that the Page Up and Page Down keys move.
const PAGE: isize = 10;

/// What the agent answered at one time.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Name of the node.
    pub node: String,
    /// Whether the kernel has what the agent holds, and how old that is.
    pub freshness: String,
    /// The Services, in order of their names.
    pub services: Arc<[ServiceRow]>,
    /// The Service that is open, with shares, if it is there.
    pub opened: Option<ServiceRow>,
    /// The connections, where they are counted.
    pub totals: Option<Totals>,
    /// Why the connections are not counted.
    pub problem: Option<String>,
    /// The last commits, the newest first.
    pub commits: Vec<Value>,
}

/// The address of each endpoint, with its share to six decimals.
type Shares = Vec<(String, Option<String>)>;

/// A Service with what is counted of it.
#[derive(Clone, Debug)]
pub struct Line {
    /// The index of the Service in [`Look::services`].
    pub index: usize,
    pub name: ObjectName,
    /// New connections per second, between the last two readings.
    pub rate: Option<f64>,
    pub connections: Option<u64>,
    pub refused: Option<u64>,
    /// Refused connections per second, between the last two readings.
    pub refused_rate: Option<f64>,
}

/// What a key asks for beyond the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// Open this Service, or close the open one.
    Open(Option<ObjectName>),
}

/// An endpoint of the Service that is open, with what is counted of it.
#[derive(Clone, Debug)]
pub struct EndpointLine<'a> {
    pub endpoint: &'a EndpointRow,
    /// Its part of the connections of its port since the Service was opened, or since shares changed.
    pub seen: Option<f64>,
    pub rate: Option<f64>,
    pub connections: Option<u64>,
}

/// The state of the view.
#[derive(Debug, Default)]
pub struct Model {
    pub look: Look,
    /// Why the agent does not answer, if it does not.
    pub lost: Option<String>,
    pub sort: Sort,
    pub is_reversed: bool,
    pub filter: String,
    /// Whether keys are typed into the filter.
    pub is_typing: bool,
    pub opened: Option<ObjectName>,
    /// First line of the open Service that is shown.
    pub scroll: usize,
    /// The Services that match the filter, in order.
    pub lines: Vec<Line>,
    selected: Option<ObjectName>,
    /// The reading before the last one.
    before: Option<Totals>,
    /// The shares of the open Service, and the connections when the shares last changed.
    baseline: Option<(Shares, Totals)>,
    is_over: bool,
}

impl Model {
    /// Creates a view that has no answer yet.
    pub fn new(sort: Sort, opened: Option<ObjectName>) -> Self {
        Self { sort, opened, ..Self::default() }
    }

    /// Whether the view was asked to end.
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes what the agent answered.
    pub fn take(&mut self, look: Look) {
        self.lost = None;
        let last = std::mem::replace(&mut self.look, look);
        match (last.totals, &self.look.totals) {
            // Two looks at the same reading give no rate.
            (Some(last), Some(now)) if now.since(&last).is_some() => self.before = Some(last),
            (_, None) => self.before = None,
            _ => {}
        }
        self.take_shares();
        self.arrange();
    }

    /// Notes that the agent does not answer.
    pub fn lose(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// Restarts the count when the shares of the open Service have changed.
    fn take_shares(&mut self) {
        let (Some(opened), Some(totals)) = (&self.look.opened, &self.look.totals) else {
            self.baseline = None;
            return;
        };
        let endpoints = opened.ports.iter().flat_map(|port| &port.endpoints);
        let share = |endpoint: &EndpointRow| endpoint.share.map(|share| format!("{share:.6}"));
        let shares: Vec<_> = endpoints.map(|it| (it.address.clone(), share(it))).collect();
        if self.baseline.as_ref().is_none_or(|(known, _)| *known != shares) {
            self.baseline = Some((shares, totals.clone()));
        }
    }

    /// Returns the rate per second of a count, between the last two readings.
    fn rate(&self, count: impl Fn(&Totals) -> u64) -> Option<f64> {
        let (before, now) = (self.before.as_ref()?, self.look.totals.as_ref()?);
        Some(per_second(count(now).saturating_sub(count(before)), now.since(before)?))
    }

    /// Filters and sorts the Services.
    fn arrange(&mut self) {
        let totals = self.look.totals.as_ref();
        let line = |(index, row): (usize, &ServiceRow)| {
            let name = ObjectName::new(&*row.namespace, &*row.name);
            Line {
                index,
                rate: self.rate(|totals| totals.of_service(&name)),
                connections: totals.map(|totals| totals.of_service(&name)),
                refused: totals.map(|totals| totals.refused(&name)),
                refused_rate: self.rate(|totals| totals.refused(&name)),
                name,
            }
        };
        let is_shown = |(_, row): &(usize, &ServiceRow)| {
            self.filter.is_empty() || format!("{}/{}", row.namespace, row.name).contains(&self.filter)
        };
        let mut lines: Vec<Line> = self.look.services.iter().enumerate().filter(is_shown).map(line).collect();
        // The lines are in the order of their names. The stable sort keeps this order among equal lines.
        let highest =
            |a: Option<f64>, b: Option<f64>| b.unwrap_or_default().total_cmp(&a.unwrap_or_default());
        match self.sort {
            Sort::Rate => lines.sort_by(|a, b| highest(a.rate, b.rate)),
            Sort::Connections => lines.sort_by_key(|line| Reverse(line.connections)),
            Sort::Refused => {
                lines.sort_by(|a, b| highest(a.refused_rate, b.refused_rate).then(b.refused.cmp(&a.refused)));
            }
            Sort::Endpoints => {
                lines.sort_by_key(|line| self.look.services.get(line.index).map(|row| row.endpoints.used));
            }
            Sort::Name => {}
        }
        if self.is_reversed {
            lines.reverse();
        }
        self.lines = lines;
    }

    /// Returns the index of the selected line: the first one if the selected Service is not shown.
    pub fn selected(&self) -> usize {
        let is_selected = |line: &Line| Some(&line.name) == self.selected.as_ref();
        self.lines.iter().position(is_selected).unwrap_or_default()
    }

    /// Returns the Service of a line.
    pub fn row(&self, line: &Line) -> Option<&ServiceRow> {
        self.look.services.get(line.index)
    }

    /// Returns the new and the refused connections per second of all Services that match the filter.
    pub fn total_rates(&self) -> Option<(f64, f64)> {
        self.before.as_ref()?;
        let sum = |rate: fn(&Line) -> Option<f64>| self.lines.iter().filter_map(rate).sum();
        Some((sum(|line| line.rate), sum(|line| line.refused_rate)))
    }

    /// Returns the endpoints of a port of the open Service.
    pub fn endpoints<'a>(&'a self, port: &'a PortRow) -> Vec<EndpointLine<'a>> {
        let Some(name) = &self.opened else { return Vec::new() };
        let count = |totals: &Totals, endpoint: &EndpointRow| {
            let at = endpoint.address.parse().ok();
            at.map_or(0, |at| totals.of_endpoint(name, &port.name, at))
        };
        let baseline = self.baseline.as_ref().map(|(_, totals)| totals);
        let since = |endpoint: &EndpointRow| {
            let (before, now) = (baseline?, self.look.totals.as_ref()?);
            Some(count(now, endpoint).saturating_sub(count(before, endpoint)))
        };
        let all: u64 = port.endpoints.iter().filter_map(since).sum();
        let line = |endpoint: &'a EndpointRow| EndpointLine {
            endpoint,
            seen: since(endpoint).filter(|_| all > 0).map(|count| part(count, all)),
            rate: self.rate(|totals| count(totals, endpoint)),
            connections: self.look.totals.as_ref().map(|totals| count(totals, endpoint)),
        };
        port.endpoints.iter().map(line).collect()
    }

    /// Does what a key asks for.
    pub fn press(&mut self, key: KeyEvent) -> Action {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            self.is_over = true;
            return Action::None;
        }
        if self.is_typing {
            self.type_filter(key.code);
            return Action::None;
        }
        match key.code {
            KeyCode::Char('q') => self.is_over = true,
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left if self.opened.is_some() => {
                self.opened = None;
                return Action::Open(None);
            }
            KeyCode::Esc if !self.filter.is_empty() => {
                self.filter.clear();
                self.arrange();
            }
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-PAGE),
            KeyCode::PageDown => self.step(PAGE),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            KeyCode::Enter | KeyCode::Right if self.opened.is_none() => {
                if let Some(line) = self.lines.get(self.selected()) {
                    (self.opened, self.selected, self.scroll) =
                        (Some(line.name.clone()), Some(line.name.clone()), 0);
                    (self.look.opened, self.baseline) = (None, None);
                    return Action::Open(self.opened.clone());
                }
            }
            KeyCode::Char('s') if self.opened.is_none() => {
                let mut columns =
                    Sort::value_variants().iter().cycle().skip_while(|sort| **sort != self.sort);
                self.sort = columns.nth(1).copied().unwrap_or_default();
                self.arrange();
            }
            KeyCode::Char('r') if self.opened.is_none() => {
                self.is_reversed = !self.is_reversed;
                self.arrange();
            }
            KeyCode::Char('/') if self.opened.is_none() => self.is_typing = true,
            _ => {}
        }
        Action::None
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
        self.arrange();
    }

    /// Moves the selection by this number of lines, or scrolls the open Service.
    fn step(&mut self, by: isize) {
        if self.opened.is_some() {
            self.scroll = self.scroll.saturating_add_signed(by).min(self.opened_lines().saturating_sub(1));
            return;
        }
        let to = self.selected().saturating_add_signed(by).min(self.lines.len().saturating_sub(1));
        self.selected = self.lines.get(to).map(|line| line.name.clone());
    }

    /// How many lines the open Service has: one for each port, and one for each endpoint.
    fn opened_lines(&self) -> usize {
        let ports = self.look.opened.iter().flat_map(|row| &row.ports);
        ports.map(|port| 1 + port.endpoints.len()).sum()
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn part(count: u64, all: u64) -> f64 {
    count as f64 / all as f64
}
