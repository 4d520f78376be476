//! Rules and statements.

use std::net::{IpAddr, SocketAddr};

use super::{
    evaluate::{IPS_DST_NAT, NoValue, RTN_LOCAL, as_number},
    outcome::{Action, Decision, Effect, SetWrite},
    walk::{Course, Nat, Stop},
};
use crate::ruleset::{
    Chain, ChainType, Concat, ElementData, Expression, Field, Hook, MatchOp, MatchValue, Name, RejectWith,
    Rule, Set, SetData, Statement, Value, Verdict, WritableField,
};

/// Size of a dynamic set that declares none (`nft_dynset_init`).
const DYNAMIC_SIZE: usize = 0xffff;

/// How a statement ends. Without a decision, the rule continues.
type Ended = Result<Option<Decision>, NoValue>;

impl Course<'_, '_> {
    /// Evaluates a rule up to the first statement that decides.
    pub(super) fn rule(
        &mut self,
        chain: &Chain,
        index: usize,
        rule: &Rule,
        effects: &mut Vec<Effect>,
    ) -> Result<Decision, Stop> {
        for (i, statement) in rule.statements.iter().enumerate() {
            let before = effects.len();
            let ended = self.statement(statement, effects);
            effects.splice(before..before, self.found.drain(..));
            match ended {
                Ok(None) => {}
                Ok(Some(decision)) => return Ok(decision),
                Err(NoValue::Miss) => {
                    return Ok(Decision::NoMatch(self.machine.text(chain, index, Some(i), rule)));
                }
                Err(NoValue::Unknown(why)) => {
                    self.certain = false;
                    return Ok(Decision::Unknown(why));
                }
                Err(NoValue::Stop(stop)) => return Err(stop),
            }
        }
        Ok(Decision::Continue)
    }

    fn statement(&mut self, statement: &Statement, effects: &mut Vec<Effect>) -> Ended {
        match statement {
            Statement::Match { left, op, right } => {
                let equal = self.compare(left, right)?;
                unless_missed(equal == (*op == MatchOp::Equal))
            }
            Statement::InSet { key, set, negated } => {
                let key = self.evaluate(key)?;
                let found = self.find(set, &key)?.is_some();
                unless_missed(found != *negated)
            }
            Statement::Set { field, value } => {
                let value = self.number(value)?;
                match field {
                    WritableField::Priority => self.flow.priority = value,
                    WritableField::Mark => self.flow.mark = value,
                }
                effects.push(Effect::Set(*field, value));
                Ok(None)
            }
            Statement::VerdictMap { key, map } => {
                let key = self.evaluate(key)?;
                match self.find(map, &key)?.ok_or(NoValue::Miss)? {
                    ElementData::Verdict(verdict) => self.verdict(&verdict),
                    _ => Err(NoValue::Unknown("the map holds no verdicts")),
                }
            }
            Statement::Update { set, key, timeout_ms, data } => {
                self.update(set, key, *timeout_ms, data.as_ref())?;
                effects.push(Effect::Updated(set.clone()));
                Ok(None)
            }
            Statement::Delete { set, key, data } => {
                let key = self.dynamic_key(set, key, data.as_ref())?.0;
                let family = self.machine.family;
                self.updates.push(SetWrite { family, set: set.clone(), key, action: Action::Delete });
                effects.push(Effect::Deleted(set.clone()));
                Ok(None)
            }
            Statement::Dnat { key, map } => self.dnat(key, map),
            Statement::Masquerade => {
                if !self.is_in(ChainType::Nat, &[Hook::Postrouting]) {
                    return Err(NoValue::Unknown("the kernel takes masquerade in nat postrouting only"));
                }
                self.flow.source_nat = Nat::Changed;
                Ok(Some(Decision::Masquerade))
            }
            Statement::Reject(_) if self.base.is_some_and(|base| base.hook == Hook::Postrouting) => {
                Err(NoValue::Unknown("the kernel takes no reject in postrouting"))
            }
            // Only TCP can be answered with a reset; any other packet is dropped.
            Statement::Reject(RejectWith::TcpReset) if self.flow.protocol != 6 => {
                self.verdict(&Verdict::Drop)
            }
            Statement::Reject(with) => Ok(Some(Decision::Reject(*with))),
            Statement::Verdict(verdict) => self.verdict(verdict),
            Statement::Foreign(text) => {
                self.certain = false;
                effects.push(Effect::Unknown(text.as_str().into()));
                Ok(None)
            }
        }
    }

    fn verdict(&self, verdict: &Verdict) -> Ended {
        match verdict.target() {
            Some(chain) if !self.machine.commit.has_chain(chain) => {
                Err(NoValue::Unknown("there is no such chain"))
            }
            _ => Ok(Some(Decision::Verdict(verdict.clone()))),
        }
    }

