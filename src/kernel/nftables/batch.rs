//! Encodes a transaction as one netlink batch.

use std::sync::Arc;

use nftnl::MsgType;
use portolan_rules::{
    ruleset::{ElementData, Family, Set},
    transaction::{Operation, Transaction},
};

use super::{
    Error,
    attributes::{Attribute, Messages},
    element::{ElementRef, ElementWriter},
    libnftnl::{CName, SetMessage, Writer},
    linearize::linearize,
    owner,
    probe::Trial,
    uapi::{
        HEADER, NFNL_BATCH_GENID, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES,
        NFT_SET_ELEM_INTERVAL_END, NFTA_SET_ELEM_FLAGS, NFTA_SET_ELEM_LIST_ELEMENTS, NLM_F_ACK,
        NLM_F_REQUEST,
    },
    wire,
};

/// How large a buffer is kept, in bytes: enough for thousands of elements.
const KEPT: usize = 1 << 20;

/// A transaction in the kernel's form: the messages of one batch, one after the other.
///
/// The buffer is kept from one transaction to the next.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// By sequence number less one: where the message starts, and its first operation.
    messages: Vec<(usize, usize)>,
    writer: Option<Writer>,
    /// Flags that tables are given (`NFTA_TABLE_FLAGS`), if any.
    pub(super) table_flags: u32,
    /// The generation that the kernel must be at, if that matters.
    pub(super) generation: Option<u32>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch of {} messages, {} bytes", self.messages(), self.bytes.len())
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Encodes a transaction, in the place of what was in the batch. Consecutive additions to one set share
    /// messages, as do deletions.
    ///
    /// [`Error::Unencodable`] if an operation has no form in the kernel.
    pub fn encode(&mut self, transaction: &Transaction) -> Result<(), Error> {
        self.bytes.clear();
        self.messages.clear();
        let mut at = 0;
        let result = self.operations(transaction, &mut at);
        if result.is_err() {
            self.bytes.clear();
            self.messages.clear();
        }
        result.map_err(|reason| Error::Unencodable { operation: at, reason })
    }

    /// Gives up what memory a large transaction took.
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
    /// acknowledgement. Gives, by sequence number less one, the index of the trial that a message is of.
    pub(super) fn encode_trials(&mut self, trials: &[Trial]) -> Result<Vec<usize>, Error> {
        self.bytes.clear();
        self.messages.clear();
        frame(&mut self.bytes, NFNL_MSG_BATCH_BEGIN, 0, 0);
        let (mut owners, kept_flags) = (Vec::new(), self.table_flags);
        for (index, trial) in trials.iter().enumerate() {
            let mut at = 0;
            self.table_flags = trial.table_flags;
            let result = self.append(&trial.transaction, &mut at);
            self.table_flags = kept_flags;
            result.map_err(|reason| Error::Unencodable { operation: at, reason })?;
            owners.resize(self.messages.len(), index);
        }
        if let Some(flags) =
            self.messages.last().and_then(|(start, _)| self.bytes.get_mut(start + 6..start + 8))
        {
            let acknowledged = NLM_F_ACK | u16::from_ne_bytes([flags[0], flags[1]]);
            flags.copy_from_slice(&acknowledged.to_ne_bytes());
        }
        Ok(owners)
    }

    fn operations(&mut self, transaction: &Transaction, at: &mut usize) -> Result<(), String> {
        self.begin();
        self.append(transaction, at)?;
        frame(&mut self.bytes, NFNL_MSG_BATCH_END, NLM_F_ACK, self.messages.len() as u32 + 1);
        Ok(())
    }

    fn append(&mut self, transaction: &Transaction, at: &mut usize) -> Result<(), String> {
        let name = CName::new(&transaction.table)?;
        let operations = &transaction.operations;
        while let Some((family, operation)) = operations.get(*at) {
            if let Operation::AddElement { set, .. } | Operation::DeleteElement { set, .. } = operation {
                let delete = matches!(operation, Operation::DeleteElement { .. });
                self.elements(transaction, *family, set, delete, at)?;
            } else {
                self.messages.push((self.bytes.len(), *at));
                self.object((*family, &name), &transaction.table, operation)?;
                *at += 1;
            }
        }
        Ok(())
    }

    /// Begins the batch; the kernel refuses all of it (`ERESTART`) if it is at another generation than the expected one
    /// (`NFNL_BATCH_GENID`).
    fn begin(&mut self) {
        let (kind, flags) = (NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST);
        let start = wire::begin_message(&mut self.bytes, kind, flags, 0, 0, NFNL_SUBSYS_NFTABLES);
        if let Some(generation) = self.generation {
            wire::number(&mut self.bytes, NFNL_BATCH_GENID, generation);
        }
        wire::end_message(&mut self.bytes, start);
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
        CName::new(&set.name)?;
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
    fn object(
        &mut self,
        table: (Family, &CName),
        plain_name: &str,
        operation: &Operation,
    ) -> Result<(), String> {
        let writer = self.writer.get_or_insert_with(Writer::new);
        let (out, sequence) = (&mut self.bytes, self.messages.len() as u32);
        match operation {
            Operation::AddTable => {
                owner::add_table(out, sequence, table.0, plain_name, self.table_flags);
            }
            Operation::DeleteTable => writer.table(out, sequence, table, MsgType::Del),
            Operation::AddSet(set) => {
                writer.set(out, sequence, &SetMessage::declared(table, set, sequence)?, MsgType::Add);
            }
            Operation::DeleteSet(name) => {
                writer.set(out, sequence, &SetMessage::named(table, name)?, MsgType::Del);
            }
            Operation::AddChain(chain) => {
                let name = CName::new(&chain.name)?;
                writer.chain(out, sequence, table, (&name, chain.base), MsgType::Add);
            }
            Operation::DeleteChain(name) => {
                writer.chain(out, sequence, table, (&CName::new(name)?, None), MsgType::Del);
            }
            Operation::AddRule { chain, rule } => {
                let instructions = linearize(table.0, rule)?;
                writer.rule(out, sequence, table, &CName::new(chain)?, &instructions)?;
            }
            Operation::FlushChain(name) => writer.flush(out, sequence, table, &CName::new(name)?),
            Operation::AddElement { .. } | Operation::DeleteElement { .. } => {}
        }
        Ok(())
    }

    /// The operation that the kernel speaks of when it refuses the message with this sequence number, for
    /// the attribute at this offset. `None` if it speaks of the batch as a whole, or of some element of several:
    /// kernels before 5.19 do not say of which.
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

/// Encodes a transaction into a buffer, in the place of what that holds, as [`Kernel::commit`](super::Kernel::commit) sends it.
/// [`Error::Unencodable`] if an operation has no form in the kernel.
pub fn encode(transaction: &Transaction, buffer: &mut Vec<u8>) -> Result<(), Error> {
    let mut batch = Batch { bytes: std::mem::take(buffer), ..Batch::default() };
    let result = batch.encode(transaction);
    *buffer = batch.bytes;
    result
}

/// Whether an element is the end of a range, which is no operation of its own.
fn ends_range(element: &Attribute<'_>) -> bool {
    element.nested().number(NFTA_SET_ELEM_FLAGS) == Some(NFT_SET_ELEM_INTERVAL_END)
}

/// Writes the message that begins or ends a batch.
pub(super) fn frame(buffer: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32) {
    let start = wire::begin_message(buffer, kind, NLM_F_REQUEST | flags, sequence, 0, NFNL_SUBSYS_NFTABLES);
    wire::end_message(buffer, start);
}

/// Writes the message that begins a batch for this generation: a kernel that looks at it (`NFNL_BATCH_GENID`) refuses
/// the batch in any other.
pub(super) fn frame_for(buffer: &mut Vec<u8>, generation: u32) {
    let start = wire::begin_message(buffer, NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 0, 0, NFNL_SUBSYS_NFTABLES);
    wire::number(buffer, NFNL_BATCH_GENID, generation);
    wire::end_message(buffer, start);
}
