//! Turns a rule into the expressions that nft itself would send for it, so that a table written here and one loaded
//! from text are the same, and nft can list both.

use std::ffi::CStr;

use ipnetwork::IpNetwork;
use portolan_rules::ruleset::{
    BitOp, Expression, Family, Field, MatchOp, MatchValue, RejectWith, Rule, Statement, WritableField,
};

use super::{
    libnftnl::{self, Attribute, Bytes, Name, Value, attributes},
    uapi::*,
    verdict::verdict_code,
};

/// A rule in libnftnl's form. Refuses, with the reason, what the kernel cannot hold.
pub(super) fn linearize(
    family: Family,
    (table, chain): (&Name, &Name),
    rule: &Rule,
) -> Result<libnftnl::Rule, String> {
    let mut program = Program { family, expressions: Vec::new(), free: None };
    for statement in &rule.statements {
        program.statement(statement)?;
    }
    let count = program.expressions.len();
    if count > NFT_RULE_MAXEXPRS {
        return Err(format!("{count} expressions; the kernel takes {NFT_RULE_MAXEXPRS}"));
    }
    let names = attributes![NFTNL_RULE_TABLE => table, NFTNL_RULE_CHAIN => chain];
    libnftnl::Rule::new(names, program.expressions)
}

/// A register, counted in 4-byte words from the first. The kernel has 16 of them (`NFT_REG32_00` …).
#[derive(Clone, Copy)]
struct Register(u8);

const FIRST: Register = Register(0);

impl Register {
    const COUNT: u8 = 16;

    /// The register `bytes` further on, rounded up to whole registers.
    fn after(self, bytes: usize) -> Result<Self, String> {
        let word = u8::try_from(bytes.div_ceil(4)).ok().and_then(|words| words.checked_add(self.0));
        word.filter(|word| *word < Self::COUNT)
            .map(Self)
            .ok_or_else(|| "the values need more registers than the kernel has".to_owned())
    }
}

impl Value for Register {
    /// The number that nft sends: where it can, one of the older 16-byte registers (`NFT_REG_1` …).
    fn bytes(self) -> Bytes {
        let word = u32::from(self.0);
        (if word.is_multiple_of(4) { 1 + word / 4 } else { 8 + word }).bytes()
    }
}

/// nft gives every value that is not a concatenation a whole 16-byte register.
const WHOLE_REGISTER: usize = 16;

/// Offset in the network header of the source or destination address.
const fn address_offset(family: Family, field: Field) -> Option<u32> {
    match (family, field) {
        (Family::Ip, Field::SourceAddress) => Some(12),
        (Family::Ip, Field::DestinationAddress) => Some(16),
        (Family::Ip6, Field::SourceAddress) => Some(8),
        (Family::Ip6, Field::DestinationAddress) => Some(24),
        _ => None,
    }
}

struct Program {
    family: Family,
    expressions: Vec<libnftnl::Expression>,
    /// First register that no value is meant for; a hash puts its key there. None if there are no more.
    free: Option<Register>,
}