    /// Whether the two sides of a match are equal.
    fn compare(&mut self, left: &Expression, right: &MatchValue) -> Result<bool, NoValue> {
        let bytes = self.evaluate(left)?;
        let bytes = bytes.as_bytes();
        match right {
            MatchValue::Proto(number) => Ok(bytes.first() == Some(number)),
            MatchValue::Prefix(network) => {
                let address = match bytes.len() {
                    4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
                    16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
                    _ => None,
                };
                match address {
                    Some(address) if address.is_ipv4() == network.is_ipv4() => Ok(network.contains(address)),
                    _ => Err(NoValue::Unknown("a prefix of another family")),
                }
            }
            MatchValue::Number(number) => Ok(as_number(bytes)? == *number),
            MatchValue::Local => Ok(as_number(bytes)? == RTN_LOCAL),
            MatchValue::Dnat if matches!(left, Expression::Field(Field::ConntrackStatus)) => {
                Ok(as_number(bytes)? & IPS_DST_NAT != 0)
            }
            MatchValue::Dnat => Err(NoValue::Unknown("dnat is a bit of ct status only")),
            MatchValue::Interface { name, prefix } => {
                let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                let actual = bytes.split_at(end).0;
                Ok(if *prefix { actual.starts_with(name.as_bytes()) } else { actual == name.as_bytes() })
            }
        }
    }

    fn update(
        &mut self,
        name: &Name,
        key: &Expression,
        timeout_ms: u64,
        data: Option<&Expression>,
    ) -> Result<(), NoValue> {
        let (key, data) = self.dynamic_key(name, key, data)?;
        let set = self.set(name)?;
        if self.find(name, &key)?.is_none() && self.count(set) >= size(set) {
            // A full set takes no more elements, and the rule ends.
            return Err(NoValue::Miss);
        }
        let family = self.machine.family;
        self.updates.push(SetWrite {
            family,
            set: name.clone(),
            key,
            action: Action::Update { data, timeout_ms },
        });
        Ok(())
    }

    /// The key and data of a dynamic element, which must be of the set's types.
    fn dynamic_key(
        &mut self,
        name: &Name,
        key: &Expression,
        data: Option<&Expression>,
    ) -> Result<(Concat, Option<Concat>), NoValue> {
        let key = self.evaluate(key)?;
        let data = data.map(|data| self.evaluate(data)).transpose()?;
        let set = self.set(name)?;
        let fits = match (&set.data, &data) {
            (SetData::None, None) => true,
            (SetData::Value(types), Some(data)) => data.values(types).is_some(),
            _ => false,
        };
        if !fits {
            return Err(NoValue::Unknown("the element does not fit the set"));
        }
        Ok((key, data))
    }

    /// Number of elements of a dynamic set, including those of this packet.
    fn count(&self, set: &Set) -> usize {
        let mut memory = self.machine.memory.clone();
        self.updates.iter().for_each(|update| memory.update(update));
        set.elements.len() + memory.count(self.machine.family, &set.name)
    }

    fn dnat(&mut self, key: &Expression, map: &Name) -> Ended {
        if !self.is_in(ChainType::Nat, &[Hook::Prerouting, Hook::Output]) {
            return Err(NoValue::Unknown("the kernel takes dnat in nat prerouting and output only"));
        }
        let key = self.evaluate(key)?;
        let ElementData::Value(data) = self.find(map, &key)?.ok_or(NoValue::Miss)? else {
            return Err(NoValue::Unknown("the map holds no addresses"));
        };
        let SetData::Value(types) = &self.set(map)?.data else {
            return Err(NoValue::Unknown("the map holds no addresses"));
        };
        let to = match data.values(types).as_deref() {
            Some(&[Value::Ipv4(address), Value::Port(port)]) => SocketAddr::from((address, port)),
            Some(&[Value::Ipv6(address), Value::Port(port)]) => SocketAddr::from((address, port)),
            _ => return Err(NoValue::Unknown("the map holds no addresses with ports")),
        };
        if to.is_ipv4() != self.flow.destination.is_ipv4() {
            return Err(NoValue::Unknown("an address of another family"));
        }
        let before = SocketAddr::new(self.flow.destination, self.flow.destination_port);
        // `ct status` shows a translation only if it changes the destination.
        self.flow.destination_nat = if to == before { Nat::Unchanged } else { Nat::Changed };
        self.flow.destination = to.ip();
        self.flow.destination_port = to.port();
        self.flow.translated = Some(to);
        Ok(Some(Decision::Translate(to)))
    }

    fn is_in(&self, chain_type: ChainType, hooks: &[Hook]) -> bool {
        self.base.is_some_and(|base| base.chain_type == chain_type && hooks.contains(&base.hook))
    }
}

fn unless_missed(matched: bool) -> Ended {
    if matched { Ok(None) } else { Err(NoValue::Miss) }
}

fn size(set: &Set) -> usize {
    set.size.map_or(DYNAMIC_SIZE, |size| size as usize)
}
