//! Turns the kernel's instructions back into a rule, by keeping track of what each register holds.
//!
//! Every guess is checked at the end: the rule must translate into exactly these instructions.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use portolan_rules::ruleset::{
    BitOp, Expression, Family, Field, MatchOp, MatchValue, RejectWith, Rule, Statement, WritableField,
};

use super::{
    instruction::{Bytes, Destination, Instruction, Register},
    linearize::{
        address_length, address_offset, mask, number, port_register, port_unreachable, translate,
        writable_key,
    },
    uapi::{
        IFNAMSIZ, IPS_DST_NAT, NF_NAT_RANGE_PROTO_RANDOM_FULLY, NFT_CMP_EQ, NFT_CMP_NEQ, NFT_CT_STATUS,
        NFT_FIB_RESULT_ADDRTYPE, NFT_META_IIFNAME, NFT_META_L4PROTO, NFT_META_MARK, NFT_META_PRIORITY,
        NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER, NFT_REJECT_ICMP_UNREACH,
        NFT_REJECT_TCP_RST, NFTA_FIB_F_DADDR, NFTA_FIB_F_SADDR, RTN_LOCAL,
    },
};

/// The rule that these instructions are the translation of, if there is one.
pub(super) fn delinearize(family: Family, instructions: &[Instruction]) -> Option<Rule> {
    let mut reader = Reader { family, registers: Vec::new(), statements: Vec::new() };
    for instruction in instructions {
        reader.step(instruction)?;
    }
    let rule = Rule::new(reader.statements);
    (translate(family, &rule).ok()? == instructions).then_some(rule)
}

/// The rule that these instructions are the translation of, or one foreign statement that names them.
pub(super) fn delinearize_or_foreign(family: Family, instructions: &[Instruction]) -> Rule {
    delinearize(family, instructions).unwrap_or_else(|| {
        let names: Vec<_> = instructions.iter().map(Instruction::name).collect();
        Rule::new([Statement::Foreign(names.join(", "))])
    })
}

/// What a register holds.
enum Held {
    Value(Expression),
    /// The first bytes of an address.
    Beginning {
        field: Field,
        length: u8,
    },
    /// An address with some bits masked out.
    Masked {
        field: Field,
        mask: Bytes,
    },
}

struct Reader {
    family: Family,
    /// What the registers hold that no instruction has used yet, in the registers' order. What has been
    /// used is forgotten: Portolan and nft never use it twice.
    registers: Vec<(Register, Held)>,
    statements: Vec<Statement>,
}

impl Reader {
    fn put(&mut self, register: Register, held: Held) {
        self.registers.retain(|(other, _)| *other != register);
        let place = self.registers.partition_point(|(other, _)| *other < register);
        self.registers.insert(place, (register, held));
    }

    fn value(&mut self, register: Register, expression: Expression) {
        self.put(register, Held::Value(expression));
    }

    fn statement(&mut self, statement: Statement) {
        self.statements.push(statement);
    }

    /// Takes the one thing that the registers from `register` on hold.
    fn take_one(&mut self, register: Register) -> Option<Held> {
        let (at, held) = self.registers.pop()?;
        (at == register).then_some(held)
    }

    /// Takes the values that the registers from `register` on hold, as one expression.
    fn take(&mut self, register: Register) -> Option<Expression> {
        let start = self.registers.partition_point(|(other, _)| *other < register);
        let mut values = self.registers.drain(start..).map(|(_, held)| match held {
            Held::Value(expression) => Some(expression),
            Held::Beginning { .. } | Held::Masked { .. } => None,
        });
        let first = values.next()??;
        let rest: Option<Vec<_>> = values.collect();
        let mut rest = rest?;
        if rest.is_empty() {
            return Some(first);
        }
        rest.insert(0, first);
        Some(Expression::Concat(rest))
    }

