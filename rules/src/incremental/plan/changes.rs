//! The difference between two rulesets, cut into transactions.

use foldhash::{HashMap, HashSet};

use super::{change::ElementChange, parts::Parts, retiring::Retiring};
use crate::{
    plane::{Role, SetName, first_slot, is_first_slot},
    ruleset::{Chain, Concat, Element, Family, Name, Operation, Ruleset, Statement, Transaction},
};

/// The difference between two rulesets.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Elements, in the order in which they are committed.
    pub elements: Vec<ElementChange>,
    /// New chains, with their rules.
    pub new_chains: Vec<(Family, Chain)>,
    /// Regular chains that are deleted.
    pub old_chains: Vec<(Family, Name)>,
    /// Operations on tables and sets, which come first.
    pub declared: Vec<(Family, Operation)>,
    /// Operations on the rules of chains that stay, and on base chains.
    pub rules: Vec<(Family, Operation)>,
    /// Sets that are deleted.
    pub old_sets: Vec<(Family, Name)>,
}

impl Changes {
    /// The changes of a difference ([`crate::ruleset::diff::diff`]), given the ruleset that it starts from.
    pub fn of(difference: Transaction, kernel: &Ruleset) -> Self {
        let mut changes = Self::default();
        let mut at: HashMap<(Family, Name, Concat), usize> = HashMap::default();
        let mut new: HashSet<(Family, Name)> = HashSet::default();
        // Objects that nothing leads to, such as those that others put into our tables, are deleted without waiting.
        let leads = led_to(kernel);
        let waits = |family: Family, name: &Name| leads.contains(&(family, name.clone()));
        let deleted: HashSet<(Family, Name)> = difference
            .operations
            .iter()
            .filter_map(|(family, operation)| match operation {
                Operation::DeleteChain(name) if waits(*family, name) => Some((*family, name.clone())),
                _ => None,
            })
            .collect();
        for (family, operation) in difference.operations {
            match operation {
                Operation::DeleteElement { set, key, end } => {
                    let data = kernel.tables.get(&family).and_then(|table| table.sets.get(&set.name));
                    let before = data.and_then(|set| set.elements.get(&key)).cloned();
                    let before = before.or(Some(Element { end, ..Element::member() }));
                    at.insert((family, set.name.clone(), key.clone()), changes.elements.len());
                    changes.elements.push(ElementChange { family, set, key, before, after: None });
                }
                Operation::AddElement { set, key, element } => {
                    let known = at.get(&(family, set.name.clone(), key.clone()));
                    if let Some(change) = known.and_then(|at| changes.elements.get_mut(*at)) {
                        change.after = Some(element);
                    } else {
                        let after = Some(element);
                        changes.elements.push(ElementChange { family, set, key, before: None, after });
                    }
                }
                Operation::AddTable | Operation::AddSet(_) => changes.declared.push((family, operation)),
                Operation::DeleteSet(name) if waits(family, &name) => changes.old_sets.push((family, name)),
                Operation::AddChain(chain) if chain.base.is_none() => {
                    new.insert((family, chain.name.clone()));
                    changes.new_chains.push((family, *chain));
                }
                Operation::AddRule { chain, rule } if new.contains(&(family, chain.clone())) => {
                    let known = |(f, known): &&mut (Family, Chain)| *f == family && known.name == chain;
                    if let Some((_, known)) = changes.new_chains.iter_mut().rev().find(known) {
                        known.rules.push(rule);
                    }
                }
                Operation::FlushChain(name) if deleted.contains(&(family, name.clone())) => {}
                Operation::DeleteChain(name) if deleted.contains(&(family, name.clone())) => {
                    changes.old_chains.push((family, name));
                }
                Operation::AddChain(_)
                | Operation::AddRule { .. }
                | Operation::FlushChain(_)
                | Operation::DeleteChain(_)
                | Operation::DeleteSet(_)
                | Operation::DeleteTable => changes.rules.push((family, operation)),
            }
        }
        changes
    }

