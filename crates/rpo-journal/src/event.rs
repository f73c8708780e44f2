#![doc = include_str!("event.md")]

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use rpo_core::frame::PAYLOAD_BYTES_MAX;
use rpo_core::{Position, SourceId, Timestamp, TransactionId};

use crate::format::{FormatError, get, put, seal, unseal};

const WHAT: &str = "event";
const MAGIC_BYTES: [u8; 8] = *b"RPOEVT\r\n";
const OPERATION: usize = 10;
const FLAGS: usize = 11;
const ID: Range<usize> = 16..24;
const PART: Range<usize> = 24..28;
const PARTS: Range<usize> = 28..32;
const TRANSACTION: Range<usize> = 32..40;
const SOURCE_LEN: Range<usize> = 40..42;
const COLLECTION_LEN: Range<usize> = 42..44;
const KEY_LEN: Range<usize> = 44..46;
const CONTEXT_LEN: Range<usize> = 46..48;
const BEFORE_LEN: Range<usize> = 48..52;
const AFTER_LEN: Range<usize> = 52..56;
const RESERVED: Range<usize> = 56..64;
const HEAD_BYTES: usize = 64;

const FLAG_BEFORE: u8 = 1;
const FLAG_AFTER: u8 = 2;
const FLAG_TRANSACTION: u8 = 4;
const FLAG_CONTEXT: u8 = 8;

/// Longest name of a table or collection, bytes.
pub const COLLECTION_BYTES_MAX: usize = 1024;
/// Longest key, bytes: its length is a `u16`.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;
/// Longest context, bytes: as in the log.
pub const CONTEXT_BYTES_MAX: usize = rpo_core::frame::CONTEXT_BYTES_MAX;
/// Longest encoded event, bytes.
pub const EVENT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// A row or document came to be.
    Insert,
    /// It changed.
    Update,
    /// It went.
    Delete,
    /// Everything in the collection went.
    Truncate,
    /// The shape of the collection or the source changed.
    Schema,
}

impl Operation {
    const fn number(self) -> u8 {
        match self {
            Self::Insert => 1,
            Self::Update => 2,
            Self::Delete => 3,
            Self::Truncate => 4,
            Self::Schema => 5,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Insert,
            2 => Self::Update,
            3 => Self::Delete,
            4 => Self::Truncate,
            5 => Self::Schema,
            _ => return None,
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Schema => "schema",
        })
    }
}

/// What happened to one row, document or table, as the program tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The database or program it happened in.
    pub source: SourceId,
    /// Table or collection; empty only for a schema change of the whole source.
    pub collection: String,
    /// What happened.
    pub operation: Operation,
    /// Primary key, in the program's own bytes; empty if there is none.
    pub key: Bytes,
    /// How it was.
    pub before: Option<Bytes>,
    /// How it is.
    pub after: Option<Bytes>,
}

impl Change {
    fn new(source: &SourceId, collection: impl Into<String>, operation: Operation) -> Self {
        let (source, collection) = (source.clone(), collection.into());
        Self { source, collection, operation, key: Bytes::new(), before: None, after: None }
    }

    /// A row came to be.
    pub fn insert(
        source: &SourceId,
        collection: impl Into<String>,
        key: impl Into<Bytes>,
        after: impl Into<Bytes>,
    ) -> Self {
        let (key, after) = (key.into(), Some(after.into()));
        Self { key, after, ..Self::new(source, collection, Operation::Insert) }
    }

    /// A row changed.
    pub fn update(
        source: &SourceId,
        collection: impl Into<String>,
        key: impl Into<Bytes>,
        before: Option<Bytes>,
        after: impl Into<Bytes>,
    ) -> Self {
        let (key, after) = (key.into(), Some(after.into()));
        Self { key, before, after, ..Self::new(source, collection, Operation::Update) }
    }

    /// A row went.
    pub fn delete(
        source: &SourceId,
        collection: impl Into<String>,
        key: impl Into<Bytes>,
        before: Option<Bytes>,
    ) -> Self {
        Self { key: key.into(), before, ..Self::new(source, collection, Operation::Delete) }
    }

    /// All rows went.
    pub fn truncate(source: &SourceId, collection: impl Into<String>) -> Self {
        Self::new(source, collection, Operation::Truncate)
    }

    /// The shape changed, by this statement if it is known.
    pub fn schema(source: &SourceId, collection: impl Into<String>, statement: Option<Bytes>) -> Self {
        Self { after: statement, ..Self::new(source, collection, Operation::Schema) }
    }

