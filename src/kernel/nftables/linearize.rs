//! Turns a rule into the expressions that nft would send for it, so that a table written here equals one that nft loads
//! from text, and nft can list both.

use std::{ffi::CStr, net::IpAddr};

use ipnetwork::IpNetwork;
use portolan_rules::ruleset::{
    BitOp, Expression, Family, Field, MatchOp, MatchValue, RejectWith, Rule, Statement, WritableField,
};

use super::{
    libnftnl::{self, Bytes, Value, Values, attributes},
    uapi::*,
    verdict::verdict_code,
    wire::checked,
};

/// Returns the expressions of a rule. Fails with the reason if the kernel cannot hold the rule.
pub(super) fn linearize(family: Family, rule: &Rule) -> Result<Vec<libnftnl::Expression>, String> {
    let mut program = Program { family, expressions: Vec::new(), taken: 0 };
    for statement in &rule.statements {
        program.statement(statement)?;
    }
    let count = program.expressions.len();
    if count > NFT_RULE_MAXEXPRS {
        return Err(format!("{count} expressions; the kernel takes {NFT_RULE_MAXEXPRS}"));
    }
    Ok(program.expressions)
}

/// A register, counted in 4-byte words from the first. The kernel has 16 of them (`NFT_REG32_00` …).
#[derive(Clone, Copy)]
struct Register(usize);

const FIRST: Register = Register(0);

impl Register {
    const COUNT: usize = 16;

    /// The register after `bytes` bytes, rounded up to whole registers.
    fn after(self, bytes: usize) -> Result<Self, String> {
        let word = self.0 + bytes.div_ceil(4);
        if word >= Self::COUNT {
            return Err("the values need more registers than the kernel has".to_owned());
        }
        Ok(Self(word))
    }
}

impl Value for Register {
    /// The number that nft sends: one of the older 16-byte registers (`NFT_REG_1` …) where possible.
    fn bytes(self) -> Bytes {
        let word = self.0 as u32;
        (if word.is_multiple_of(4) { 1 + word / 4 } else { 8 + word }).bytes()
    }
}

/// Length of the register that nft uses for every value that is not a concatenation, in bytes.
const WHOLE_REGISTER: usize = 16;

struct Program {
    family: Family,
    expressions: Vec<libnftnl::Expression>,
    /// Length in bytes of the first registers, which are reserved for values; a hash loads its key after them.
    taken: usize,
}

impl Program {
    fn push(&mut self, name: &'static CStr, attributes: Values) {
        self.expressions.push(libnftnl::Expression { name, attributes });
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), String> {
        match statement {
            Statement::Match { left, op, right } => self.compare(left, *op, right)?,
            Statement::InSet { key, set, negated } => {
                self.value(key)?;
                let flags =
                    if *negated { attributes![NFTNL_EXPR_LOOKUP_FLAGS => NFT_LOOKUP_F_INV] } else { vec![] };
                self.lookup(set, FIRST, flags)?;
            }
            Statement::Set { field, value } => {
                self.value(value)?;
                let key = match field {
                    WritableField::Priority => NFT_META_PRIORITY,
                    WritableField::Mark => NFT_META_MARK,
                };
                self.push(c"meta", attributes![NFTNL_EXPR_META_KEY => key, NFTNL_EXPR_META_SREG => FIRST]);
            }
            Statement::VerdictMap { key, map } => {
                self.value(key)?;
                self.lookup(map, FIRST, attributes![NFTNL_EXPR_LOOKUP_DREG => NFT_REG_VERDICT])?;
            }
            Statement::Update { set, key, timeout_ms, data } => {
                let timeout = attributes![NFTNL_EXPR_DYNSET_TIMEOUT => *timeout_ms];
                self.dynset(NFT_DYNSET_OP_UPDATE, set, key, data.as_ref(), timeout)?;
            }
            Statement::Delete { set, key, data } => {
                self.dynset(NFT_DYNSET_OP_DELETE, set, key, data.as_ref(), Vec::new())?;
            }
            Statement::Dnat { key, map } => {
                self.value(key)?;
                self.lookup(map, FIRST, attributes![NFTNL_EXPR_LOOKUP_DREG => FIRST])?;
                let port = FIRST.after(self.family.address_type().size())?;
                let attributes = attributes![
                    NFTNL_EXPR_NAT_TYPE => NFT_NAT_DNAT,
                    NFTNL_EXPR_NAT_FAMILY => u32::from(self.family.number()),
                    NFTNL_EXPR_NAT_REG_ADDR_MIN => FIRST,
                    NFTNL_EXPR_NAT_REG_PROTO_MIN => port,
                ];
                self.push(c"nat", attributes);
            }
            Statement::Masquerade => {
                self.push(c"masq", attributes![NFTNL_EXPR_MASQ_FLAGS => NF_NAT_RANGE_PROTO_RANDOM_FULLY]);
            }
            Statement::Reject(with) => {
                let (kind, code) = match (with, self.family) {
                    (RejectWith::TcpReset, _) => (NFT_REJECT_TCP_RST, 0),
                    // "Port unreachable" in ICMP and in ICMPv6.
                    (RejectWith::PortUnreachable, Family::Ip) => (NFT_REJECT_ICMP_UNREACH, 3_u8),
                    (RejectWith::PortUnreachable, Family::Ip6) => (NFT_REJECT_ICMP_UNREACH, 4),
                };
                let attributes = attributes![NFTNL_EXPR_REJECT_TYPE => kind, NFTNL_EXPR_REJECT_CODE => code];
                self.push(c"reject", attributes);
            }
            Statement::Verdict(verdict) => {
                let (code, chain) = verdict_code(verdict);
                let mut attributes = attributes![
                    NFTNL_EXPR_IMM_DREG => NFT_REG_VERDICT,
                    NFTNL_EXPR_IMM_VERDICT => code.cast_unsigned(),
                ];
                if let Some(chain) = chain {
                    attributes.extend(attributes![NFTNL_EXPR_IMM_CHAIN => checked(chain)?]);
                }
                self.push(c"immediate", attributes);
            }
            Statement::Foreign(what) => return Err(format!("not one of Portolan's statements: {what}")),
        }
        Ok(())
    }