    /// Cuts the changes into transactions that are committed one after the other. Deletions that come last are left to
    /// `retiring`, and an object that is still retiring is kept rather than made again.
    pub fn stage(self, table: &Name, retiring: &mut Retiring) -> Vec<Transaction> {
        retiring.begin();
        // Clients are remembered by endpoint ids, independently of the slots that lead to the endpoint. While the
        // frontend remembers clients, they must not find a removed endpoint; once it does not, nothing leads there.
        let forgets: HashSet<(Family, SetName, Concat)> = self
            .elements
            .iter()
            .filter(|change| change.after.is_none())
            .filter_map(|change| {
                Some((change.family, SetName::from_name(&change.set.name)?, change.key.clone()))
            })
            .filter(|(_, set, key)| is_first_slot(*set, key))
            .collect();
        let is_remembered = |set: SetName, change: &ElementChange| {
            let slot = first_slot(set, &change.key);
            slot.is_some_and(|(set, key)| !forgets.contains(&(change.family, set, key)))
        };
        let (mut ranges, mut prepared, mut led_to, mut switched) = (vec![], vec![], vec![], vec![]);
        let mut last = Vec::new();
        for mut change in self.elements {
            let set = SetName::from_name(&change.set.name);
            if change.before.is_none() {
                change.before = retiring.keep_element(&change);
                if let Some(set) = set.filter(|set| is_first_slot(*set, &change.key)) {
                    // The frontend remembers clients again: they must not find their former endpoints.
                    switched.extend(retiring.take_remembered(change.family, set, &change.key));
                }
                if change.before == change.after {
                    continue;
                }
            }
            match (set.map_or(Role::Leader, SetName::role), &change.after) {
                (Role::Leader, _) => switched.push(change),
                (Role::Fallback, Some(_)) => prepared.push(change),
                (Role::Fallback, None) => last.push(change),
                (Role::Led, None) if set.is_some_and(|set| is_remembered(set, &change)) => {
                    switched.push(change);
                }
                (_, None) => retiring.retire_element(change),
                (Role::Led, Some(_)) if change.before.is_some() => switched.push(change),
                (Role::Led, Some(_)) => led_to.push(change),
                (Role::Prepared, Some(_)) => {
                    retiring.take_ranges(&change, &mut ranges);
                    prepared.push(change);
                }
            }
        }
        let mut new_chains = self.new_chains;
        new_chains.retain(|(family, chain)| !retiring.keep_chain(*family, &chain.name));
        for (family, name) in self.old_chains {
            retiring.retire_chain(family, name);
        }
        for (family, name) in self.old_sets {
            retiring.retire_set(family, name);
        }

        let mut steps = Vec::new();
        let mut take = |transaction| {
            steps.push(transaction);
            true
        };
        let mut parts = Parts::new(table, &mut take);
        let is_prepared = !self.declared.is_empty() || !new_chains.is_empty() || !prepared.is_empty();
        for operation in self.declared {
            parts.operations(vec![operation]);
        }
        for family in Family::ALL {
            let of_family = new_chains.iter().filter(|(f, _)| *f == family);
            parts.chains(family, of_family.map(|(_, chain)| chain));
        }
        parts.elements(ranges);
        parts.elements(prepared);
        if is_prepared {
            parts.elements(std::mem::take(&mut led_to));
            parts.end();
        }
        parts.elements(led_to);
        parts.operations(self.rules);
        // Within one transaction the order has no meaning. Over several, the elements that frontends lead to are
        // replaced before the frontends lead elsewhere, and the endpoints of remembered clients are deleted last.
        switched.sort_by_key(rank);
        parts.elements(switched);
        parts.end();
        parts.elements(last);
        parts.end();
        steps
    }
}

/// The chains and sets that a rule or an element leads to.
fn led_to(ruleset: &Ruleset) -> HashSet<(Family, Name)> {
    let mut led_to = HashSet::default();
    for (family, table) in &ruleset.tables {
        let sets = table.statements().flat_map(Statement::sets);
        led_to.extend(sets.chain(table.targets()).map(|name| (*family, name.clone())));
    }
    led_to
}

fn rank(change: &ElementChange) -> u8 {
    match (SetName::from_name(&change.set.name).map_or(Role::Leader, SetName::role), &change.after) {
        (Role::Led, Some(_)) => 0,
        (Role::Led, None) => 2,
        _ => 1,
    }
}
