//! Instructions as libnftnl's expressions.

use std::{
    ffi::{CStr, CString},
    ptr::NonNull,
};

use nftnl::{Rule, expr::Expression};
use nftnl_sys as sys;
use portolan_rules::ruleset::Verdict;

use super::allocated;
use crate::kernel::{
    instruction::{Destination, Instruction, verdict_code},
    uapi::{
        NFT_DYNSET_OP_DELETE, NFT_DYNSET_OP_UPDATE, NFT_HASH_JENKINS, NFT_LOOKUP_F_INV, NFT_NAT_DNAT,
        NFT_NG_RANDOM,
    },
};

/// One parameter of an expression, by libnftnl's number.
enum Parameter<'a> {
    Byte(u32, u8),
    Number(u32, u32),
    Long(u32, u64),
    Data(u32, &'a [u8]),
    Text(u32, CString),
}

/// An expression's name and parameters, all of them such that libnftnl takes them.
pub(super) struct Prepared<'a> {
    name: &'static CStr,
    parameters: Vec<Parameter<'a>>,
}

impl<'a> Prepared<'a> {
    #[expect(clippy::too_many_lines, reason = "one arm for each expression")]
    pub(super) fn new(instruction: &'a Instruction) -> Result<Self, String> {
        use Parameter::{Byte, Data, Long, Number, Text};
        let (name, parameters) = match instruction {
            Instruction::Payload { base, offset, length, to } => (
                c"payload",
                vec![
                    Number(sys::NFTNL_EXPR_PAYLOAD_BASE, *base),
                    Number(sys::NFTNL_EXPR_PAYLOAD_OFFSET, *offset),
                    Number(sys::NFTNL_EXPR_PAYLOAD_LEN, *length),
                    Number(sys::NFTNL_EXPR_PAYLOAD_DREG, to.number()),
                ],
            ),
            Instruction::Meta { key, to } => (
                c"meta",
                vec![Number(sys::NFTNL_EXPR_META_KEY, *key), Number(sys::NFTNL_EXPR_META_DREG, to.number())],
            ),
            Instruction::SetMeta { key, from } => (
                c"meta",
                vec![
                    Number(sys::NFTNL_EXPR_META_KEY, *key),
                    Number(sys::NFTNL_EXPR_META_SREG, from.number()),
                ],
            ),
            Instruction::Conntrack { key, to } => (
                c"ct",
                vec![Number(sys::NFTNL_EXPR_CT_KEY, *key), Number(sys::NFTNL_EXPR_CT_DREG, to.number())],
            ),
            Instruction::Fib { result, flags, to } => (
                c"fib",
                vec![
                    Number(sys::NFTNL_EXPR_FIB_RESULT, *result),
                    Number(sys::NFTNL_EXPR_FIB_FLAGS, *flags),
                    Number(sys::NFTNL_EXPR_FIB_DREG, to.number()),
                ],
            ),
            Instruction::Compare { from, op, data } => (
                c"cmp",
                vec![
                    Number(sys::NFTNL_EXPR_CMP_SREG, from.number()),
                    Number(sys::NFTNL_EXPR_CMP_OP, *op),
                    Data(sys::NFTNL_EXPR_CMP_DATA, data),
                ],
            ),
            Instruction::Bitwise { from, to, mask, xor } => (
                c"bitwise",
                vec![
                    Number(sys::NFTNL_EXPR_BITWISE_SREG, from.number()),
                    Number(sys::NFTNL_EXPR_BITWISE_DREG, to.number()),
                    Number(sys::NFTNL_EXPR_BITWISE_OP, 0),
                    Number(sys::NFTNL_EXPR_BITWISE_LEN, mask.len() as u32),
                    Data(sys::NFTNL_EXPR_BITWISE_MASK, mask),
                    Data(sys::NFTNL_EXPR_BITWISE_XOR, xor),
                ],
            ),
            Instruction::Immediate { to, data } => (
                c"immediate",
                vec![Number(sys::NFTNL_EXPR_IMM_DREG, to.number()), Data(sys::NFTNL_EXPR_IMM_DATA, data)],
            ),
            Instruction::Verdict(verdict) => (c"immediate", immediate_verdict(verdict)?),
            Instruction::Lookup { set, from, to, inverted } => {
                let mut parameters = vec![
                    Number(sys::NFTNL_EXPR_LOOKUP_SREG, from.number()),
                    Text(sys::NFTNL_EXPR_LOOKUP_SET, text(set)?),
                ];
                match to {
                    Destination::Nowhere => {}
                    Destination::Verdict => parameters.push(Number(sys::NFTNL_EXPR_LOOKUP_DREG, 0)),
                    Destination::Register(to) => {
                        parameters.push(Number(sys::NFTNL_EXPR_LOOKUP_DREG, to.number()));
                    }
                }
                if *inverted {
                    parameters.push(Number(sys::NFTNL_EXPR_LOOKUP_FLAGS, NFT_LOOKUP_F_INV));
                }
                (c"lookup", parameters)
            }
            Instruction::Random { to, modulus, offset } => (
                c"numgen",
                vec![
                    Number(sys::NFTNL_EXPR_NG_DREG, to.number()),
                    Number(sys::NFTNL_EXPR_NG_MODULUS, *modulus),
                    Number(sys::NFTNL_EXPR_NG_TYPE, NFT_NG_RANDOM),
                    Number(sys::NFTNL_EXPR_NG_OFFSET, *offset),
                ],
            ),
            Instruction::Hash { from, to, length, modulus, seed, offset } => (
                c"hash",
                vec![
                    Number(sys::NFTNL_EXPR_HASH_SREG, from.number()),
                    Number(sys::NFTNL_EXPR_HASH_DREG, to.number()),
                    Number(sys::NFTNL_EXPR_HASH_LEN, *length),
                    Number(sys::NFTNL_EXPR_HASH_MODULUS, *modulus),
                    Number(sys::NFTNL_EXPR_HASH_SEED, *seed),
                    Number(sys::NFTNL_EXPR_HASH_OFFSET, *offset),
                    Number(sys::NFTNL_EXPR_HASH_TYPE, NFT_HASH_JENKINS),
                ],
            ),
            Instruction::Update { set, key, data, timeout_ms } => {
                let mut parameters = vec![
                    Number(sys::NFTNL_EXPR_DYNSET_SREG_KEY, key.number()),
                    Number(sys::NFTNL_EXPR_DYNSET_OP, NFT_DYNSET_OP_UPDATE),
                    Long(sys::NFTNL_EXPR_DYNSET_TIMEOUT, *timeout_ms),
                    Text(sys::NFTNL_EXPR_DYNSET_SET_NAME, text(set)?),
                ];
                if let Some(data) = data {
                    parameters.push(Number(sys::NFTNL_EXPR_DYNSET_SREG_DATA, data.number()));
                }
                (c"dynset", parameters)
            }
            Instruction::Delete { set, key, data } => {
                let mut parameters = vec![
                    Number(sys::NFTNL_EXPR_DYNSET_SREG_KEY, key.number()),
                    Number(sys::NFTNL_EXPR_DYNSET_OP, NFT_DYNSET_OP_DELETE),
                    Text(sys::NFTNL_EXPR_DYNSET_SET_NAME, text(set)?),
                ];
                if let Some(data) = data {
                    parameters.push(Number(sys::NFTNL_EXPR_DYNSET_SREG_DATA, data.number()));
                }
                (c"dynset", parameters)
            }
            Instruction::Dnat { family, address, port } => (
                c"nat",
                vec![
                    Number(sys::NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT),
                    Number(sys::NFTNL_EXPR_NAT_FAMILY, *family),
                    Number(sys::NFTNL_EXPR_NAT_REG_ADDR_MIN, address.number()),
                    Number(sys::NFTNL_EXPR_NAT_REG_PROTO_MIN, port.number()),
                ],
            ),
            Instruction::Masquerade { flags } => (c"masq", vec![Number(sys::NFTNL_EXPR_MASQ_FLAGS, *flags)]),
            Instruction::Reject { kind, code } => (
                c"reject",
                vec![
                    Number(sys::NFTNL_EXPR_REJECT_TYPE, *kind),
                    Byte(sys::NFTNL_EXPR_REJECT_CODE, *code as u8),
                ],
            ),
            Instruction::Other(name) => return Err(format!("expression `{name}` is not one of Portolan's")),
        };
        Ok(Self { name, parameters })
    }
}