impl Program {
    fn push(&mut self, name: &CStr, attributes: Vec<(Attribute, Bytes)>) -> Result<(), String> {
        self.expressions.push(libnftnl::Expression::expression(name, attributes)?);
        Ok(())
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), String> {
        match statement {
            Statement::Match { left, op, right } => self.compare(left, *op, right),
            Statement::InSet { key, set, negated } => {
                self.value(key)?;
                let flags =
                    if *negated { attributes![NFTNL_EXPR_LOOKUP_FLAGS => NFT_LOOKUP_F_INV] } else { vec![] };
                self.lookup(set, FIRST, flags)
            }
            Statement::Set { field, value } => {
                self.value(value)?;
                let key = match field {
                    WritableField::Priority => NFT_META_PRIORITY,
                    WritableField::Mark => NFT_META_MARK,
                };
                self.push(c"meta", attributes![NFTNL_EXPR_META_KEY => key, NFTNL_EXPR_META_SREG => FIRST])
            }
            Statement::VerdictMap { key, map } => {
                self.value(key)?;
                self.lookup(map, FIRST, attributes![NFTNL_EXPR_LOOKUP_DREG => NFT_REG_VERDICT])
            }
            Statement::Update { set, key, timeout_ms, data } => {
                let timeout = attributes![NFTNL_EXPR_DYNSET_TIMEOUT => *timeout_ms];
                self.dynset(NFT_DYNSET_OP_UPDATE, set, key, data.as_ref(), timeout)
            }
            Statement::Delete { set, key, data } => {
                self.dynset(NFT_DYNSET_OP_DELETE, set, key, data.as_ref(), Vec::new())
            }
            Statement::Dnat { key, map } => {
                self.value(key)?;
                self.lookup(map, FIRST, attributes![NFTNL_EXPR_LOOKUP_DREG => FIRST])?;
                let port = FIRST.after(self.address_length())?;
                let attributes = attributes![
                    NFTNL_EXPR_NAT_TYPE => NFT_NAT_DNAT,
                    NFTNL_EXPR_NAT_FAMILY => u32::from(self.family.number()),
                    NFTNL_EXPR_NAT_REG_ADDR_MIN => FIRST,
                    NFTNL_EXPR_NAT_REG_PROTO_MIN => port,
                ];
                self.push(c"nat", attributes)
            }
            Statement::Masquerade => {
                self.push(c"masq", attributes![NFTNL_EXPR_MASQ_FLAGS => NF_NAT_RANGE_PROTO_RANDOM_FULLY])
            }
            Statement::Reject(with) => {
                let (kind, code) = match (with, self.family) {
                    (RejectWith::TcpReset, _) => (NFT_REJECT_TCP_RST, 0),
                    // "Port unreachable" in ICMP and in ICMPv6.
                    (RejectWith::PortUnreachable, Family::Ip) => (NFT_REJECT_ICMP_UNREACH, 3_u8),
                    (RejectWith::PortUnreachable, Family::Ip6) => (NFT_REJECT_ICMP_UNREACH, 4),
                };
                let attributes = attributes![NFTNL_EXPR_REJECT_TYPE => kind, NFTNL_EXPR_REJECT_CODE => code];
                self.push(c"reject", attributes)
            }
            Statement::Verdict(verdict) => {
                let (code, chain) = verdict_code(verdict);
                let mut attributes = attributes![
                    NFTNL_EXPR_IMM_DREG => NFT_REG_VERDICT,
                    NFTNL_EXPR_IMM_VERDICT => code.cast_unsigned(),
                ];
                if let Some(chain) = chain {
                    attributes.extend(attributes![NFTNL_EXPR_IMM_CHAIN => &Name::new(chain)?]);
                }
                self.push(c"immediate", attributes)
            }
            Statement::Foreign(what) => Err(format!("not one of Portolan's statements: {what}")),
        }
    }

    /// Looks up what is in the registers from `from` on.
    fn lookup(&mut self, set: &str, from: Register, more: Vec<(Attribute, Bytes)>) -> Result<(), String> {
        let mut attributes =
            attributes![NFTNL_EXPR_LOOKUP_SREG => from, NFTNL_EXPR_LOOKUP_SET => &Name::new(set)?];
        attributes.extend(more);
        self.push(c"lookup", attributes)
    }

    fn dynset(
        &mut self,
        operation: c_int,
        set: &str,
        key: &Expression,
        data: Option<&Expression>,
        more: Vec<(Attribute, Bytes)>,
    ) -> Result<(), String> {
        let length = self.value(key)?;
        let mut attributes = attributes![
            NFTNL_EXPR_DYNSET_SREG_KEY => FIRST,
            NFTNL_EXPR_DYNSET_OP => operation,
            NFTNL_EXPR_DYNSET_SET_NAME => &Name::new(set)?,
        ];
        if let Some(data) = data {
            let to = FIRST.after(length.next_multiple_of(WHOLE_REGISTER))?;
            self.load(data, to)?;
            attributes.extend(attributes![NFTNL_EXPR_DYNSET_SREG_DATA => to]);
        }
        attributes.extend(more);
        self.push(c"dynset", attributes)
    }

    /// Loads a statement's value into the first registers. Returns its length in bytes, with padding.
    fn value(&mut self, expression: &Expression) -> Result<usize, String> {
        let length = match expression {
            Expression::Concat(_) => self.padded_length(expression),
            _ => WHOLE_REGISTER,
        };
        self.free = FIRST.after(length).ok();
        self.load(expression, FIRST)
    }

    /// Length of an address in bytes.
    fn address_length(&self) -> usize {
        self.family.address_type().size()
    }

    fn padded_length(&self, expression: &Expression) -> usize {
        match expression {
            Expression::Field(field) => self.field_length(*field).next_multiple_of(4),
            Expression::Concat(fields) => fields.iter().map(|field| self.padded_length(field)).sum(),
            _ => 4,
        }
    }