    /// The rule this change breaks, if there is one.
    fn broken_rule(&self) -> Option<&'static str> {
        let (before, after, key) = (self.before.is_some(), self.after.is_some(), !self.key.is_empty());
        let rules = match self.operation {
            Operation::Insert => (!before && after, "an insert has an after and no before"),
            Operation::Update => (after, "an update has an after"),
            Operation::Delete => (!after, "a delete has no after"),
            Operation::Truncate => (!before && !after && !key, "a truncate has no key, before or after"),
            Operation::Schema => (!before && !key, "a schema change has no key or before"),
        };
        if !rules.0 {
            return Some(rules.1);
        }
        let named = !self.collection.is_empty() || self.operation == Operation::Schema;
        (!named).then_some("collections are named, but for a schema change of the whole source")
    }
}

/// A change as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeEvent {
    /// Dense number in the journal, from 1: what a target uses to recognise an event that it has applied before.
    pub id: u64,
    /// Commit time, from the log; the same for all events of a transaction, never decreasing.
    pub time: Timestamp,
    /// Where the history stands once its transaction is included, from the log.
    pub position: Position,
    /// Number within its transaction, from 1.
    pub part: u32,
    /// Events of its transaction.
    pub parts: u32,
    /// The program's own transaction number, if it gave one.
    pub transaction: Option<TransactionId>,
    /// Who or what caused it, if the program said so.
    pub context: Option<Bytes>,
    /// What happened.
    pub change: Change,
}

/// An event's place, while it is encoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) id: u64,
    pub(crate) part: u32,
    pub(crate) parts: u32,
    pub(crate) transaction: Option<TransactionId>,
    pub(crate) context: Option<&'a Bytes>,
}

fn rule(rule: &'static str) -> FormatError {
    FormatError::Rule { what: WHAT, rule }
}

fn limited(what: &'static str, found: usize, limit: usize) -> Result<usize, FormatError> {
    if found > limit { Err(FormatError::TooLarge { what, found, limit }) } else { Ok(found) }
}

fn short(len: usize) -> [u8; 2] {
    u16::try_from(len).expect("limited to a u16 before").to_le_bytes()
}

fn long(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("limited to 16 MiB before").to_le_bytes()
}

/// Checks what is checkable before the event has a place: sizes and rules.
///
/// # Errors
/// [`FormatError::TooLarge`], [`FormatError::Rule`].
pub(crate) fn check(change: &Change, context: Option<&Bytes>) -> Result<(), FormatError> {
    let of = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
    limited("name of a collection", change.collection.len(), COLLECTION_BYTES_MAX)?;
    limited("key of an event", change.key.len(), KEY_BYTES_MAX)?;
    limited("context of a transaction", context.map_or(0, Bytes::len), CONTEXT_BYTES_MAX)?;
    let content = change.source.as_str().len()
        + change.collection.len()
        + change.key.len()
        + context.map_or(0, Bytes::len)
        + of(&change.before)
        + of(&change.after);
    limited("event", HEAD_BYTES + content, EVENT_BYTES_MAX)?;
    change.broken_rule().map_or(Ok(()), |broken| Err(rule(broken)))
}

/// The event's bytes; [`check`] has passed.
pub(crate) fn encode(change: &Change, place: &Place<'_>) -> Vec<u8> {
    let parts: [&[u8]; 6] = [
        change.source.as_str().as_bytes(),
        change.collection.as_bytes(),
        &change.key,
        place.context.map_or(&[], |c| c),
        change.before.as_deref().unwrap_or_default(),
        change.after.as_deref().unwrap_or_default(),
    ];
    let mut out = Vec::with_capacity(HEAD_BYTES + parts.iter().map(|p| p.len()).sum::<usize>());
    out.resize(HEAD_BYTES, 0);
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out[OPERATION] = change.operation.number();
    out[FLAGS] = flag(change.before.is_some(), FLAG_BEFORE)
        | flag(change.after.is_some(), FLAG_AFTER)
        | flag(place.transaction.is_some(), FLAG_TRANSACTION)
        | flag(place.context.is_some(), FLAG_CONTEXT);
    put(&mut out, ID, &place.id.to_le_bytes());
    put(&mut out, PART, &place.part.to_le_bytes());
    put(&mut out, PARTS, &place.parts.to_le_bytes());
    put(&mut out, TRANSACTION, &place.transaction.map_or(0, |t| t.0).to_le_bytes());
    for (at, part) in [SOURCE_LEN, COLLECTION_LEN, KEY_LEN, CONTEXT_LEN].into_iter().zip(parts) {
        put(&mut out, at, &short(part.len()));
    }
    put(&mut out, BEFORE_LEN, &long(parts[4].len()));
    put(&mut out, AFTER_LEN, &long(parts[5].len()));
    parts.iter().for_each(|part| out.extend_from_slice(part));
    seal(&mut out, MAGIC_BYTES);
    out
}