    /// Looks up the value in the registers from `from` on.
    fn lookup(&mut self, set: &str, from: Register, more: Values) -> Result<(), String> {
        let mut attributes =
            attributes![NFTNL_EXPR_LOOKUP_SREG => from, NFTNL_EXPR_LOOKUP_SET => checked(set)?];
        attributes.extend(more);
        self.push(c"lookup", attributes);
        Ok(())
    }

    fn dynset(
        &mut self,
        operation: c_int,
        set: &str,
        key: &Expression,
        data: Option<&Expression>,
        more: Values,
    ) -> Result<(), String> {
        let length = self.value(key)?;
        let mut attributes = attributes![
            NFTNL_EXPR_DYNSET_SREG_KEY => FIRST,
            NFTNL_EXPR_DYNSET_OP => operation,
            NFTNL_EXPR_DYNSET_SET_NAME => checked(set)?,
        ];
        if let Some(data) = data {
            let to = FIRST.after(length.next_multiple_of(WHOLE_REGISTER))?;
            self.load(data, to)?;
            attributes.extend(attributes![NFTNL_EXPR_DYNSET_SREG_DATA => to]);
        }
        attributes.extend(more);
        self.push(c"dynset", attributes);
        Ok(())
    }

    /// Loads a statement's value into the first registers. Returns its length in bytes, with padding.
    fn value(&mut self, expression: &Expression) -> Result<usize, String> {
        let length = match expression {
            Expression::Concat(_) => self.padded_length(expression),
            _ => WHOLE_REGISTER,
        };
        self.taken = length;
        self.load(expression, FIRST)
    }

    fn padded_length(&self, expression: &Expression) -> usize {
        match expression {
            Expression::Field(field) => self.field(*field, FIRST).0.next_multiple_of(4),
            Expression::Concat(fields) => fields.iter().map(|field| self.padded_length(field)).sum(),
            _ => 4,
        }
    }

