//! What may become of a packet that is in flight while an update is committed.

use std::{
    cell::OnceCell,
    collections::{BTreeSet, HashSet},
    net::{IpAddr, SocketAddr},
};

use portolan_rules::{
    plane::endpoint_from_value,
    ruleset::{Concat, Element, ElementData, Family, Ruleset, Value},
    simulate::{Fate, Host, Lookups, Memory, Moment, Packet, simulate},
};

/// The rulesets before and after an update, each with the host that it is for.
pub struct Rulesets {
    memory: Memory,
    old: (Ruleset, Host),
    new: (Ruleset, Host),
    /// The node's addresses and the ServiceCIDRs are looked up separately from Services, so they may change before the
    /// Services or after them.
    before_them: Ruleset,
    after_them: [Ruleset; 3],
}

impl Rulesets {
    pub fn new(old: (Ruleset, Host), new: (Ruleset, Host), memory: Memory) -> Self {
        let with = |rules: &Ruleset, others: &Ruleset, set: &str| {
            let mut rules = rules.clone();
            for (family, table) in &mut rules.tables {
                table.add_set(others.tables[family].sets[set].clone());
            }
            rules
        };
        // Whether an address of the node has a frontend at the port of a node port is looked up separately, too.
        let mut not_yet = new.0.clone();
        for (family, table) in &mut not_yet.tables {
            let old = &old.0.tables[family].sets["frontends"].elements;
            table.sets["frontends"].elements.retain(|key, _| old.contains_key(key));
        }
        let [addresses, networks] = ["node-addresses", "service-cidrs"].map(|set| with(&new.0, &old.0, set));
        let after_them = [addresses, networks, not_yet];
        let before_them = with(&old.0, &new.0, "service-cidrs");
        Self { memory, old, new, before_them, after_them }
    }

    fn fates(&self, rules: &Ruleset, host: &Host, packet: &Packet) -> HashSet<Fate> {
        simulate(rules, host, packet, &self.memory).fates().into_keys().collect()
    }

    fn after(&self, packet: &Packet) -> HashSet<Fate> {
        let all = [&self.new.0].into_iter().chain(&self.after_them);
        all.flat_map(|rules| self.fates(rules, &self.new.1, packet)).collect()
    }
}

/// A packet, and what may become of it, which is computed only for unusual fates.
pub struct Meant<'a> {
    rulesets: &'a Rulesets,
    pub packet: Packet,
    /// Some fates that the packet may have once the update is complete.
    pub usual: HashSet<Fate>,
    either: OnceCell<Allowed>,
    after: OnceCell<Allowed>,
}

impl<'a> Meant<'a> {
    pub fn new(rulesets: &'a Rulesets, packet: Packet) -> Self {
        let (new, host) = &rulesets.new;
        let done = Moment { before: new, after: new, lookups: Lookups::Repeated };
        let usual = (0..2).map(|seed| done.sample(host, &packet, &rulesets.memory, seed).fate).collect();
        Self { rulesets, packet, usual, either: OnceCell::new(), after: OnceCell::new() }
    }

    pub fn either(&self) -> &Allowed {
        let Rulesets { old, new, before_them, .. } = self.rulesets;
        self.either.get_or_init(|| {
            let mut fates = self.rulesets.after(&self.packet);
            // The host's addresses change independently of the rules.
            for (rules, host) in [(&old.0, &old.1), (&old.0, &new.1), (before_them, &new.1)] {
                fates.extend(self.rulesets.fates(rules, host, &self.packet));
            }
            Allowed::new(&self.packet, fates, self.rulesets, &[&old.0, &new.0])
        })
    }

    pub fn after(&self) -> &Allowed {
        let fates = || self.rulesets.after(&self.packet);
        self.after.get_or_init(|| Allowed::new(&self.packet, fates(), self.rulesets, &[&self.rulesets.new.0]))
    }
}

/// What may become of a packet: any endpoint of the rulesets, masqueraded as in any of them. A packet that a pod sends
/// to itself may always be masqueraded: otherwise it does not get there.
pub struct Allowed {
    source: IpAddr,
    fates: HashSet<Fate>,
    endpoints: HashSet<SocketAddr>,
    masqueraded: HashSet<bool>,
}

impl Allowed {
    pub fn new(packet: &Packet, fates: HashSet<Fate>, updates: &Rulesets, rulesets: &[&Ruleset]) -> Self {
        let is_local = |address| updates.old.1.is_local(address) || updates.new.1.is_local(address);
        let sent: Vec<_> = fates.iter().filter_map(|fate| sent(*fate)).collect();
        // A client that one ruleset admits may be led to an endpoint of the other.
        let others = rulesets.iter().filter(|_| !sent.is_empty()).flat_map(|rules| behind(rules, packet));
        let mut masqueraded: HashSet<bool> = sent.iter().map(|(_, masqueraded)| *masqueraded).collect();
        if sent.iter().any(|(to, _)| is_local(to.ip())) {
            // A packet that stays on this node is not masqueraded, whether it is marked or not. Another endpoint may
            // be elsewhere.
            masqueraded.extend([true, false]);
        }
        Self {
            source: packet.source,
            endpoints: sent.iter().map(|(to, _)| *to).chain(others).collect(),
            masqueraded,
            fates,
        }
    }

    pub fn contains(&self, fate: Fate) -> bool {
        let mixed = |(to, masqueraded): (SocketAddr, bool)| {
            self.endpoints.contains(&to)
                && (self.masqueraded.contains(&masqueraded) || masqueraded && to.ip() == self.source)
        };
        self.fates.contains(&fate) || sent(fate).is_some_and(mixed)
    }

    pub fn words(&self) -> BTreeSet<String> {
        self.fates.iter().map(ToString::to_string).collect()
    }
}

/// The endpoints behind the frontend that a packet is addressed to, whatever its source.
fn behind(rules: &Ruleset, packet: &Packet) -> Vec<SocketAddr> {
    let family = Family::of(packet.destination);
    let port = [Value::Proto(packet.protocol), Value::Port(packet.destination_port)];
    let address = Concat::new(&[&[packet.destination.into()], &port[..]].concat());
    let maps = [("endpoints", address), ("node-endpoints", Concat::new(&port))];
    let table = &rules.tables[&family];
    let found = maps.iter().flat_map(|(map, frontend)| {
        let elements = table.sets[*map].elements.iter();
        elements.filter(|(key, _)| key.as_bytes().starts_with(frontend.as_bytes()))
    });
    let value = |element: &Element| match &element.data {
        ElementData::Value(value) => endpoint_from_value(family, value),
        _ => None,
    };
    found.filter_map(|(_, element)| value(element)).collect()
}

fn sent(fate: Fate) -> Option<(SocketAddr, bool)> {
    match fate {
        Fate::Sent { to, masqueraded } => Some((to, masqueraded)),
        _ => None,
    }
}