    fn field_length(&self, field: Field) -> usize {
        match field {
            Field::SourceAddress | Field::DestinationAddress => self.address_length(),
            Field::L4Proto => 1,
            Field::DestinationPort => 2,
            Field::InputInterface => IFNAMSIZ,
            Field::Priority
            | Field::Mark
            | Field::ConntrackStatus
            | Field::SourceAddressType
            | Field::DestinationAddressType => 4,
        }
    }

    /// Loads a value into `to` and what follows. Returns its length in bytes, with padding.
    fn load(&mut self, expression: &Expression, to: Register) -> Result<usize, String> {
        match expression {
            Expression::Field(field) => self.load_field(*field, to)?,
            Expression::Constant(number) => {
                let attributes = attributes![NFTNL_EXPR_IMM_DREG => to, NFTNL_EXPR_IMM_DATA => *number];
                self.push(c"immediate", attributes)?;
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
                self.push(c"numgen", attributes)?;
            }
            Expression::Hash { key, modulus, seed, offset } => {
                let outer = self.free;
                let from = outer.map_or_else(|| FIRST.after(usize::MAX), Ok)?;
                self.free = from.after(self.padded_length(key)).ok();
                let length = self.load(key, from)? as u32;
                self.free = outer;
                let attributes = attributes![
                    NFTNL_EXPR_HASH_SREG => from,
                    NFTNL_EXPR_HASH_DREG => to,
                    NFTNL_EXPR_HASH_LEN => length,
                    NFTNL_EXPR_HASH_MODULUS => *modulus,
                    NFTNL_EXPR_HASH_SEED => *seed,
                    NFTNL_EXPR_HASH_OFFSET => *offset,
                    NFTNL_EXPR_HASH_TYPE => NFT_HASH_JENKINS,
                ];
                self.push(c"hash", attributes)?;
            }
            Expression::Bitwise { .. } => {
                let (operand, mask, xor) = folded(expression);
                if address_of(operand).is_some() || self.load(operand, to)? != 4 {
                    return Err(
                        "a bitwise operation on a value that is not a number of four bytes".to_owned()
                    );
                }
                self.bitwise(to, &mask.to_ne_bytes(), &xor.to_ne_bytes())?;
            }
        }
        Ok(self.padded_length(expression))
    }

    /// `to = (to & mask) ^ xor`.
    fn bitwise(&mut self, to: Register, mask: &[u8], xor: &[u8]) -> Result<(), String> {
        let attributes = attributes![
            NFTNL_EXPR_BITWISE_SREG => to,
            NFTNL_EXPR_BITWISE_DREG => to,
            NFTNL_EXPR_BITWISE_OP => 0_u32,
            NFTNL_EXPR_BITWISE_LEN => mask.len() as u32,
            NFTNL_EXPR_BITWISE_MASK => mask,
            NFTNL_EXPR_BITWISE_XOR => xor,
        ];
        self.push(c"bitwise", attributes)
    }

