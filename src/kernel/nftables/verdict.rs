//! Encodes and decodes verdicts.

use portolan_rules::ruleset::{Name, Verdict};

use super::{attributes::Attributes, uapi::*};

/// The code of a verdict, and the chain that it jumps to.
pub(super) fn verdict_code(verdict: &Verdict) -> (i32, Option<&Name>) {
    match verdict {
        Verdict::Accept => (NF_ACCEPT, None),
        Verdict::Drop => (NF_DROP, None),
        Verdict::Return => (NFT_RETURN, None),
        Verdict::Jump(chain) => (NFT_JUMP, Some(chain)),
        Verdict::Goto(chain) => (NFT_GOTO, Some(chain)),
    }
}

/// Reads the value of `NFTA_DATA_VERDICT`.
pub(super) fn parse_verdict(attributes: Attributes<'_>) -> Option<Verdict> {
    let chain = || attributes.name(NFTA_VERDICT_CHAIN);
    match attributes.number(NFTA_VERDICT_CODE)?.cast_signed() {
        NF_ACCEPT => Some(Verdict::Accept),
        NF_DROP => Some(Verdict::Drop),
        NFT_RETURN => Some(Verdict::Return),
        NFT_JUMP => chain().map(Verdict::Jump),
        NFT_GOTO => chain().map(Verdict::Goto),
        _ => None,
    }
}