    /// Adds one instruction; `None` if no statement of the model has it in this place.
    fn step(&mut self, instruction: &Instruction) -> Option<()> {
        match instruction {
            Instruction::Payload { base, offset, length, to } => {
                let held = self.payload(*base, *offset, *length)?;
                self.put(*to, held);
            }
            Instruction::Meta { key, to } => self.value(*to, Expression::Field(meta_field(*key)?)),
            Instruction::Conntrack { key: NFT_CT_STATUS, to } => {
                self.value(*to, Expression::Field(Field::ConntrackStatus));
            }
            Instruction::Fib { result: NFT_FIB_RESULT_ADDRTYPE, flags, to } => {
                let field = match *flags {
                    NFTA_FIB_F_SADDR => Field::SourceAddressType,
                    NFTA_FIB_F_DADDR => Field::DestinationAddressType,
                    _ => return None,
                };
                self.value(*to, Expression::Field(field));
            }
            Instruction::Immediate { to, data } => self.value(*to, Expression::Constant(number(data)?)),
            Instruction::Random { to, modulus, offset } => {
                self.value(*to, Expression::Random { modulus: *modulus, offset: *offset });
            }
            Instruction::Hash { from, to, modulus, seed, offset, .. } => {
                let key = Box::new(self.take(*from)?);
                let (modulus, seed, offset) = (*modulus, *seed, *offset);
                self.value(*to, Expression::Hash { key, modulus, seed, offset });
            }
            Instruction::Bitwise { from, to, mask, xor } => {
                let held = self.take_one(*from)?;
                self.put(*to, bitwise(held, mask, xor)?);
            }
            Instruction::Compare { from, op, data } => {
                let held = self.take_one(*from)?;
                let statement = self.compare(held, *op, data)?;
                self.statement(statement);
            }
            Instruction::Lookup { set, from, to, inverted } => {
                let (key, set, negated) = (self.take(*from)?, set.clone(), *inverted);
                match to {
                    Destination::Nowhere => self.statement(Statement::InSet { key, set, negated }),
                    Destination::Verdict => self.statement(Statement::VerdictMap { key, map: set }),
                    Destination::Register(to) => self.value(*to, key.lookup(set)),
                }
            }
            Instruction::SetMeta { key, from } => {
                let field = [WritableField::Priority, WritableField::Mark]
                    .into_iter()
                    .find(|field| writable_key(*field) == *key)?;
                let value = self.take(*from)?;
                self.statement(Statement::Set { field, value });
            }
            Instruction::Update { set, key, data, timeout_ms } => {
                let data = match data {
                    Some(register) => Some(self.take(*register)?),
                    None => None,
                };
                let (set, key, timeout_ms) = (set.clone(), self.take(*key)?, *timeout_ms);
                self.statement(Statement::Update { set, key, timeout_ms, data });
            }
            Instruction::Delete { set, key, data } => {
                let data = match data {
                    Some(register) => Some(self.take(*register)?),
                    None => None,
                };
                let (set, key) = (set.clone(), self.take(*key)?);
                self.statement(Statement::Delete { set, key, data });
            }
            Instruction::Dnat { address, port, .. } => {
                let Held::Value(Expression::Lookup { key, map }) = self.take_one(*address)? else {
                    return None;
                };
                if port_register(self.family, *address)? != *port {
                    return None;
                }
                self.statement(Statement::Dnat { key: *key, map });
            }
            Instruction::Masquerade { flags: NF_NAT_RANGE_PROTO_RANDOM_FULLY } => {
                self.statement(Statement::Masquerade);
            }
            Instruction::Reject { kind: NFT_REJECT_TCP_RST, .. } => {
                self.statement(Statement::Reject(RejectWith::TcpReset));
            }
            Instruction::Reject { kind: NFT_REJECT_ICMP_UNREACH, code }
                if *code == port_unreachable(self.family) =>
            {
                self.statement(Statement::Reject(RejectWith::PortUnreachable));
            }
            Instruction::Verdict(verdict) => self.statement(Statement::Verdict(verdict.clone())),
            _ => return None,
        }
        Some(())
    }

    fn payload(&self, base: u32, offset: u32, length: u32) -> Option<Held> {
        if (base, offset, length) == (NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2) {
            return Some(Held::Value(Expression::Field(Field::DestinationPort)));
        }
        let field = [Field::SourceAddress, Field::DestinationAddress]
            .into_iter()
            .find(|field| address_offset(self.family, *field) == Some(offset))
            .filter(|_| base == NFT_PAYLOAD_NETWORK_HEADER)?;
        let length = u8::try_from(length).ok()?;
        Some(if length == address_length(self.family) {
            Held::Value(Expression::Field(field))
        } else {
            Held::Beginning { field, length }
        })
    }

