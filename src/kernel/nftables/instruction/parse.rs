//! Reads the kernel's description of a rule's expressions.

use super::{Bytes, Destination, Instruction, Register, parse_verdict};
use crate::kernel::nftables::{
    attributes::{Attribute, Attributes},
    uapi::{
        NF_NAT_RANGE_MAP_IPS, NF_NAT_RANGE_PROTO_SPECIFIED, NFT_DYNSET_OP_DELETE, NFT_DYNSET_OP_UPDATE,
        NFT_HASH_JENKINS, NFT_LOOKUP_F_INV, NFT_NAT_DNAT, NFT_NG_RANDOM, NFT_REJECT_TCP_RST, NFTA_DATA_VALUE,
        NFTA_DATA_VERDICT, NFTA_EXPR_DATA, NFTA_EXPR_NAME,
    },
};

/// Reads the value of `NFTA_RULE_EXPRESSIONS`.
pub(in crate::kernel::nftables) fn parse_expressions(list: Attributes<'_>) -> Vec<Instruction> {
    list.into_iter()
        .filter_map(|expression| {
            let name = expression.nested().find(NFTA_EXPR_NAME).and_then(|name| name.string()).unwrap_or("?");
            let data = expression.nested().find(NFTA_EXPR_DATA).map_or(Attributes(&[]), |data| data.nested());
            let parameters = Parameters::read(data);
            if name == "byteorder" && is_idle(&parameters) {
                return None;
            }
            Some(parse(name, &parameters).unwrap_or_else(|| Instruction::Other(name.to_owned())))
        })
        .collect()
}

/// Whether a `byteorder` swaps the bytes of a single byte in its place, as nft has it done to a protocol's
/// number before it looks that up among ranges. SREG 1, DREG 2, LEN 4.
fn is_idle(p: &Parameters<'_>) -> bool {
    p.number(4) == Some(1) && p.register(1).is_some() && p.register(1) == p.register(2)
}

/// Highest attribute number of any expression read here (`NFTA_DYNSET_EXPRESSIONS`).
const ATTRIBUTES: usize = 11;

/// The parameters of one expression by number.
struct Parameters<'a>([Option<Attribute<'a>>; ATTRIBUTES]);

impl<'a> Parameters<'a> {
    fn read(attributes: Attributes<'a>) -> Self {
        let mut parameters = [None; ATTRIBUTES];
        for attribute in attributes {
            if let Some(place) = parameters.get_mut(usize::from(attribute.kind)) {
                *place = Some(attribute);
            }
        }
        Self(parameters)
    }

    fn get(&self, kind: usize) -> Option<Attribute<'a>> {
        self.0.get(kind).copied().flatten()
    }

    fn has(&self, kind: usize) -> bool {
        self.get(kind).is_some()
    }

    fn number(&self, kind: usize) -> Option<u32> {
        self.get(kind)?.number()
    }

    fn register(&self, kind: usize) -> Option<Register> {
        Register::from_number(self.number(kind)?)
    }

    fn value(&self, kind: usize) -> Option<Bytes> {
        Some(Bytes::from_slice(self.get(kind)?.nested().find(NFTA_DATA_VALUE)?.value))
    }

    /// Zero if the kernel leaves the attribute out.
    fn number_or_zero(&self, kind: usize) -> Option<u32> {
        if self.has(kind) { self.number(kind) } else { Some(0) }
    }
}