    /// Returns a field's length in bytes, and the expression that loads it into `to`.
    fn field(&self, field: Field, to: Register) -> (usize, libnftnl::Expression) {
        let payload = |base: c_int, offset: u32, length: usize| {
            let attributes = attributes![
                NFTNL_EXPR_PAYLOAD_BASE => base,
                NFTNL_EXPR_PAYLOAD_OFFSET => offset,
                NFTNL_EXPR_PAYLOAD_LEN => length as u32,
                NFTNL_EXPR_PAYLOAD_DREG => to,
            ];
            (length, c"payload", attributes)
        };
        // By the offsets in the headers of IPv4 and IPv6.
        let address = |ip: u32, ip6: u32| match self.family {
            Family::Ip => payload(NFT_PAYLOAD_NETWORK_HEADER, ip, 4),
            Family::Ip6 => payload(NFT_PAYLOAD_NETWORK_HEADER, ip6, 16),
        };
        let meta = |length: usize, key: c_int| {
            (length, c"meta", attributes![NFTNL_EXPR_META_KEY => key, NFTNL_EXPR_META_DREG => to])
        };
        let fib = |flags: u32| {
            let attributes = attributes![
                NFTNL_EXPR_FIB_RESULT => NFT_FIB_RESULT_ADDRTYPE,
                NFTNL_EXPR_FIB_FLAGS => flags,
                NFTNL_EXPR_FIB_DREG => to,
            ];
            (4, c"fib", attributes)
        };
        let (length, name, attributes) = match field {
            Field::SourceAddress => address(12, 8),
            Field::DestinationAddress => address(16, 24),
            Field::DestinationPort => payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2),
            Field::L4Proto => meta(1, NFT_META_L4PROTO),
            Field::Priority => meta(4, NFT_META_PRIORITY),
            Field::Mark => meta(4, NFT_META_MARK),
            Field::InputInterface => meta(IFNAMSIZ, NFT_META_IIFNAME),
            Field::ConntrackStatus => {
                (4, c"ct", attributes![NFTNL_EXPR_CT_KEY => NFT_CT_STATUS, NFTNL_EXPR_CT_DREG => to])
            }
            Field::SourceAddressType => fib(NFTA_FIB_F_SADDR),
            Field::DestinationAddressType => fib(NFTA_FIB_F_DADDR),
        };
        (length, libnftnl::Expression { name, attributes })
    }

    /// Loads a value into the registers from `to` on. Returns its length in bytes, with padding.
    fn load(&mut self, expression: &Expression, to: Register) -> Result<usize, String> {
        match expression {
            Expression::Field(field) => {
                let (_, load) = self.field(*field, to);
                self.expressions.push(load);
            }
            Expression::Constant(number) => {
                self.push(
                    c"immediate",
                    attributes![NFTNL_EXPR_IMM_DREG => to, NFTNL_EXPR_IMM_DATA => *number],
                );
            }
            Expression::Concat(fields) => {
                let mut length = 0;
                for field in fields {
                    if matches!(field, Expression::Concat(_) | Expression::Lookup { .. }) {
                        return Err("a concatenation within another or of a map's values".to_owned());
                    }
                    length += self.load(field, to.after(length)?)?;
                }
            }
            Expression::Lookup { key, map } => {
                self.load(key, to)?;
                self.lookup(map, to, attributes![NFTNL_EXPR_LOOKUP_DREG => to])?;
            }
            Expression::Random { modulus, offset } => {
                let attributes = attributes![
                    NFTNL_EXPR_NG_DREG => to,
                    NFTNL_EXPR_NG_MODULUS => *modulus,
                    NFTNL_EXPR_NG_TYPE => NFT_NG_RANDOM,
                    NFTNL_EXPR_NG_OFFSET => *offset,
                ];
                self.push(c"numgen", attributes);
            }
            Expression::Hash { key, modulus, seed, offset } => {
                let taken = self.taken;
                self.taken += self.padded_length(key);
                let from = FIRST.after(taken)?;
                let length = self.load(key, from)? as u32;
                self.taken = taken;
                let attributes = attributes![
                    NFTNL_EXPR_HASH_SREG => from,
                    NFTNL_EXPR_HASH_DREG => to,
                    NFTNL_EXPR_HASH_LEN => length,
                    NFTNL_EXPR_HASH_MODULUS => *modulus,
                    NFTNL_EXPR_HASH_SEED => *seed,
                    NFTNL_EXPR_HASH_OFFSET => *offset,
                    NFTNL_EXPR_HASH_TYPE => NFT_HASH_JENKINS,
                ];
                self.push(c"hash", attributes);
            }
            Expression::Bitwise { .. } => {
                let (operand, mask, xor) = folded(expression);
                if is_address(operand) || self.load(operand, to)? != 4 {
                    return Err(
                        "a bitwise operation on a value that is not a number of four bytes".to_owned()
                    );
                }
                self.bitwise(to, &mask.to_ne_bytes(), &xor.to_ne_bytes());
            }
        }
        Ok(self.padded_length(expression))
    }

    /// `to = (to & mask) ^ xor`.
    fn bitwise(&mut self, to: Register, mask: &[u8], xor: &[u8]) {
        let attributes = attributes![
            NFTNL_EXPR_BITWISE_SREG => to,
            NFTNL_EXPR_BITWISE_DREG => to,
            NFTNL_EXPR_BITWISE_OP => 0_u32,
            NFTNL_EXPR_BITWISE_LEN => mask.len() as u32,
            NFTNL_EXPR_BITWISE_MASK => mask,
            NFTNL_EXPR_BITWISE_XOR => xor,
        ];
        self.push(c"bitwise", attributes);
    }

    fn compare(&mut self, left: &Expression, op: MatchOp, right: &MatchValue) -> Result<(), String> {
        use Field::{ConntrackStatus, DestinationAddressType, InputInterface, L4Proto, SourceAddressType};

        let is_number =
            self.padded_length(left) == 4 && !is_address(left) && *left != Expression::Field(L4Proto);
        let data = match (right, left) {
            (MatchValue::Prefix(prefix), Expression::Field(field)) if is_address(left) => {
                self.prefix(*field, *prefix)?
            }
            (MatchValue::Proto(number), Expression::Field(L4Proto)) => number.bytes(),
            (MatchValue::Local, Expression::Field(SourceAddressType | DestinationAddressType)) => {
                u32::from(RTN_LOCAL).bytes()
            }
            (MatchValue::Dnat, Expression::Field(ConntrackStatus)) => 0_u32.bytes(),
            (MatchValue::Interface { name, prefix }, Expression::Field(InputInterface)) => {
                interface(name, *prefix)?
            }
            (MatchValue::Number(number), _) if is_number => number.bytes(),
            _ => return Err(format!("{left:?} cannot be compared with {right:?}")),
        };
        if !matches!(right, MatchValue::Prefix(_)) {
            self.value(left)?;
        }
        // The bit is set if what remains differs from zero.
        let is_bit = *right == MatchValue::Dnat;
        if is_bit {
            self.bitwise(FIRST, &IPS_DST_NAT.to_ne_bytes(), &data);
        }
        let op = if (op == MatchOp::Equal) == is_bit { NFT_CMP_NEQ } else { NFT_CMP_EQ };
        let attributes = attributes![
            NFTNL_EXPR_CMP_SREG => FIRST,
            NFTNL_EXPR_CMP_OP => op,
            NFTNL_EXPR_CMP_DATA => &data[..],
        ];
        self.push(c"cmp", attributes);
        Ok(())
    }

    /// Loads the part of an address that a prefix covers, and returns the value that it must have.
    fn prefix(&mut self, field: Field, prefix: IpNetwork) -> Result<Bytes, String> {
        if Family::of(prefix.network()) != self.family {
            return Err(format!("{prefix} is not of family {}", self.family));
        }
        let octets = |address| match address {
            IpAddr::V4(address) => Bytes::from_slice(&address.octets()),
            IpAddr::V6(address) => Bytes::from_slice(&address.octets()),
        };
        let (mut network, mask) = (octets(prefix.network()), octets(prefix.mask()));
        let (_, mut load) = self.field(field, FIRST);
        let bits = usize::from(prefix.prefix());
        if bits != 0 && bits.is_multiple_of(8) {
            network.truncate(bits / 8);
            load.attributes.extend(attributes![NFTNL_EXPR_PAYLOAD_LEN => network.len() as u32]);
            self.expressions.push(load);
        } else {
            self.expressions.push(load);
            self.bitwise(FIRST, &mask, &[0; 16][..mask.len()]);
        }
        Ok(network)
    }
}

/// Whether an expression is an address.
const fn is_address(expression: &Expression) -> bool {
    matches!(expression, Expression::Field(Field::SourceAddress | Field::DestinationAddress))
}

/// Combines nested bitwise operations into one, as nft does: the operand, a mask, and the value for exclusive or.
fn folded(expression: &Expression) -> (&Expression, u32, u32) {
    let Expression::Bitwise { op, left, right } = expression else { return (expression, u32::MAX, 0) };
    let (operand, mask, xor) = folded(left);
    let (kept, flipped) = match op {
        BitOp::And => (*right, 0),
        BitOp::Or => (!*right, *right),
        BitOp::Xor => (u32::MAX, *right),
    };
    (operand, mask & kept, xor & kept ^ flipped)
}

fn interface(name: &str, prefix: bool) -> Result<Bytes, String> {
    // nft counts the `*` that it writes after a prefix.
    if name.is_empty() || name.len() + usize::from(prefix) >= IFNAMSIZ || name.contains('\0') {
        return Err(format!("`{name}` is not an interface's name"));
    }
    let mut bytes = Bytes::from_slice(name.as_bytes());
    if !prefix {
        bytes.resize(IFNAMSIZ, 0);
    }
    Ok(bytes)
}
