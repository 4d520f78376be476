//! Turns a rule into the instructions that nft itself would send for it, so that a table written here and
//! one loaded from text are the same, and nft can list both.

use ipnetwork::IpNetwork;
use portolan_rules::ruleset::{
    BitOp, Expression, Family, Field, MatchOp, MatchValue, RejectWith, Rule, Statement, WritableField,
};

use super::{
    delinearize::delinearize,
    instruction::{Bytes, Destination, Instruction, Register},
    uapi::{
        IFNAMSIZ, IPS_DST_NAT, NF_NAT_RANGE_PROTO_RANDOM_FULLY, NFT_CMP_EQ, NFT_CMP_NEQ, NFT_CT_STATUS,
        NFT_FIB_RESULT_ADDRTYPE, NFT_META_IIFNAME, NFT_META_L4PROTO, NFT_META_MARK, NFT_META_PRIORITY,
        NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER, NFT_REJECT_ICMP_UNREACH,
        NFT_REJECT_TCP_RST, NFT_RULE_MAXEXPRS, NFTA_FIB_F_DADDR, NFTA_FIB_F_SADDR, RTN_LOCAL,
    },
};

/// The instructions of a rule. Refuses, with the reason, what the kernel cannot hold and what a dump would
/// not give back as the same rule: such a rule would look changed for ever.
pub(super) fn linearize(family: Family, rule: &Rule) -> Result<Vec<Instruction>, String> {
    let instructions = translate(family, rule)?;
    if instructions.len() > NFT_RULE_MAXEXPRS {
        return Err(format!("{} expressions; the kernel takes {NFT_RULE_MAXEXPRS}", instructions.len()));
    }
    if delinearize(family, &instructions).as_ref() != Some(rule) {
        return Err("the rule would be read back as another one".to_owned());
    }
    Ok(instructions)
}

/// The instructions of a rule, whatever they are worth.
pub(super) fn translate(family: Family, rule: &Rule) -> Result<Vec<Instruction>, String> {
    let mut program = Program { family, instructions: Vec::new(), free: Register::FIRST };
    for statement in &rule.statements {
        program.statement(statement)?;
    }
    Ok(program.instructions)
}

/// Length of an address in bytes.
pub(super) const fn address_length(family: Family) -> u8 {
    match family {
        Family::Ip => 4,
        Family::Ip6 => 16,
    }
}

/// Offset in the network header of the source or destination address.
pub(super) const fn address_offset(family: Family, field: Field) -> Option<u32> {
    match (family, field) {
        (Family::Ip, Field::SourceAddress) => Some(12),
        (Family::Ip, Field::DestinationAddress) => Some(16),
        (Family::Ip6, Field::SourceAddress) => Some(8),
        (Family::Ip6, Field::DestinationAddress) => Some(24),
        _ => None,
    }
}

/// Where the port lies after a DNAT's map left an address and a port in the first registers.
pub(super) fn port_register(family: Family, address: Register) -> Option<Register> {
    address.after(usize::from(address_length(family)))
}

/// Code of "port unreachable" in ICMP and in `ICMPv6`.
pub(super) const fn port_unreachable(family: Family) -> u32 {
    match family {
        Family::Ip => 3,
        Family::Ip6 => 4,
    }
}

/// The `meta` key of a field that rules write.
pub(super) const fn writable_key(field: WritableField) -> u32 {
    match field {
        WritableField::Priority => NFT_META_PRIORITY,
        WritableField::Mark => NFT_META_MARK,
    }
}

/// nft gives every value that is not a concatenation a whole 16-byte register.
const WHOLE_REGISTER: usize = 16;

struct Program {
    family: Family,
    instructions: Vec<Instruction>,
    /// First register that the statement's own values leave free; a hash puts its key there.
    free: Register,
}

impl Program {
    fn push(&mut self, instruction: Instruction) {
        self.instructions.push(instruction);
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), String> {
        const FIRST: Register = Register::FIRST;
        match statement {
            Statement::Match { left, op, right } => self.compare(left, *op, right)?,
            Statement::InSet { key, set, negated } => {
                self.value(key)?;
                let to = Destination::Nowhere;
                self.push(Instruction::Lookup { set: set.clone(), from: FIRST, to, inverted: *negated });
            }
            Statement::Set { field, value } => {
                self.value(value)?;
                self.push(Instruction::SetMeta { key: writable_key(*field), from: FIRST });
            }
            Statement::VerdictMap { key, map } => {
                self.value(key)?;
                let to = Destination::Verdict;
                self.push(Instruction::Lookup { set: map.clone(), from: FIRST, to, inverted: false });
            }
            Statement::Update { set, key, timeout_ms, data } => {
                self.dynset(set, key, Some(*timeout_ms), data.as_ref())?;
            }
            Statement::Delete { set, key, data } => self.dynset(set, key, None, data.as_ref())?,
            Statement::Dnat { key, map } => {
                self.value(key)?;
                let to = Destination::Register(FIRST);
                self.push(Instruction::Lookup { set: map.clone(), from: FIRST, to, inverted: false });
                let port = port_register(self.family, FIRST).ok_or_else(out_of_registers)?;
                self.push(Instruction::Dnat { family: self.family.number().into(), address: FIRST, port });
            }
            Statement::Masquerade => {
                self.push(Instruction::Masquerade { flags: NF_NAT_RANGE_PROTO_RANDOM_FULLY });
            }
            Statement::Reject(RejectWith::TcpReset) => {
                self.push(Instruction::Reject { kind: NFT_REJECT_TCP_RST, code: 0 });
            }
            Statement::Reject(RejectWith::PortUnreachable) => {
                let code = port_unreachable(self.family);
                self.push(Instruction::Reject { kind: NFT_REJECT_ICMP_UNREACH, code });
            }
            Statement::Verdict(verdict) => self.push(Instruction::Verdict(verdict.clone())),
            Statement::Foreign(what) => return Err(format!("not one of Portolan's statements: {what}")),
        }
        Ok(())
    }