    fn compare(&self, held: Held, op: u32, data: &[u8]) -> Option<Statement> {
        let (op, opposite) = match op {
            NFT_CMP_EQ => (MatchOp::Equal, MatchOp::NotEqual),
            NFT_CMP_NEQ => (MatchOp::NotEqual, MatchOp::Equal),
            _ => return None,
        };
        let (left, op, right) = match held {
            Held::Beginning { field, length } => {
                (Expression::Field(field), op, self.prefix(data, length.checked_mul(8)?)?)
            }
            Held::Masked { field, mask: bits } => {
                let length = bits.iter().map(|byte| byte.count_ones() as u8).sum();
                if mask(length, bits.len()) != bits {
                    return None;
                }
                (Expression::Field(field), op, self.prefix(data, length)?)
            }
            Held::Value(left) => match &left {
                Expression::Field(Field::L4Proto) => (left, op, MatchValue::Proto(*data.first()?)),
                Expression::Field(Field::SourceAddress | Field::DestinationAddress) => {
                    (left, op, self.prefix(data, address_length(self.family) * 8)?)
                }
                Expression::Field(Field::SourceAddressType | Field::DestinationAddressType)
                    if number(data)? == RTN_LOCAL =>
                {
                    (left, op, MatchValue::Local)
                }
                Expression::Field(Field::InputInterface) => (left, op, interface(data)?),
                Expression::Bitwise { op: BitOp::And, left: masked, right: IPS_DST_NAT }
                    if **masked == Expression::Field(Field::ConntrackStatus) && number(data)? == 0 =>
                {
                    (Expression::Field(Field::ConntrackStatus), opposite, MatchValue::Dnat)
                }
                _ => (left, op, MatchValue::Number(number(data)?)),
            },
        };
        Some(Statement::Match { left, op, right })
    }

    /// The prefix of `bits` bits that begins with these bytes.
    fn prefix(&self, data: &[u8], bits: u8) -> Option<MatchValue> {
        let mut octets = [0; 16];
        octets.get_mut(..data.len())?.copy_from_slice(data);
        let address = match self.family {
            Family::Ip => Ipv4Addr::from(*octets.first_chunk::<4>()?).into(),
            Family::Ip6 => Ipv6Addr::from(octets).into(),
        };
        Some(MatchValue::Prefix(IpNetwork::new(address, bits).ok()?))
    }
}

const fn meta_field(key: u32) -> Option<Field> {
    match key {
        NFT_META_L4PROTO => Some(Field::L4Proto),
        NFT_META_PRIORITY => Some(Field::Priority),
        NFT_META_MARK => Some(Field::Mark),
        NFT_META_IIFNAME => Some(Field::InputInterface),
        _ => None,
    }
}

fn interface(data: &[u8]) -> Option<MatchValue> {
    let prefix = data.len() < IFNAMSIZ;
    let name = data.split(|byte| *byte == 0).next()?;
    Some(MatchValue::Interface { name: std::str::from_utf8(name).ok()?.into(), prefix })
}

/// `(held & mask) ^ xor` as operations of the model. The mask keeps some bits, the operand of `^` flips some
/// of those, that of `|` sets some of the others.
fn bitwise(held: Held, mask: &[u8], xor: &[u8]) -> Option<Held> {
    let expression = match held {
        Held::Value(Expression::Field(field @ (Field::SourceAddress | Field::DestinationAddress))) => {
            return xor
                .iter()
                .all(|byte| *byte == 0)
                .then(|| Held::Masked { field, mask: Bytes::from_slice(mask) });
        }
        Held::Value(expression) => expression,
        Held::Beginning { .. } | Held::Masked { .. } => return None,
    };
    let (mask, xor) = (number(mask)?, number(xor)?);
    let (set, flip) = (!mask & xor, mask & xor);
    let expression = if mask | set == u32::MAX { expression } else { expression.bitwise(BitOp::And, mask) };
    let expression = if flip == 0 { expression } else { expression.bitwise(BitOp::Xor, flip) };
    let expression = if set == 0 { expression } else { expression.bitwise(BitOp::Or, set) };
    Some(Held::Value(expression))
}