impl Expression for Prepared<'_> {
    fn to_expr(&self, _rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        // SAFETY: the name is terminated; libnftnl returns null or an expression that nobody else has.
        let expression = allocated(unsafe { sys::nftnl_expr_alloc(self.name.as_ptr()) });
        let pointer = expression.as_ptr();
        for parameter in &self.parameters {
            // SAFETY: the expression lives, and each setter copies what it is given: a number, as many bytes
            // as it is told, or a terminated string. Constants have at most 16 bytes, where 64 fit.
            unsafe {
                match parameter {
                    Parameter::Byte(number, value) => sys::nftnl_expr_set_u8(pointer, *number as u16, *value),
                    Parameter::Number(number, value) => {
                        sys::nftnl_expr_set_u32(pointer, *number as u16, *value);
                    }
                    Parameter::Long(number, value) => {
                        sys::nftnl_expr_set_u64(pointer, *number as u16, *value);
                    }
                    Parameter::Data(number, value) => {
                        let length = value.len() as u32;
                        sys::nftnl_expr_set(pointer, *number as u16, value.as_ptr().cast(), length);
                    }
                    Parameter::Text(number, value) => {
                        sys::nftnl_expr_set_str(pointer, *number as u16, value.as_ptr());
                    }
                }
            }
        }
        expression
    }
}

fn immediate_verdict(verdict: &Verdict) -> Result<Vec<Parameter<'static>>, String> {
    let (code, chain) = verdict_code(verdict);
    let mut parameters = vec![
        Parameter::Number(sys::NFTNL_EXPR_IMM_DREG, 0),
        Parameter::Number(sys::NFTNL_EXPR_IMM_VERDICT, code.cast_unsigned()),
    ];
    if let Some(chain) = chain {
        parameters.push(Parameter::Text(sys::NFTNL_EXPR_IMM_CHAIN, text(chain)?));
    }
    Ok(parameters)
}

fn text(name: &str) -> Result<CString, String> {
    Ok(super::CName::new(name)?.0)
}
