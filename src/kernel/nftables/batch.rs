//! Encodes a transaction as one netlink batch.

use std::sync::Arc;

use portolan_rules::ruleset::{Family, Operation, Set, Transaction};

use super::{
    attributes::{Attribute, Messages},
    declaration,
    element::ElementList,
    error::Error,
    libnftnl::Scratch,
    linearize::linearize,
    uapi::*,
    wire::{self, checked},
};

/// Largest buffer to keep between transactions, in bytes: enough for thousands of elements.
const KEPT: usize = 1 << 20;

/// A transaction that the kernel validates without committing it.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub transaction: Transaction,
    /// Flags of the tables that it creates (`NFTA_TABLE_FLAGS`).
    pub table_flags: c_int,
}

/// A transaction encoded for the kernel: the messages of one batch, one after the other.
///
/// The buffer is reused for the next transaction.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Indexed by sequence number minus one: where the message starts, and the index of its first operation.
    messages: Vec<(usize, usize)>,
    scratch: Scratch,
    /// Flags of the tables that are created (`NFTA_TABLE_FLAGS`); zero for none.
    pub(super) table_flags: c_int,
    /// The generation that the kernel must be at; `None` for any.
    pub(super) generation: Option<u32>,
}

impl Batch {
    /// Encodes a transaction, which replaces the contents of the batch. Consecutive additions to one set share
    /// messages, as do deletions.
    ///
    /// Returns [`Error::Unencodable`] if the kernel has no representation of an operation.
    pub fn encode(&mut self, transaction: &Transaction) -> Result<(), Error> {
        self.bytes.clear();
        self.messages.clear();
        begin(&mut self.bytes, self.generation);
        self.append(transaction)?;
        end(&mut self.bytes, self.messages.len() as u32 + 1);
        Ok(())
    }

    /// Frees the buffer if a large transaction made it grow.
    pub(super) fn shrink(&mut self) {
        if self.bytes.capacity() > KEPT {
            (self.bytes, self.messages) = (Vec::new(), Vec::new());
        }
    }

    /// The encoded batch, to be sent as one datagram.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of messages, not counting those that begin and end the batch.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Encodes transactions that the kernel validates and does not commit: the batch has no end message, and its last
    /// message requests an acknowledgement. Returns the index of the trial that each message belongs to, by sequence
    /// number minus one.
    pub(super) fn encode_trials(&mut self, trials: &[Trial]) -> Result<Vec<usize>, Error> {
        self.bytes.clear();
        self.messages.clear();
        begin(&mut self.bytes, None);
        let (mut owners, kept_flags) = (Vec::new(), self.table_flags);
        for (index, trial) in trials.iter().enumerate() {
            self.table_flags = trial.table_flags;
            let result = self.append(&trial.transaction);
            self.table_flags = kept_flags;
            result?;
            owners.resize(self.messages.len(), index);
        }
        if let Some(flags) =
            self.messages.last().and_then(|(start, _)| self.bytes.get_mut(start + 6..start + 8))
        {
            let acknowledged = NLM_F_ACK as u16 | u16::from_ne_bytes([flags[0], flags[1]]);
            flags.copy_from_slice(&acknowledged.to_ne_bytes());
        }
        Ok(owners)
    }

    fn append(&mut self, transaction: &Transaction) -> Result<(), Error> {
        let mut at = 0;
        self.operations(transaction, &mut at).map_err(|reason| Error::Unencodable { operation: at, reason })
    }

    fn operations(&mut self, transaction: &Transaction, at: &mut usize) -> Result<(), String> {
        let table = checked(&transaction.table)?;
        while let Some((family, operation)) = transaction.operations.get(*at) {
            self.messages.push((self.bytes.len(), *at));
            match operation {
                Operation::AddElement { set, .. } => {
                    self.elements(transaction, at, NFT_MSG_NEWSETELEM, *family, set)?;
                }
                Operation::DeleteElement { set, .. } => {
                    self.elements(transaction, at, NFT_MSG_DELSETELEM, *family, set)?;
                }
                _ => {
                    self.object((*family, table), operation)?;
                    *at += 1;
                }
            }
        }
        Ok(())
    }

    /// Writes one message with the operations from `at` on that add elements to this set, or that delete elements from
    /// it, as many as fit. Advances `at` past them.
    fn elements(
        &mut self,
        transaction: &Transaction,
        at: &mut usize,
        kind: c_int,
        family: Family,
        set: &Arc<Set>,
    ) -> Result<(), String> {
        let sequence = self.messages.len() as u32;
        checked(&set.name)?;
        let mut list = ElementList::begin(&mut self.bytes, kind, sequence, (family, &transaction.table), set);
        while let Some((next, operation)) = transaction.operations.get(*at) {
            let (other_kind, other, key, end, element) = match operation {
                Operation::AddElement { set, key, element } => {
                    (NFT_MSG_NEWSETELEM, set, key, element.end.as_deref(), Some(element))
                }
                Operation::DeleteElement { set, key, end } => {
                    (NFT_MSG_DELSETELEM, set, key, end.as_deref(), None)
                }
                _ => break,
            };
            let is_alike = (other_kind, *next) == (kind, family)
                && (Arc::ptr_eq(other, set) || other.same_declaration(set));
            if !is_alike || !list.push(key, end, element)? {
                break;
            }
            *at += 1;
        }
        list.end();
        Ok(())
    }

