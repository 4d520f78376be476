//! The way of one packet through hooks and chains.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    commit::{Clock, Commit},
    draws::Draws,
    memory::Memory,
    outcome::{Case, Decision, Effect, Fate, SetWrite, Step, UnknownReason},
    packet::{Host, Input, Packet},
    probability::Probability,
};
use crate::{
    print,
    ruleset::{BaseChain, Chain, ChainType, Concat, Family, Hook, Name, Rule, Ruleset, Table, Verdict},
};

/// `NFT_JUMP_STACK_SIZE`: a packet that would jump deeper is dropped.
const JUMPS: usize = 16;

/// Why a course cannot go on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    /// The fate of the packet is known.
    End(Fate),
    /// A random number below this modulus is needed.
    Draw(u32),
}

/// What does not change while one packet is simulated.
pub(super) struct Machine<'a> {
    pub(super) commit: Commit<'a>,
    pub(super) family: Family,
    pub(super) host: &'a Host,
    pub(super) memory: &'a Memory,
    packet: &'a Packet,
    rules_per_course: usize,
    /// Rules and statements as text, each rendered once.
    texts: RefCell<HashMap<Place, Arc<str>>>,
}

/// A rule, by chain and position, or one of its statements.
type Place = (Name, usize, Option<usize>);

impl<'a> Machine<'a> {
    pub(super) fn new(
        rulesets: [&'a Ruleset; 2],
        host: &'a Host,
        packet: &'a Packet,
        memory: &'a Memory,
        rules_per_course: usize,
    ) -> Self {
        let family = Family::of(packet.destination);
        let commit = Commit::new(rulesets.map(|ruleset| ruleset.tables.get(&family)));
        Self { commit, family, host, memory, packet, rules_per_course, texts: RefCell::default() }
    }

    /// The base chains of a hook in these rules, in the order in which the kernel calls them. The kernel calls all nat
    /// chains from one hook function, at priority -100 for destinations and 100 for sources. It registers this
    /// function at all hooks together with the first nat chain. The priorities of the nat chains only order them among
    /// each other. Of two equal priorities, the one that was registered last comes first.
    fn chains(hook: Hook, rules: Option<&'a Table>) -> Vec<(&'a Chain, BaseChain)> {
        let all = || rules.into_iter().flat_map(|table| table.chains.values()).enumerate();
        let nat_since = all().find(|(_, chain)| chain.base.is_some_and(is_nat)).map(|(i, _)| i);
        let nat_priority = match hook {
            Hook::Prerouting | Hook::Output => -100,
            Hook::Input | Hook::Forward | Hook::Postrouting => 100,
        };
        // There is no translation at the forward hook, and the kernel accepts no nat chain there.
        let is_called = |base: &BaseChain| base.hook == hook && (hook != Hook::Forward || !is_nat(*base));
        let mut chains: Vec<_> =
            all().filter_map(|(i, chain)| Some((i, chain, chain.base.filter(is_called)?))).collect();
        chains.sort_by_key(|(i, _, base)| {
            let own = (base.priority, Reverse(Some(*i)));
            if is_nat(*base) { ((nat_priority, Reverse(nat_since)), own) } else { (own, own) }
        });
        chains.into_iter().map(|(_, chain, base)| (chain, base)).collect()
    }

    /// A rule, or one of its statements, as text.
    pub(super) fn text(
        &self,
        chain: &Chain,
        index: usize,
        statement: Option<usize>,
        rule: &Rule,
    ) -> Arc<str> {
        let render = || match statement.and_then(|i| rule.statements.get(i)) {
            Some(statement) => print::statement(statement, self.family).into(),
            None => print::rule(rule, self.family).into(),
        };
        let mut texts = self.texts.borrow_mut();
        texts.entry((chain.name.clone(), index, statement)).or_insert_with(render).clone()
    }
}

/// The packet as it is now, with the state that the kernel keeps for it.
pub(super) struct Flow {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) destination_port: u16,
    pub(super) protocol: u8,
    /// The input interface; `None` for packets that this node sends.
    pub(super) interface: Option<Arc<str>>,
    pub(super) priority: u32,
    pub(super) mark: u32,
    /// The destination after a translation.
    pub(super) translated: Option<SocketAddr>,
    pub(super) destination_nat: Nat,
    pub(super) source_nat: Nat,
}