    /// With a timeout, an update; without, a deletion.
    fn dynset(
        &mut self,
        set: &portolan_rules::ruleset::Name,
        key: &Expression,
        timeout_ms: Option<u64>,
        data: Option<&Expression>,
    ) -> Result<(), String> {
        let length = self.value(key)?;
        let data = data
            .map(|data| {
                let whole = length.next_multiple_of(WHOLE_REGISTER);
                let to = Register::FIRST.after(whole).ok_or_else(out_of_registers)?;
                self.load(data, to)?;
                Ok::<_, String>(to)
            })
            .transpose()?;
        let (set, key) = (set.clone(), Register::FIRST);
        self.push(match timeout_ms {
            Some(timeout_ms) => Instruction::Update { set, key, data, timeout_ms },
            None => Instruction::Delete { set, key, data },
        });
        Ok(())
    }

    /// Loads a statement's value into the first registers. Returns its length in bytes, with padding.
    fn value(&mut self, expression: &Expression) -> Result<usize, String> {
        let length = match expression {
            Expression::Concat(fields) => fields.iter().map(|field| self.padded_length(field)).sum(),
            _ => WHOLE_REGISTER,
        };
        // A key that fills all registers leaves none free, and needs none unless it holds a hash.
        self.free = Register::FIRST.after(length).unwrap_or(Register::FIRST);
        self.load(expression, Register::FIRST)
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
            Field::SourceAddress | Field::DestinationAddress => address_length(self.family).into(),
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
            Expression::Field(field) => self.load_field(*field, to),
            Expression::Constant(number) => {
                self.push(Instruction::Immediate { to, data: Bytes::from_slice(&number.to_ne_bytes()) });
            }
            Expression::Concat(fields) => {
                let mut length = 0;
                for field in fields {
                    if matches!(field, Expression::Concat(_) | Expression::Lookup { .. }) {
                        return Err("a concatenation within another or of a map's values".to_owned());
                    }
                    let to = to.after(length).ok_or_else(out_of_registers)?;
                    length += self.load(field, to)?;
                }
                return Ok(length);
            }
            Expression::Lookup { key, map } => {
                self.load(key, to)?;
                let destination = Destination::Register(to);
                let lookup =
                    Instruction::Lookup { set: map.clone(), from: to, to: destination, inverted: false };
                self.push(lookup);
            }
            Expression::Random { modulus, offset } => {
                self.push(Instruction::Random { to, modulus: *modulus, offset: *offset });
            }
            Expression::Hash { key, modulus, seed, offset } => {
                let from = self.free;
                let length = self.load(key, from)? as u32;
                let (modulus, seed, offset) = (*modulus, *seed, *offset);
                self.push(Instruction::Hash { from, to, length, modulus, seed, offset });
            }
            Expression::Bitwise { op, left, right } => {
                if self.load(left, to)? != 4 {
                    return Err("a bitwise operation on a value that is not of four bytes".to_owned());
                }
                let (mask, xor) = match op {
                    BitOp::And => (*right, 0),
                    BitOp::Or => (!*right, *right),
                    BitOp::Xor => (u32::MAX, *right),
                };
                self.bitwise(to, mask, xor);
            }
        }
        Ok(self.padded_length(expression))
    }

    /// Adds `to = (to & mask) ^ xor`; like nft, into the operation just before if that has the same target.
    fn bitwise(&mut self, to: Register, mask: u32, xor: u32) {
        let bytes = |number: u32| Bytes::from_slice(&number.to_ne_bytes());
        if let Some(Instruction::Bitwise { to: before, mask: first, xor: then, .. }) =
            self.instructions.last_mut()
            && *before == to
            && let (Some(m), Some(x)) = (number(first), number(then))
        {
            (*first, *then) = (bytes(m & mask), bytes(x & mask ^ xor));
            return;
        }
        self.push(Instruction::Bitwise { from: to, to, mask: bytes(mask), xor: bytes(xor) });
    }

    fn load_field(&mut self, field: Field, to: Register) {
        let meta = |key| Instruction::Meta { key, to };
        let fib = |flags| Instruction::Fib { result: NFT_FIB_RESULT_ADDRTYPE, flags, to };
        let instruction = match field {
            Field::SourceAddress | Field::DestinationAddress => {
                self.load_address(field, address_length(self.family), to);
                return;
            }
            Field::L4Proto => meta(NFT_META_L4PROTO),
            Field::DestinationPort => {
                Instruction::Payload { base: NFT_PAYLOAD_TRANSPORT_HEADER, offset: 2, length: 2, to }
            }
            Field::Priority => meta(NFT_META_PRIORITY),
            Field::Mark => meta(NFT_META_MARK),
            Field::InputInterface => meta(NFT_META_IIFNAME),
            Field::ConntrackStatus => Instruction::Conntrack { key: NFT_CT_STATUS, to },
            Field::SourceAddressType => fib(NFTA_FIB_F_SADDR),
            Field::DestinationAddressType => fib(NFTA_FIB_F_DADDR),
        };
        self.push(instruction);
    }

    /// Loads the first `length` bytes of an address.
    fn load_address(&mut self, field: Field, length: u8, to: Register) {
        let offset = address_offset(self.family, field).unwrap_or_default();
        let base = NFT_PAYLOAD_NETWORK_HEADER;
        self.push(Instruction::Payload { base, offset, length: length.into(), to });
    }

    fn compare(&mut self, left: &Expression, op: MatchOp, right: &MatchValue) -> Result<(), String> {
        let from = Register::FIRST;
        let (equal, different) = match op {
            MatchOp::Equal => (NFT_CMP_EQ, NFT_CMP_NEQ),
            MatchOp::NotEqual => (NFT_CMP_NEQ, NFT_CMP_EQ),
        };
        let (op, data) = match (right, left) {
            (MatchValue::Prefix(prefix), Expression::Field(field)) => (equal, self.prefix(*field, *prefix)?),
            (MatchValue::Proto(number), Expression::Field(Field::L4Proto)) => {
                self.value(left)?;
                (equal, Bytes::from_slice(&[*number]))
            }
            (
                MatchValue::Local,
                Expression::Field(Field::SourceAddressType | Field::DestinationAddressType),
            ) => {
                self.value(left)?;
                (equal, Bytes::from_slice(&RTN_LOCAL.to_ne_bytes()))
            }
            (MatchValue::Dnat, Expression::Field(Field::ConntrackStatus)) => {
                self.value(left)?;
                self.bitwise(from, IPS_DST_NAT, 0);
                (different, Bytes::from_slice(&[0; 4]))
            }
            (MatchValue::Interface { name, prefix }, Expression::Field(Field::InputInterface)) => {
                self.value(left)?;
                (equal, interface(name, *prefix)?)
            }
            (MatchValue::Number(number), _) if self.padded_length(left) == 4 => {
                self.value(left)?;
                (equal, Bytes::from_slice(&number.to_ne_bytes()))
            }
            _ => return Err(format!("{left:?} cannot be compared with {right:?}")),
        };
        self.push(Instruction::Compare { from, op, data });
        Ok(())
    }

    /// Loads of an address what a prefix tells about it, and returns what that must be.
    fn prefix(&mut self, field: Field, prefix: IpNetwork) -> Result<Bytes, String> {
        let network: Bytes = match (self.family, prefix) {
            (Family::Ip, IpNetwork::V4(prefix)) => Bytes::from_slice(&prefix.network().octets()),
            (Family::Ip6, IpNetwork::V6(prefix)) => Bytes::from_slice(&prefix.network().octets()),
            _ => return Err(format!("{prefix} is not of family {}", self.family)),
        };
        if address_offset(self.family, field).is_none() {
            return Err(format!("{field:?} is not an address"));
        }
        let bits = prefix.prefix();
        if bits != 0 && bits.is_multiple_of(8) {
            self.load_address(field, bits / 8, Register::FIRST);
            return Ok(Bytes::from_slice(&network[..usize::from(bits / 8)]));
        }
        self.load_address(field, address_length(self.family), Register::FIRST);
        let (from, to) = (Register::FIRST, Register::FIRST);
        let xor = Bytes::from_elem(0, network.len());
        self.push(Instruction::Bitwise { from, to, mask: mask(bits, network.len()), xor });
        Ok(network)
    }
}

/// A network mask of `bits` ones.
pub(super) fn mask(bits: u8, length: usize) -> Bytes {
    (0..length).map(|i| !(0xff_u16 >> usize::from(bits).saturating_sub(i * 8).min(8)) as u8).collect()
}

/// The number that four bytes in host order make.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
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

fn out_of_registers() -> String {
    "the values need more registers than the kernel has".to_owned()
}