    /// Writes an operation on a table, chain, rule or declaration.
    fn object(&mut self, (family, table): (Family, &str), operation: &Operation) -> Result<(), String> {
        let (kind, flags, name) = match operation {
            Operation::AddTable => (NFT_MSG_NEWTABLE, NLM_F_CREATE, None),
            Operation::DeleteTable => (NFT_MSG_DELTABLE, 0, None),
            Operation::AddSet(set) => (NFT_MSG_NEWSET, NLM_F_CREATE, Some((NFTA_SET_NAME, &set.name))),
            Operation::DeleteSet(name) => (NFT_MSG_DELSET, 0, Some((NFTA_SET_NAME, name))),
            Operation::AddChain(chain) => {
                (NFT_MSG_NEWCHAIN, NLM_F_CREATE, Some((NFTA_CHAIN_NAME, &chain.name)))
            }
            Operation::DeleteChain(name) => (NFT_MSG_DELCHAIN, 0, Some((NFTA_CHAIN_NAME, name))),
            Operation::AddRule { chain, .. } => {
                (NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, Some((NFTA_RULE_CHAIN, chain)))
            }
            // Without a rule's handle, all rules of the chain are deleted.
            Operation::FlushChain(name) => (NFT_MSG_DELRULE, 0, Some((NFTA_RULE_CHAIN, name))),
            Operation::AddElement { .. } | Operation::DeleteElement { .. } => return Ok(()),
        };
        let (out, sequence) = (&mut self.bytes, self.messages.len() as u32);
        let (kind, flags) = (wire::nf_tables(kind), NLM_F_REQUEST | flags);
        let start = wire::begin_message(out, kind, flags, sequence, family.number(), 0);
        wire::string(out, NFTA_TABLE_NAME, table);
        if let Some((attribute, name)) = name {
            wire::string(out, attribute, checked(name)?);
        }
        match operation {
            // Without this attribute, an existing table keeps its flags.
            Operation::AddTable if self.table_flags != 0 => {
                wire::flags(out, NFTA_TABLE_FLAGS, self.table_flags);
            }
            Operation::AddSet(set) => declaration::write(out, set, sequence)?,
            Operation::AddRule { rule, .. } => {
                out.extend_from_slice(self.scratch.rule(&linearize(family, rule)?)?);
            }
            Operation::AddChain(chain) => {
                if let Some(base) = chain.base {
                    wire::nest(out, NFTA_CHAIN_HOOK, |hook| {
                        wire::number(hook, NFTA_HOOK_HOOKNUM, base.hook.number());
                        wire::number(hook, NFTA_HOOK_PRIORITY, base.priority.cast_unsigned());
                    });
                    wire::string(out, NFTA_CHAIN_TYPE, base.chain_type.name());
                }
            }
            _ => {}
        }
        wire::end_message(out, start);
        Ok(())
    }

    /// Finds the operation that the kernel refused by the sequence number and the offset in its reply. `None` if the
    /// reply is about the whole batch, or about one of several elements without an offset, as before Linux 5.19.
    pub(super) fn operation(&self, sequence: u32, offset: Option<u32>) -> Option<usize> {
        let index = usize::try_from(sequence).ok()?.checked_sub(1)?;
        let (start, first) = *self.messages.get(index)?;
        let message = Messages(self.bytes.get(start..)?).next()?;
        let list = message.attributes().find(NFTA_SET_ELEM_LIST_ELEMENTS);
        let Some(list) = list else { return Some(first) };
        // Offsets are relative to the start of the message's header. An element's attribute starts before its value.
        let header = message.payload.as_ptr().addr() - HEADER;
        let start = |element: &Attribute<'_>| element.value.as_ptr().addr() - header - ATTRIBUTE_HEADER;
        let begun = |element: &Attribute<'_>| offset.is_none_or(|at| start(element) <= at as usize);
        let begun = list.nested().iter().take_while(begun).filter(|element| !ends_range(element)).count();
        if offset.is_none() {
            return (begun == 1).then_some(first);
        }
        Some(first + begun.saturating_sub(1))
    }
}

/// Whether an element is the end of a range, which belongs to the operation of the range's start.
fn ends_range(element: &Attribute<'_>) -> bool {
    element.nested().flags(NFTA_SET_ELEM_FLAGS) == NFT_SET_ELEM_INTERVAL_END
}

/// A batch without any message.
pub(super) fn empty(generation: Option<u32>) -> Vec<u8> {
    let mut buffer = Vec::new();
    begin(&mut buffer, generation);
    end(&mut buffer, 1);
    buffer
}

/// Writes the message that begins a batch. Given a generation (`NFNL_BATCH_GENID`), the kernel refuses the batch with
/// `ERESTART` if it is at another one.
fn begin(buffer: &mut Vec<u8>, generation: Option<u32>) {
    let kind = NFNL_MSG_BATCH_BEGIN;
    let start = wire::begin_message(buffer, kind, NLM_F_REQUEST, 0, 0, NFNL_SUBSYS_NFTABLES);
    if let Some(generation) = generation {
        wire::number(buffer, NFNL_BATCH_GENID, generation);
    }
    wire::end_message(buffer, start);
}

/// Writes the message that ends a batch and requests an acknowledgement.
fn end(buffer: &mut Vec<u8>, sequence: u32) {
    let flags = NLM_F_REQUEST | NLM_F_ACK;
    let start = wire::begin_message(buffer, NFNL_MSG_BATCH_END, flags, sequence, 0, NFNL_SUBSYS_NFTABLES);
    wire::end_message(buffer, start);
}