/// The numbers are those of `enum nft_payload_attributes` and its like, each under its expression.
/// `None` for what Portolan never writes.
fn parse(name: &str, p: &Parameters<'_>) -> Option<Instruction> {
    Some(match name {
        // DREG 1, BASE 2, OFFSET 3, LEN 4, SREG 5
        "payload" if !p.has(5) => Instruction::Payload {
            base: p.number(2)?,
            offset: p.number(3)?,
            length: p.number(4)?,
            to: p.register(1)?,
        },
        // DREG 1, KEY 2, SREG 3
        "meta" if p.has(1) => Instruction::Meta { key: p.number(2)?, to: p.register(1)? },
        "meta" => Instruction::SetMeta { key: p.number(2)?, from: p.register(3)? },
        // DREG 1, KEY 2, DIRECTION 3, SREG 4
        "ct" if !p.has(3) => Instruction::Conntrack { key: p.number(2)?, to: p.register(1)? },
        // DREG 1, RESULT 2, FLAGS 3
        "fib" => Instruction::Fib { result: p.number(2)?, flags: p.number(3)?, to: p.register(1)? },
        // SREG 1, OP 2, DATA 3
        "cmp" => Instruction::Compare { from: p.register(1)?, op: p.number(2)?, data: p.value(3)? },
        // SREG 1, DREG 2, LEN 3, MASK 4, XOR 5, OP 6
        "bitwise" if p.number_or_zero(6)? == 0 => Instruction::Bitwise {
            from: p.register(1)?,
            to: p.register(2)?,
            mask: p.value(4)?,
            xor: p.value(5)?,
        },
        // DREG 1, DATA 2
        "immediate" => match p.get(2)?.nested().find(NFTA_DATA_VERDICT) {
            Some(verdict) => Instruction::Verdict(parse_verdict(verdict.nested())?),
            None => Instruction::Immediate { to: p.register(1)?, data: p.value(2)? },
        },
        // SET 1, SREG 2, DREG 3, FLAGS 5
        "lookup" => Instruction::Lookup {
            set: p.get(1)?.name()?,
            from: p.register(2)?,
            to: match p.number(3) {
                None if p.has(3) => return None,
                None => Destination::Nowhere,
                Some(0) => Destination::Verdict,
                Some(number) => Destination::Register(Register::from_number(number)?),
            },
            inverted: p.number_or_zero(5)? & NFT_LOOKUP_F_INV != 0,
        },
        // DREG 1, MODULUS 2, TYPE 3, OFFSET 4
        "numgen" if p.number(3)? == NFT_NG_RANDOM => {
            Instruction::Random { to: p.register(1)?, modulus: p.number(2)?, offset: p.number_or_zero(4)? }
        }
        // SREG 1, DREG 2, LEN 3, MODULUS 4, SEED 5, OFFSET 6, TYPE 7
        "hash" if p.number_or_zero(7)? == NFT_HASH_JENKINS => Instruction::Hash {
            from: p.register(1)?,
            to: p.register(2)?,
            length: p.number(3)?,
            modulus: p.number(4)?,
            seed: p.number(5)?,
            offset: p.number_or_zero(6)?,
        },
        // SET_NAME 1, OP 3, SREG_KEY 4, SREG_DATA 5, TIMEOUT 6, EXPR 7, FLAGS 9, EXPRESSIONS 10
        "dynset" if !p.has(7) && !p.has(10) && p.number_or_zero(9)? == 0 => {
            let (set, key) = (p.get(1)?.name()?, p.register(4)?);
            let data = if p.has(5) { Some(p.register(5)?) } else { None };
            match p.number(3)? {
                NFT_DYNSET_OP_UPDATE => Instruction::Update { set, key, data, timeout_ms: p.get(6)?.long()? },
                NFT_DYNSET_OP_DELETE => Instruction::Delete { set, key, data },
                _ => return None,
            }
        }
        "nat" => parse_nat(p)?,
        // FLAGS 1, REG_PROTO_MIN 2
        "masq" if !p.has(2) => Instruction::Masquerade { flags: p.number_or_zero(1)? },
        // TYPE 1, ICMP_CODE 2; the kernel keeps a code only for the types that have one
        "reject" => {
            let kind = p.number(1)?;
            let code = match p.get(2) {
                Some(code) if kind != NFT_REJECT_TCP_RST => u32::from(*code.value.first()?),
                _ => 0,
            };
            Instruction::Reject { kind, code }
        }
        _ => return None,
    })
}

/// TYPE 1, FAMILY 2, `REG_ADDR_MIN` 3, `REG_ADDR_MAX` 4, `REG_PROTO_MIN` 5, `REG_PROTO_MAX` 6, FLAGS 7. The kernel
/// completes what nft leaves out: the maxima, and the two flags that say which minima there are.
fn parse_nat(p: &Parameters<'_>) -> Option<Instruction> {
    let implied = NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED;
    let (address, port) = (p.register(3)?, p.register(5)?);
    let one = |maximum: usize, minimum| !p.has(maximum) || p.register(maximum) == Some(minimum);
    let plain = p.number(1)? == NFT_NAT_DNAT
        && one(4, address)
        && one(6, port)
        && p.number_or_zero(7)? & !implied == 0;
    plain.then_some(Instruction::Dnat { family: p.number(2)?, address, port })
}
