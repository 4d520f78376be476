//! Encodes a transaction as one netlink batch.

use std::sync::Arc;

use portolan_rules::ruleset::{ElementData, Family, Operation, Set, Transaction};

use super::{
    attributes::{Attribute, Messages},
    declaration,
    element::{ElementRef, ElementWriter},
    error::Error,
    libnftnl::{Name, Scratch},
    linearize::linearize,
    uapi::*,
    wire,
};

/// How large a buffer is kept, in bytes: enough for thousands of elements.
const KEPT: usize = 1 << 20;

/// A transaction for the kernel to judge.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub transaction: Transaction,
    /// Flags that its tables are given (`NFTA_TABLE_FLAGS`).
    pub table_flags: c_int,
}

/// A transaction in the kernel's form: the messages of one batch, one after the other.
///
/// The buffer is kept from one transaction to the next.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// By sequence number less one: where the message starts, and its first operation.
    messages: Vec<(usize, usize)>,
    scratch: Option<Scratch>,
    /// Flags that tables are given (`NFTA_TABLE_FLAGS`), if any.
    pub(super) table_flags: c_int,
    /// The generation that the kernel must be at, if that matters.
    pub(super) generation: Option<u32>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Encodes a transaction, and replaces what was in the batch. Consecutive additions to one set share
    /// messages, as do deletions.
    ///
    /// [`Error::Unencodable`] if an operation has no form in the kernel.
    pub fn encode(&mut self, transaction: &Transaction) -> Result<(), Error> {
        self.bytes.clear();
        self.messages.clear();
        begin(&mut self.bytes, self.generation);
        self.append(transaction)?;
        end(&mut self.bytes, self.messages.len() as u32 + 1);
        Ok(())
    }

    /// Frees the memory of a large transaction.
    pub(super) fn shrink(&mut self) {
        if self.bytes.capacity() > KEPT {
            (self.bytes, self.messages) = (Vec::new(), Vec::new());
        }
    }

    /// The bytes, for one datagram.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of messages, without those that begin and end the batch.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Encodes transactions that the kernel is only to judge: the batch has no end, and the last message asks for an
    /// acknowledgement. Returns, by sequence number less one, the index of the trial that each message belongs to.
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
        let name = Name::new(&transaction.table)?;
        while let Some((family, operation)) = transaction.operations.get(*at) {
            if let Operation::AddElement { set, .. } | Operation::DeleteElement { set, .. } = operation {
                let delete = matches!(operation, Operation::DeleteElement { .. });
                self.elements(transaction, *family, set, delete, at)?;
            } else {
                self.messages.push((self.bytes.len(), *at));
                self.object((*family, &name), operation)?;
                *at += 1;
            }
        }
        Ok(())
    }

    /// Writes the operations from `at` on that add elements to this set, or delete them.
    fn elements(
        &mut self,
        transaction: &Transaction,
        family: Family,
        set: &Arc<Set>,
        delete: bool,
        at: &mut usize,
    ) -> Result<(), String> {
        Name::new(&set.name)?;
        self.messages.push((self.bytes.len(), *at));
        let mut sequence = self.messages.len() as u32;
        let mut writer =
            ElementWriter::begin(&mut self.bytes, sequence, (family, &transaction.table), set, delete);
        while let Some((next, operation)) = transaction.operations.get(*at) {
            let (other, key, element) = match operation {
                Operation::AddElement { set, key, element } if !delete => {
                    (set, key, ElementRef::from(element))
                }
                Operation::DeleteElement { set, key, end } if delete => {
                    let end = end.as_deref();
                    (set, key, ElementRef { end, data: &ElementData::None, comment: None })
                }
                _ => break,
            };
            if *next != family || !(Arc::ptr_eq(other, set) || other.same_declaration(set)) {
                break;
            }
            if writer.write(&mut self.bytes, sequence + 1, key, &element)? {
                sequence += 1;
                self.messages.push((writer.start(), *at));
            }
            *at += 1;
        }
        writer.end(&mut self.bytes);
        Ok(())
    }

    /// Writes an operation on a table, chain, rule or declaration.
    fn object(&mut self, (family, table): (Family, &Name), operation: &Operation) -> Result<(), String> {
        let (kind, flags) = match operation {
            Operation::AddTable => (NFT_MSG_NEWTABLE, NLM_F_CREATE),
            Operation::DeleteTable => (NFT_MSG_DELTABLE, 0),
            Operation::AddSet(_) => (NFT_MSG_NEWSET, NLM_F_CREATE),
            Operation::DeleteSet(_) => (NFT_MSG_DELSET, 0),
            Operation::AddChain(_) => (NFT_MSG_NEWCHAIN, NLM_F_CREATE),
            Operation::DeleteChain(_) => (NFT_MSG_DELCHAIN, 0),
            Operation::AddRule { .. } => (NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND),
            // A deletion without a rule's handle.
            Operation::FlushChain(_) => (NFT_MSG_DELRULE, 0),
            Operation::AddElement { .. } | Operation::DeleteElement { .. } => return Ok(()),
        };
        let (out, sequence) = (&mut self.bytes, self.messages.len() as u32);
        let (kind, flags) = (wire::nf_tables(kind), NLM_F_REQUEST | flags);
        let start = wire::begin_message(out, kind, flags, sequence, family.number(), 0);
        match operation {
            Operation::AddSet(set) => {
                let set = declaration::write(table, set, sequence)?;
                out.extend_from_slice(self.scratch.get_or_insert_default().attributes(&set));
            }
            Operation::AddRule { chain, rule } => {
                let rule = linearize(family, (table, &Name::new(chain)?), rule)?;
                out.extend_from_slice(self.scratch.get_or_insert_default().attributes(&rule));
            }
            _ => wire::string(out, NFTA_TABLE_NAME, table.text()),
        }
        match operation {
            // Without any, a table that exists keeps those that it has.
            Operation::AddTable if self.table_flags != 0 => {
                wire::flags(out, NFTA_TABLE_FLAGS, self.table_flags);
            }
            Operation::DeleteSet(name) => wire::string(out, NFTA_SET_NAME, Name::new(name)?.text()),
            Operation::DeleteChain(name) => wire::string(out, NFTA_CHAIN_NAME, Name::new(name)?.text()),
            Operation::FlushChain(name) => wire::string(out, NFTA_RULE_CHAIN, Name::new(name)?.text()),
            Operation::AddChain(chain) => {
                wire::string(out, NFTA_CHAIN_NAME, Name::new(&chain.name)?.text());
                if let Some(base) = chain.base {
                    let hook = wire::begin_nest(out, NFTA_CHAIN_HOOK);
                    wire::number(out, NFTA_HOOK_HOOKNUM, base.hook.number());
                    wire::number(out, NFTA_HOOK_PRIORITY, base.priority.cast_unsigned());
                    wire::end_nest(out, hook);
                    wire::string(out, NFTA_CHAIN_TYPE, base.chain_type.name());
                }
            }
            _ => {}
        }
        wire::end_message(out, start);
        Ok(())
    }

    /// The operation that the kernel refused, by the sequence number and the offset in its reply. `None` if the reply is
    /// about the batch as a whole, or about one of several elements without saying which, as before Linux 5.19.
    pub(super) fn operation(&self, sequence: u32, offset: Option<u32>) -> Option<usize> {
        let index = usize::try_from(sequence).ok()?.checked_sub(1)?;
        let (start, first) = *self.messages.get(index)?;
        let message = Messages(self.bytes.get(start..)?).next()?;
        let list = message.attributes().find(NFTA_SET_ELEM_LIST_ELEMENTS);
        let Some(list) = list else { return Some(first) };
        let Some(offset) = offset else {
            let elements = list.nested().into_iter().filter(|element| !ends_range(element)).count();
            return (elements == 1).then_some(first);
        };
        // The first element's attribute starts where the list's value does.
        let mut at = list.value.as_ptr().addr() - message.payload.as_ptr().addr() + HEADER;
        let mut operations: usize = 0;
        for element in list.nested() {
            if at > offset as usize {
                break;
            }
            operations += usize::from(!ends_range(&element));
            at += (4 + element.value.len()).next_multiple_of(4);
        }
        Some(first + operations.saturating_sub(1))
    }
}

