//! Instructions as libnftnl's expressions.

use std::{
    cell::Cell,
    ffi::{CStr, CString},
    ptr::NonNull,
};

use nftnl::{Rule, expr::Expression};
use nftnl_sys as sys;
use portolan_rules::ruleset::Verdict;

use super::{Attribute, allocated, attribute};
use crate::kernel::nftables::{
    instruction::{Destination, Instruction, verdict_code},
    uapi::{
        NFT_DYNSET_OP_DELETE, NFT_DYNSET_OP_UPDATE, NFT_HASH_JENKINS, NFT_LOOKUP_F_INV, NFT_NAT_DNAT,
        NFT_NG_RANDOM,
    },
};

/// One parameter of an expression.
enum Parameter<'a> {
    Byte(Attribute, u8),
    Number(Attribute, u32),
    Long(Attribute, u64),
    Data(Attribute, &'a [u8]),
    Text(Attribute, CString),
}

impl Parameter<'_> {
    /// Its attribute, and its value as libnftnl reads it: numbers in host order, texts with their zero.
    fn value(&self) -> (Attribute, Vec<u8>) {
        match self {
            Self::Byte(attribute, value) => (*attribute, vec![*value]),
            Self::Number(attribute, value) => (*attribute, value.to_ne_bytes().to_vec()),
            Self::Long(attribute, value) => (*attribute, value.to_ne_bytes().to_vec()),
            Self::Data(attribute, value) => (*attribute, value.to_vec()),
            Self::Text(attribute, value) => (*attribute, value.as_bytes_with_nul().to_vec()),
        }
    }
}

/// An expression of libnftnl with all of its parameters.
pub(super) struct Prepared(Cell<Option<NonNull<sys::nftnl_expr>>>);