    fn load_field(&mut self, field: Field, to: Register) -> Result<(), String> {
        let meta =
            |key: c_int| (c"meta", attributes![NFTNL_EXPR_META_KEY => key, NFTNL_EXPR_META_DREG => to]);
        let fib = |flags: u32| {
            let result = attributes![NFTNL_EXPR_FIB_RESULT => NFT_FIB_RESULT_ADDRTYPE];
            let of = attributes![NFTNL_EXPR_FIB_FLAGS => flags, NFTNL_EXPR_FIB_DREG => to];
            (c"fib", [result, of].concat())
        };
        let (name, attributes) = match field {
            Field::SourceAddress | Field::DestinationAddress => {
                return self.load_address(field, self.address_length(), to);
            }
            Field::DestinationPort => return self.load_payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, to),
            Field::L4Proto => meta(NFT_META_L4PROTO),
            Field::Priority => meta(NFT_META_PRIORITY),
            Field::Mark => meta(NFT_META_MARK),
            Field::InputInterface => meta(NFT_META_IIFNAME),
            Field::ConntrackStatus => {
                (c"ct", attributes![NFTNL_EXPR_CT_KEY => NFT_CT_STATUS, NFTNL_EXPR_CT_DREG => to])
            }
            Field::SourceAddressType => fib(NFTA_FIB_F_SADDR),
            Field::DestinationAddressType => fib(NFTA_FIB_F_DADDR),
        };
        self.push(name, attributes)
    }

    /// Loads the first `length` bytes of an address.
    fn load_address(&mut self, field: Field, length: usize, to: Register) -> Result<(), String> {
        let offset = address_offset(self.family, field);
        let offset = offset.ok_or_else(|| format!("{field:?} is not an address"))?;
        self.load_payload(NFT_PAYLOAD_NETWORK_HEADER, offset, length as u32, to)
    }

    fn load_payload(&mut self, base: c_int, offset: u32, length: u32, to: Register) -> Result<(), String> {
        let attributes = attributes![
            NFTNL_EXPR_PAYLOAD_BASE => base,
            NFTNL_EXPR_PAYLOAD_OFFSET => offset,
            NFTNL_EXPR_PAYLOAD_LEN => length,
            NFTNL_EXPR_PAYLOAD_DREG => to,
        ];
        self.push(c"payload", attributes)
    }

    fn compare(&mut self, left: &Expression, op: MatchOp, right: &MatchValue) -> Result<(), String> {
        use Field::{ConntrackStatus, DestinationAddressType, InputInterface, L4Proto, SourceAddressType};

        let (equal, different) = match op {
            MatchOp::Equal => (NFT_CMP_EQ, NFT_CMP_NEQ),
            MatchOp::NotEqual => (NFT_CMP_NEQ, NFT_CMP_EQ),
        };
        let is_number = self.padded_length(left) == 4
            && address_of(left).is_none()
            && *left != Expression::Field(L4Proto);
        let data = match (right, left) {
            (MatchValue::Prefix(prefix), Expression::Field(field)) => self.prefix(*field, *prefix)?,
            (MatchValue::Proto(number), Expression::Field(L4Proto)) => self.loaded(left, number.bytes())?,
            (MatchValue::Local, Expression::Field(SourceAddressType | DestinationAddressType)) => {
                self.loaded(left, RTN_LOCAL.bytes())?
            }
            (MatchValue::Dnat, Expression::Field(ConntrackStatus)) => {
                let none = self.loaded(left, 0_u32.bytes())?;
                self.bitwise(FIRST, &IPS_DST_NAT.to_ne_bytes(), &none)?;
                none
            }
            (MatchValue::Interface { name, prefix }, Expression::Field(InputInterface)) => {
                self.loaded(left, interface(name, *prefix)?)?
            }
            (MatchValue::Number(number), _) if is_number => self.loaded(left, number.bytes())?,
            _ => return Err(format!("{left:?} cannot be compared with {right:?}")),
        };
        // The bit is set if what remains differs from zero.
        let op = if *right == MatchValue::Dnat { different } else { equal };
        let attributes = attributes![
            NFTNL_EXPR_CMP_SREG => FIRST,
            NFTNL_EXPR_CMP_OP => op,
            NFTNL_EXPR_CMP_DATA => &data[..],
        ];
        self.push(c"cmp", attributes)
    }

    /// Loads a value that is to be compared with this one.
    fn loaded(&mut self, value: &Expression, with: Bytes) -> Result<Bytes, String> {
        self.value(value)?;
        Ok(with)
    }

    /// Loads the part of an address that a prefix is about, and returns what that must be.
    fn prefix(&mut self, field: Field, prefix: IpNetwork) -> Result<Bytes, String> {
        let (mut network, mask): (Bytes, Bytes) = match (self.family, prefix) {
            (Family::Ip, IpNetwork::V4(prefix)) => (
                prefix.network().octets().into_iter().collect(),
                prefix.mask().octets().into_iter().collect(),
            ),
            (Family::Ip6, IpNetwork::V6(prefix)) => (
                prefix.network().octets().into_iter().collect(),
                prefix.mask().octets().into_iter().collect(),
            ),
            _ => return Err(format!("{prefix} is not of family {}", self.family)),
        };
        let bits = usize::from(prefix.prefix());
        if bits != 0 && bits.is_multiple_of(8) {
            network.truncate(bits / 8);
            self.load_address(field, bits / 8, FIRST)?;
        } else {
            self.load_address(field, self.address_length(), FIRST)?;
            self.bitwise(FIRST, &mask, &[0; 16][..mask.len()])?;
        }
        Ok(network)
    }
}

/// The address that an expression is, if it is one.
fn address_of(expression: &Expression) -> Option<Field> {
    match expression {
        Expression::Field(field @ (Field::SourceAddress | Field::DestinationAddress)) => Some(*field),
        _ => None,
    }
}

/// Bitwise operations on a value as one, which nft makes of them: the value, a mask, and what to add by exclusive or.
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