/// Encodes a transaction as [`Tables::commit`](super::Tables::commit) sends it, and replaces what the buffer holds.
/// [`Error::Unencodable`] if an operation has no form in the kernel.
pub fn encode(transaction: &Transaction, buffer: &mut Vec<u8>) -> Result<(), Error> {
    let mut batch = Batch { bytes: std::mem::take(buffer), ..Batch::default() };
    let result = batch.encode(transaction);
    *buffer = batch.bytes;
    result
}

/// Whether an element is the end of a range, which is no operation of its own.
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

/// Writes the message that begins a batch. The kernel refuses all of it (`ERESTART`) if it is at another generation than
/// this one (`NFNL_BATCH_GENID`).
fn begin(buffer: &mut Vec<u8>, generation: Option<u32>) {
    let kind = NFNL_MSG_BATCH_BEGIN;
    let start = wire::begin_message(buffer, kind, NLM_F_REQUEST, 0, 0, NFNL_SUBSYS_NFTABLES);
    if let Some(generation) = generation {
        wire::number(buffer, NFNL_BATCH_GENID, generation);
    }
    wire::end_message(buffer, start);
}

/// Writes the message that ends a batch, and asks for an acknowledgement.
fn end(buffer: &mut Vec<u8>, sequence: u32) {
    let flags = NLM_F_REQUEST | NLM_F_ACK;
    let start = wire::begin_message(buffer, NFNL_MSG_BATCH_END, flags, sequence, 0, NFNL_SUBSYS_NFTABLES);
    wire::end_message(buffer, start);
}