impl Prepared {
    #[expect(clippy::too_many_lines, reason = "one arm for each expression")]
    pub(super) fn new(instruction: &Instruction) -> Result<Self, String> {
        use Parameter::{Byte, Data, Long, Number, Text};
        let (name, parameters) = match instruction {
            Instruction::Payload { base, offset, length, to } => (
                c"payload",
                vec![
                    Number(attribute!(NFTNL_EXPR_PAYLOAD_BASE), *base),
                    Number(attribute!(NFTNL_EXPR_PAYLOAD_OFFSET), *offset),
                    Number(attribute!(NFTNL_EXPR_PAYLOAD_LEN), *length),
                    Number(attribute!(NFTNL_EXPR_PAYLOAD_DREG), to.number()),
                ],
            ),
            Instruction::Meta { key, to } => (
                c"meta",
                vec![
                    Number(attribute!(NFTNL_EXPR_META_KEY), *key),
                    Number(attribute!(NFTNL_EXPR_META_DREG), to.number()),
                ],
            ),
            Instruction::SetMeta { key, from } => (
                c"meta",
                vec![
                    Number(attribute!(NFTNL_EXPR_META_KEY), *key),
                    Number(attribute!(NFTNL_EXPR_META_SREG), from.number()),
                ],
            ),
            Instruction::Conntrack { key, to } => (
                c"ct",
                vec![
                    Number(attribute!(NFTNL_EXPR_CT_KEY), *key),
                    Number(attribute!(NFTNL_EXPR_CT_DREG), to.number()),
                ],
            ),
            Instruction::Fib { result, flags, to } => (
                c"fib",
                vec![
                    Number(attribute!(NFTNL_EXPR_FIB_RESULT), *result),
                    Number(attribute!(NFTNL_EXPR_FIB_FLAGS), *flags),
                    Number(attribute!(NFTNL_EXPR_FIB_DREG), to.number()),
                ],
            ),
            Instruction::Compare { from, op, data } => (
                c"cmp",
                vec![
                    Number(attribute!(NFTNL_EXPR_CMP_SREG), from.number()),
                    Number(attribute!(NFTNL_EXPR_CMP_OP), *op),
                    Data(attribute!(NFTNL_EXPR_CMP_DATA), data),
                ],
            ),
            Instruction::Bitwise { from, to, mask, xor } => (
                c"bitwise",
                vec![
                    Number(attribute!(NFTNL_EXPR_BITWISE_SREG), from.number()),
                    Number(attribute!(NFTNL_EXPR_BITWISE_DREG), to.number()),
                    Number(attribute!(NFTNL_EXPR_BITWISE_OP), 0),
                    Number(attribute!(NFTNL_EXPR_BITWISE_LEN), mask.len() as u32),
                    Data(attribute!(NFTNL_EXPR_BITWISE_MASK), mask),
                    Data(attribute!(NFTNL_EXPR_BITWISE_XOR), xor),
                ],
            ),
            Instruction::Immediate { to, data } => (
                c"immediate",
                vec![
                    Number(attribute!(NFTNL_EXPR_IMM_DREG), to.number()),
                    Data(attribute!(NFTNL_EXPR_IMM_DATA), data),
                ],
            ),
            Instruction::Verdict(verdict) => (c"immediate", immediate_verdict(verdict)?),
            Instruction::Lookup { set, from, to, inverted } => {
                let mut parameters = vec![
                    Number(attribute!(NFTNL_EXPR_LOOKUP_SREG), from.number()),
                    Text(attribute!(NFTNL_EXPR_LOOKUP_SET), text(set)?),
                ];
                match to {
                    Destination::Nowhere => {}
                    Destination::Verdict => parameters.push(Number(attribute!(NFTNL_EXPR_LOOKUP_DREG), 0)),
                    Destination::Register(to) => {
                        parameters.push(Number(attribute!(NFTNL_EXPR_LOOKUP_DREG), to.number()));
                    }
                }
                if *inverted {
                    parameters.push(Number(attribute!(NFTNL_EXPR_LOOKUP_FLAGS), NFT_LOOKUP_F_INV));
                }
                (c"lookup", parameters)
            }
            Instruction::Random { to, modulus, offset } => (
                c"numgen",
                vec![
                    Number(attribute!(NFTNL_EXPR_NG_DREG), to.number()),
                    Number(attribute!(NFTNL_EXPR_NG_MODULUS), *modulus),
                    Number(attribute!(NFTNL_EXPR_NG_TYPE), NFT_NG_RANDOM),
                    Number(attribute!(NFTNL_EXPR_NG_OFFSET), *offset),
                ],
            ),
            Instruction::Hash { from, to, length, modulus, seed, offset } => (
                c"hash",
                vec![
                    Number(attribute!(NFTNL_EXPR_HASH_SREG), from.number()),
                    Number(attribute!(NFTNL_EXPR_HASH_DREG), to.number()),
                    Number(attribute!(NFTNL_EXPR_HASH_LEN), *length),
                    Number(attribute!(NFTNL_EXPR_HASH_MODULUS), *modulus),
                    Number(attribute!(NFTNL_EXPR_HASH_SEED), *seed),
                    Number(attribute!(NFTNL_EXPR_HASH_OFFSET), *offset),
                    Number(attribute!(NFTNL_EXPR_HASH_TYPE), NFT_HASH_JENKINS),
                ],
            ),
            Instruction::Update { set, key, data, timeout_ms } => {
                let mut parameters = vec![
                    Number(attribute!(NFTNL_EXPR_DYNSET_SREG_KEY), key.number()),
                    Number(attribute!(NFTNL_EXPR_DYNSET_OP), NFT_DYNSET_OP_UPDATE),
                    Long(attribute!(NFTNL_EXPR_DYNSET_TIMEOUT), *timeout_ms),
                    Text(attribute!(NFTNL_EXPR_DYNSET_SET_NAME), text(set)?),
                ];
                if let Some(data) = data {
                    parameters.push(Number(attribute!(NFTNL_EXPR_DYNSET_SREG_DATA), data.number()));
                }
                (c"dynset", parameters)
            }
            Instruction::Delete { set, key, data } => {
                let mut parameters = vec![
                    Number(attribute!(NFTNL_EXPR_DYNSET_SREG_KEY), key.number()),
                    Number(attribute!(NFTNL_EXPR_DYNSET_OP), NFT_DYNSET_OP_DELETE),
                    Text(attribute!(NFTNL_EXPR_DYNSET_SET_NAME), text(set)?),
                ];
                if let Some(data) = data {
                    parameters.push(Number(attribute!(NFTNL_EXPR_DYNSET_SREG_DATA), data.number()));
                }
                (c"dynset", parameters)
            }
            Instruction::Dnat { family, address, port } => (
                c"nat",
                vec![
                    Number(attribute!(NFTNL_EXPR_NAT_TYPE), NFT_NAT_DNAT),
                    Number(attribute!(NFTNL_EXPR_NAT_FAMILY), *family),
                    Number(attribute!(NFTNL_EXPR_NAT_REG_ADDR_MIN), address.number()),
                    Number(attribute!(NFTNL_EXPR_NAT_REG_PROTO_MIN), port.number()),
                ],
            ),
            Instruction::Masquerade { flags } => {
                (c"masq", vec![Number(attribute!(NFTNL_EXPR_MASQ_FLAGS), *flags)])
            }
            Instruction::Reject { kind, code } => (
                c"reject",
                vec![
                    Number(attribute!(NFTNL_EXPR_REJECT_TYPE), *kind),
                    Byte(attribute!(NFTNL_EXPR_REJECT_CODE), *code as u8),
                ],
            ),
            Instruction::Other(name) => return Err(format!("expression `{name}` is not one of Portolan's")),
        };
        Self::build(name, &parameters)
    }