/// What the kernel has settled about the translation of one side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nat {
    /// Nothing: the next nat chain decides.
    Open,
    /// The side stays as it is.
    Unchanged,
    /// The side changes: `IPS_DST_NAT` or `IPS_SRC_NAT`.
    Changed,
}

/// One way through the hooks, with one sequence of random choices.
pub(super) struct Course<'m, 'a> {
    pub(super) machine: &'m Machine<'a>,
    pub(super) flow: Flow,
    pub(super) updates: Vec<SetWrite>,
    pub(super) certain: bool,
    /// Sets and keys of the lookups that found no element.
    pub(super) missed: BTreeSet<(Name, Concat)>,
    /// The elements that the current statement has found.
    pub(super) found: Vec<Effect>,
    /// The base chain that the packet is in.
    pub(super) base: Option<BaseChain>,
    /// How much of the current commit the packet has seen.
    pub(super) clock: Clock,
    /// The table whose rules the packet meets in this base chain.
    pub(super) rules: Option<&'a Table>,
    draws: Draws<'m>,
    steps: Vec<Step>,
}

impl<'m, 'a> Course<'m, 'a> {
    pub(super) fn new(machine: &'m Machine<'a>, draws: Draws<'m>) -> Self {
        let packet = machine.packet;
        let flow = Flow {
            source: packet.source,
            destination: packet.destination,
            destination_port: packet.destination_port,
            protocol: packet.protocol,
            interface: match &packet.input {
                Input::Interface(name) => Some(name.clone()),
                Input::Local => None,
            },
            priority: 0,
            mark: 0,
            translated: None,
            destination_nat: Nat::Open,
            source_nat: Nat::Open,
        };
        Self {
            machine,
            flow,
            updates: Vec::new(),
            certain: true,
            missed: BTreeSet::new(),
            found: Vec::new(),
            base: None,
            clock: Clock::default(),
            rules: machine.commit.rules(Clock::default()),
            draws,
            steps: Vec::new(),
        }
    }

    /// Number of rules evaluated so far.
    pub(super) fn evaluated(&self) -> usize {
        self.steps.len()
    }

    /// Turns the course into a case with this fate.
    pub(super) fn into_case(self, fate: Fate, probability: Probability) -> Case {
        let certain = self.certain && !matches!(fate, Fate::Unknown(_));
        Case { probability, fate, updates: self.updates, steps: self.steps, certain, missed: self.missed }
    }

    /// The next random number below `modulus`.
    pub(super) fn draw(&mut self, modulus: u32) -> Result<u32, Stop> {
        if modulus <= 1 {
            return Ok(0);
        }
        match &mut self.draws {
            Draws::Given(draws) => draws.next().map(|draw| draw.value).ok_or(Stop::Draw(modulus)),
            Draws::Random(random) => Ok((random.next() % u64::from(modulus)) as u32),
        }
    }

    /// Runs the packet from the first hook to the last.
    pub(super) fn run(&mut self) -> Result<Fate, Stop> {
        if self.flow.interface.is_some() {
            self.hook(Hook::Prerouting)?;
            if self.is_for_this_node() {
                self.hook(Hook::Input)?;
            } else {
                if self.machine.family == Family::Ip {
                    // ip_forward() sets the priority by the type of service.
                    self.flow.priority = 0;
                }
                self.hook(Hook::Forward)?;
                self.hook(Hook::Postrouting)?;
            }
        } else {
            self.hook(Hook::Output)?;
            self.hook(Hook::Postrouting)?;
            if self.is_for_this_node() {
                // The packet comes back through the loopback interface; its connection is already known.
                self.flow.interface = Some("lo".into());
                self.hook(Hook::Prerouting)?;
                self.hook(Hook::Input)?;
            }
        }
        let masqueraded = self.flow.source_nat == Nat::Changed;
        Ok(self.flow.translated.map_or(Fate::Untouched { masqueraded }, |to| Fate::Sent { to, masqueraded }))
    }