impl ChangeEvent {
    /// The event as it stands in the log, with its own checksum; without commit time and position, which are the log's.
    ///
    /// # Errors
    /// Kind `Invalid` or `Corrupt`: it is larger than the format allows, or breaks one of its rules.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        check(&self.change, self.context.as_ref())?;
        let (id, part, parts, transaction) = (self.id, self.part, self.parts, self.transaction);
        Ok(encode(&self.change, &Place { id, part, parts, transaction, context: self.context.as_ref() }))
    }

    /// Reads an event as it stands in the log, and gives it the commit time and position of its frame. Checks identity,
    /// integrity, version, meaning; never panics, whatever the bytes.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(bytes: &Bytes, time: Timestamp, position: Position) -> Result<Self, FormatError> {
        unseal(bytes, WHAT, MAGIC_BYTES, HEAD_BYTES)?;
        let operation =
            Operation::from_number(bytes[OPERATION]).ok_or_else(|| rule("operations are 1 to 5"))?;
        let flags = bytes[FLAGS];
        let has = |flag: u8| flags & flag != 0;
        let length = |at: Range<usize>| usize::from(u16::from_le_bytes(get(bytes, at)));
        let longer = |at: Range<usize>| u32::from_le_bytes(get(bytes, at)) as usize;
        let lengths = [
            length(SOURCE_LEN),
            length(COLLECTION_LEN),
            length(KEY_LEN),
            length(CONTEXT_LEN),
            longer(BEFORE_LEN),
            longer(AFTER_LEN),
        ];
        let expected = lengths.iter().fold(HEAD_BYTES, |sum, len| sum.saturating_add(*len));
        if bytes.len() != expected {
            return Err(FormatError::Length { what: WHAT, expected, found: bytes.len() });
        }
        let transaction = u64::from_le_bytes(get(bytes, TRANSACTION));
        let rules = [
            (
                flags & !(FLAG_BEFORE | FLAG_AFTER | FLAG_TRANSACTION | FLAG_CONTEXT) == 0,
                "flags are bits 0 to 3",
            ),
            (bytes[RESERVED].iter().all(|b| *b == 0), "reserved bytes are zero"),
            (has(FLAG_TRANSACTION) || transaction == 0, "a transaction number has its flag"),
            (has(FLAG_CONTEXT) || lengths[3] == 0, "a context has its flag"),
            (has(FLAG_BEFORE) || lengths[4] == 0, "a before has its flag"),
            (has(FLAG_AFTER) || lengths[5] == 0, "an after has its flag"),
        ];
        if let Some((_, broken)) = rules.into_iter().find(|(holds, _)| !holds) {
            return Err(rule(broken));
        }
        let mut at = HEAD_BYTES;
        let mut next = |len: usize| {
            at += len;
            bytes.slice(at - len..at)
        };
        let [source, collection, key, context, before, after] = lengths.map(&mut next);
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).map_err(|_| rule("names are UTF-8"));
        let source = SourceId::new(text(&source)?).map_err(|_| rule("a source has a name of its kind"))?;
        let event = Self {
            id: u64::from_le_bytes(get(bytes, ID)),
            time,
            position,
            part: u32::from_le_bytes(get(bytes, PART)),
            parts: u32::from_le_bytes(get(bytes, PARTS)),
            transaction: has(FLAG_TRANSACTION).then_some(TransactionId(transaction)),
            context: has(FLAG_CONTEXT).then_some(context),
            change: Change {
                source,
                collection: text(&collection)?,
                operation,
                key,
                before: has(FLAG_BEFORE).then_some(before),
                after: has(FLAG_AFTER).then_some(after),
            },
        };
        if event.id == 0 || event.part == 0 || event.part > event.parts || event.id < u64::from(event.part) {
            return Err(rule("ids and parts count from 1, and parts lie within their transaction"));
        }
        check(&event.change, event.context.as_ref())?;
        Ok(event)
    }
}

#[cfg(test)]
mod tests;