    /// An expression of this name. Refuses, with its attribute's name, a parameter that libnftnl does not take.
    fn build(name: &CStr, parameters: &[Parameter<'_>]) -> Result<Self, String> {
        // SAFETY: the name is terminated; libnftnl returns null or an expression that nobody else has.
        let expression = allocated(unsafe { sys::nftnl_expr_alloc(name.as_ptr()) });
        let prepared = Self(Cell::new(Some(expression)));
        for (attribute, value) in parameters.iter().map(Parameter::value) {
            let (number, length) = (attribute.number as u16, value.len() as u32);
            // SAFETY: the expression lives, and the setter copies as many bytes as it is told. Constants have at most
            // 16 bytes, where 64 fit.
            attribute.taken(unsafe {
                sys::nftnl_expr_set(expression.as_ptr(), number, value.as_ptr().cast(), length)
            })?;
        }
        Ok(prepared)
    }

    /// Appends it to a rule.
    pub(super) fn append_to(self, rule: &mut Rule<'_>) {
        rule.add_expr(&self);
    }
}

impl Expression for Prepared {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        // Only `append_to` leads here, once: the rule owns the expression from now on.
        self.0.take().unwrap_or_else(|| std::process::abort())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(expression) = self.0.take() {
            // SAFETY: allocated by `build`, and given to no rule.
            unsafe { sys::nftnl_expr_free(expression.as_ptr()) };
        }
    }
}

fn immediate_verdict(verdict: &Verdict) -> Result<Vec<Parameter<'static>>, String> {
    let (code, chain) = verdict_code(verdict);
    let mut parameters = vec![
        Parameter::Number(attribute!(NFTNL_EXPR_IMM_DREG), 0),
        Parameter::Number(attribute!(NFTNL_EXPR_IMM_VERDICT), code.cast_unsigned()),
    ];
    if let Some(chain) = chain {
        parameters.push(Parameter::Text(attribute!(NFTNL_EXPR_IMM_CHAIN), text(chain)?));
    }
    Ok(parameters)
}

fn text(name: &str) -> Result<CString, String> {
    Ok(super::CName::new(name)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_that_libnftnl_does_not_know_is_named() {
        let known = Parameter::Number(attribute!(NFTNL_EXPR_NG_MODULUS), 3);
        let unknown = Parameter::Number(Attribute { number: 40, name: "NFTNL_EXPR_NG_SEED" }, 1);
        assert!(Prepared::build(c"numgen", &[known]).is_ok());
        let error = Prepared::build(c"numgen", &[unknown]).err().unwrap();
        assert_eq!(error, "libnftnl does not take NFTNL_EXPR_NG_SEED");
    }
}