    fn is_for_this_node(&self) -> bool {
        self.machine.host.is_local(self.flow.destination)
    }

    fn hook(&mut self, hook: Hook) -> Result<(), Stop> {
        self.pass(false)?;
        for (chain, base) in Machine::chains(hook, self.machine.commit.rules(self.clock)) {
            if !is_nat(base) || *self.nat(hook) == Nat::Open {
                self.base_chain(chain, base)?;
            }
        }
        let nat = self.nat(hook);
        if hook != Hook::Forward && *nat == Nat::Open {
            *nat = Nat::Unchanged;
        }
        Ok(())
    }

    /// The state of the side that nat chains at `hook` translate.
    const fn nat(&mut self, hook: Hook) -> &mut Nat {
        match hook {
            Hook::Prerouting | Hook::Output => &mut self.flow.destination_nat,
            Hook::Input | Hook::Forward | Hook::Postrouting => &mut self.flow.source_nat,
        }
    }

    /// Runs one base chain with all chains that it calls (`nft_do_chain`).
    fn base_chain(&mut self, chain: &'a Chain, base: BaseChain) -> Result<(), Stop> {
        self.base = Some(base);
        // The kernel reads here, once, which generation of rules the packet meets.
        self.pass(false)?;
        self.rules = self.machine.commit.rules(self.clock);
        let Some(chain) = self.rules.and_then(|table| table.chains.get(&chain.name)) else { return Ok(()) };
        let mut callers: Vec<(&'a Chain, usize)> = Vec::new();
        let (mut chain, mut next) = (chain, 0);
        loop {
            let decision = match chain.rules.get(next) {
                None => Decision::Verdict(Verdict::Return),
                Some(rule) => self.step(chain, next, callers.len(), rule)?,
            };
            next = next.saturating_add(1);
            match decision {
                Decision::NoMatch(_) | Decision::Continue | Decision::Unknown(_) => {}
                Decision::Verdict(Verdict::Jump(_)) if callers.len() >= JUMPS => {
                    return Err(Stop::End(Fate::Dropped));
                }
                Decision::Verdict(Verdict::Jump(name)) => {
                    callers.push((chain, next));
                    (chain, next) = self.enter(&name, chain);
                }
                Decision::Verdict(Verdict::Goto(name)) => (chain, next) = self.enter(&name, chain),
                Decision::Verdict(Verdict::Return) => match callers.pop() {
                    Some(caller) => (chain, next) = caller,
                    None => return Ok(()),
                },
                Decision::Verdict(Verdict::Accept) | Decision::Translate(_) | Decision::Masquerade => {
                    return Ok(());
                }
                Decision::Verdict(Verdict::Drop) => return Err(Stop::End(Fate::Dropped)),
                Decision::Reject(with) => return Err(Stop::End(Fate::Rejected(with))),
            }
        }
    }

    /// Returns the start of the chain with this name, which [`super::rule`] has found to exist. The chain may have no
    /// rules in the generation of rules that the packet meets: then the position is the end of a chain.
    fn enter(&self, name: &Name, from: &'a Chain) -> (&'a Chain, usize) {
        let chain = self.rules.and_then(|table| table.chains.get(name));
        chain.map_or((from, usize::MAX), |chain| (chain, 0))
    }

    /// Evaluates one rule and notes what it did.
    fn step(&mut self, chain: &'a Chain, index: usize, depth: usize, rule: &Rule) -> Result<Decision, Stop> {
        if self.steps.len() >= self.machine.rules_per_course {
            return Err(Stop::End(Fate::Unknown(UnknownReason::TooManyRules)));
        }
        let mut effects = Vec::new();
        let decision = self.rule(chain, index, rule, &mut effects)?;
        let Some(base) = self.base else { return Ok(decision) };
        self.steps.push(Step {
            hook: base.hook,
            chain: chain.name.clone(),
            depth,
            rule: index,
            text: self.machine.text(chain, index, None, rule),
            effects,
            decision: decision.clone(),
        });
        Ok(decision)
    }
}

fn is_nat(base: BaseChain) -> bool {
    base.chain_type == ChainType::Nat
}
