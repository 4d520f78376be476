//! Turns what the ledger noted into a transaction.

use std::{collections::BTreeSet, sync::Arc};

use super::{Compiler, class_verdict};
use crate::{
    compile::{
        class::Class,
        per_set::PerSet,
        scaffold::constant_chains,
        sets::{SetName, size_for},
    },
    diff::diff_into,
    ruleset::{Chain, Family, Ruleset, Set},
    transaction::{Operation, Transaction},
};

impl Compiler {
    /// Creates everything, where the kernel holds nothing yet: what the difference between no ruleset and
    /// [`Compiler::ruleset`] would be, without making the latter.
    pub fn creation(&self) -> Transaction {
        let mut transaction = diff_into(&self.config.table, &Ruleset::default(), self.tables());
        let counts = PerSet::from_fn(|family, set| self.ledger.count(family, set) as usize);
        transaction.operations.reserve(counts.into_iter().map(|(_, _, count)| count).sum());
        self.each_element(&mut |family, set, key, element| {
            let set = self.declaration(family, set).clone();
            transaction.push(family, Operation::AddElement { set, key, element });
        });
        transaction
    }

    /// What the ledger noted since the last transaction, as operations.
    pub(super) fn transaction(&mut self) -> Transaction {
        let net = self.ledger.take_changes();
        let outgrown = self.outgrown();
        let mut transaction = Transaction::new(self.config.table.clone());
        let kept = |family: Family, set: SetName| !outgrown.contains(&(family, set));

        for ((family, set, key), element) in net.deleted {
            if kept(family, set) {
                let set = self.declaration(family, set).clone();
                transaction.push(family, Operation::DeleteElement { set, key, end: element.end });
            }
        }
        for (family, class) in &net.old_classes {
            let (key, _) = class_verdict(*class);
            if kept(*family, class.verdict_map()) {
                let set = self.declaration(*family, class.verdict_map()).clone();
                transaction.push(*family, Operation::DeleteElement { set, key, end: None });
            }
        }
        // One may lead to another: all rules go before the first chain does.
        let old_chains = |(family, class): &(Family, Class)| {
            let family = *family;
            class.chains(&self.config, family).into_iter().map(move |chain| (family, chain.name))
        };
        for (family, chain) in net.old_classes.iter().flat_map(old_chains) {
            transaction.push(family, Operation::FlushChain(chain));
        }
        for (family, chain) in net.old_classes.iter().flat_map(old_chains) {
            transaction.push(family, Operation::DeleteChain(chain));
        }
        self.replace_sets(&outgrown, &net.new_classes, &mut transaction);
        for (family, class) in net.new_classes {
            for chain in class.chains(&self.config, family) {
                push_chain(&mut transaction, family, &chain);
            }
            if kept(family, class.verdict_map()) {
                let (key, element) = class_verdict(class);
                let set = self.declaration(family, class.verdict_map()).clone();
                transaction.push(family, Operation::AddElement { set, key, element });
            }
        }
        for ((family, set, key), element) in net.added {
            if kept(family, set) {
                let set = self.declaration(family, set).clone();
                transaction.push(family, Operation::AddElement { set, key, element });
            }
        }
        if !outgrown.is_empty() {
            self.each_element(&mut |family, set, key, element| {
                if outgrown.contains(&(family, set)) {
                    let set = self.declaration(family, set).clone();
                    transaction.push(family, Operation::AddElement { set, key, element });
                }
            });
        }
        transaction
    }

    /// Sets with more elements than their declared size; they are declared anew, larger.
    pub(super) fn outgrown(&mut self) -> BTreeSet<(Family, SetName)> {
        let mut outgrown = BTreeSet::new();
        for family in Family::ALL {
            for set in SetName::ALL {
                let count = self.ledger.count(family, set);
                if self.declaration(family, set).size.is_some_and(|size| count > size) {
                    let larger = set.declaration(&self.config, family, size_for(count));
                    self.declarations[(family, set)] = Arc::new(larger);
                    outgrown.insert((family, set));
                }
            }
        }
        outgrown
    }

    /// Takes the rules that read the outgrown sets out, replaces the sets, and puts the rules back. Their
    /// elements follow later in the same transaction: a packet sees all of it or nothing.
    fn replace_sets(
        &self,
        outgrown: &BTreeSet<(Family, SetName)>,
        new_classes: &[(Family, Class)],
        transaction: &mut Transaction,
    ) {
        for family in Family::ALL {
            let names: Vec<&str> =
                outgrown.iter().filter(|(f, _)| *f == family).map(|(_, set)| set.name()).collect();
            if names.is_empty() {
                continue;
            }
            let reads = |chain: &Chain| {
                let mut sets = chain.rules.iter().flat_map(|rule| &rule.statements).flat_map(|s| s.sets());
                sets.any(|set| names.contains(&&**set))
            };
            let present = self.classes(family).filter(|class| !new_classes.contains(&(family, *class)));
            let chains = present.flat_map(|class| class.chains(&self.config, family));
            let readers: Vec<Chain> =
                constant_chains(&self.config, family).into_iter().chain(chains).filter(reads).collect();
            for chain in &readers {
                transaction.push(family, Operation::FlushChain(chain.name.clone()));
            }
            for (_, set) in outgrown.iter().filter(|(f, _)| *f == family) {
                transaction.push(family, Operation::DeleteSet(set.name().into()));
                let declaration = Set::clone(self.declaration(family, *set));
                transaction.push(family, Operation::AddSet(Box::new(declaration)));
            }
            for chain in readers {
                push_rules(transaction, family, &chain);
            }
        }
    }
}

fn push_chain(transaction: &mut Transaction, family: Family, chain: &Chain) {
    let declaration = Chain { rules: Vec::new(), ..chain.clone() };
    transaction.push(family, Operation::AddChain(Box::new(declaration)));
    push_rules(transaction, family, chain);
}

fn push_rules(transaction: &mut Transaction, family: Family, chain: &Chain) {
    for rule in &chain.rules {
        transaction.push(family, Operation::AddRule { chain: chain.name.clone(), rule: rule.clone() });
    }
}
