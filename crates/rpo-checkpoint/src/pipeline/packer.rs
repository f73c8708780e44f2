//! Frames become packs: collected, sealed, compared, handed to the uploader.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rpo_crypto::envelope::HEADER_BYTES;
use rpo_crypto::{ChunkId, ObjectType, Sealer};
use tokio::sync::mpsc;

use crate::CheckpointError;
use crate::compress::Codec;
use crate::index::PackRecord;
use crate::manifest::PieceRef;
use crate::pack::{ChunkRow, FIRST_DATA_FRAME, FrameRow, PackId, PackTable, decode_head};
use crate::store::Store;

/// A frame before compression.
#[derive(Debug)]
pub(crate) struct RawFrame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) chunks: Vec<ChunkRow>,
}

/// A frame ready to be sealed.
#[derive(Debug)]
pub(crate) struct PackedFrame {
    pub(crate) codec: Codec,
    pub(crate) raw_len: u32,
    pub(crate) stored: Vec<u8>,
    pub(crate) chunks: Vec<ChunkRow>,
}

/// A pack ready to be stored.
#[derive(Debug)]
pub(crate) struct SealedPack {
    pub(crate) bytes: Bytes,
    pub(crate) record: PackRecord,
}

/// Collects frames of data and pieces of the manifest. Pieces get packs of their own, so that a manifest is read
/// without reading data, unless both together are small.
pub(crate) struct Packer {
    store: Store,
    target: u64,
    open: Mutex<Open>,
    sealed: mpsc::Sender<SealedPack>,
}

#[derive(Default)]
struct Open {
    data: Vec<PackedFrame>,
    data_bytes: u64,
    pieces: Vec<PackedFrame>,
    pieces_bytes: u64,
    /// Where each piece came to lie, in the order of their packs.
    piece_refs: Vec<PieceRef>,
}

impl Packer {
    pub(crate) fn new(store: Store, target: u64, sealed: mpsc::Sender<SealedPack>) -> Self {
        Self { store, target, open: Mutex::new(Open::default()), sealed }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a frame of data; seals and hands on a pack if one is full. Blocks while the uploader is behind.
    pub(crate) fn add(&self, frame: PackedFrame) -> Result<(), CheckpointError> {
        let full = {
            let mut open = self.lock();
            open.data_bytes += frame.stored.len() as u64;
            open.data.push(frame);
            if open.data_bytes < self.target {
                return Ok(());
            }
            open.data_bytes = 0;
            std::mem::take(&mut open.data)
        };
        self.close_pack(full).map(|_| ())
    }

    /// Takes a piece of the manifest.
    pub(crate) fn add_piece(&self, piece: PackedFrame) -> Result<(), CheckpointError> {
        let full = {
            let mut open = self.lock();
            open.pieces_bytes += piece.stored.len() as u64;
            open.pieces.push(piece);
            if open.pieces_bytes < self.target {
                return Ok(());
            }
            open.pieces_bytes = 0;
            std::mem::take(&mut open.pieces)
        };
        self.close_pieces(full, 0)
    }

    /// Seals what is left and tells where all pieces are.
    pub(crate) fn finish(self) -> Result<Vec<PieceRef>, CheckpointError> {
        let (data, pieces, together) = {
            let mut open = self.lock();
            let together = open.data_bytes + open.pieces_bytes <= self.target;
            (std::mem::take(&mut open.data), std::mem::take(&mut open.pieces), together)
        };
        if together {
            let before = data.len();
            let both = data.into_iter().chain(pieces).collect::<Vec<_>>();
            self.close_pieces(both, before)?;
        } else {
            self.close_pack(data)?;
            self.close_pieces(pieces, 0)?;
        }
        let refs = std::mem::take(&mut self.lock().piece_refs);
        Ok(refs)
    }

    /// Seals a pack whose frames from `first` on are pieces.
    fn close_pieces(&self, frames: Vec<PackedFrame>, first: usize) -> Result<(), CheckpointError> {
        if let Some((pack, table)) = self.close_pack(frames)? {
            let spans = table.frame_spans();
            let refs =
                table.frames.iter().zip(spans).enumerate().skip(first).map(|(n, (row, span))| PieceRef {
                    id: row.chunks[0].id,
                    len: row.raw_len,
                    pack: pack.0,
                    frame: FIRST_DATA_FRAME as u32 + n as u32,
                    offset: span.start,
                    stored_len: row.stored_len,
                    codec: row.codec as u8,
                });
            self.lock().piece_refs.extend(refs);
        }
        Ok(())
    }

    fn close_pack(&self, frames: Vec<PackedFrame>) -> Result<Option<(PackId, PackTable)>, CheckpointError> {
        if frames.is_empty() {
            return Ok(None);
        }
        let sealed = seal(&self.store, frames)?;
        let made = (sealed.record.pack, sealed.record.table.clone());
        // A closed channel means the uploader failed: its error is told there.
        self.sealed.blocking_send(sealed).map_err(|_| CheckpointError::Cancelled)?;
        Ok(Some(made))
    }
}

/// Seals a pack of these frames; opens its head and table again and compares.
fn seal(store: &Store, frames: Vec<PackedFrame>) -> Result<SealedPack, CheckpointError> {
    let pack = PackId(store.repository.random_id()?);
    let key = pack.key();
    let mut plain = Vec::with_capacity(frames.len());
    let mut table = PackTable { frames: Vec::with_capacity(frames.len()) };
    for frame in frames {
        table.frames.push(FrameRow {
            codec: frame.codec,
            raw_len: frame.raw_len,
            stored_len: frame.stored.len() as u32,
            chunks: frame.chunks,
        });
        plain.push(frame.stored);
    }
    let (head, table_bytes) = table.encode();
    let object_len = table.object_len();
    let mut sealer =
        Sealer::new(store.repository.keys(), ObjectType::Pack, key.as_str(), &**store.repository.entropy())?;
    let mut bytes = Vec::with_capacity(object_len as usize);
    bytes.extend_from_slice(sealer.header());
    let head_end = sealer.frame(&head, false, &mut bytes)?.end as usize;
    let table_end = sealer.frame(&table_bytes, false, &mut bytes)?.end as usize;
    let last = plain.len() - 1;
    for (n, frame) in plain.into_iter().enumerate() {
        sealer.frame(&frame, n == last, &mut bytes)?; // and its memory goes
    }
    let sealed = sealer.finish(&mut bytes)?;

    let opener = store.opener(pack, &bytes)?;
    let (head_again, _) = opener.open_frame(0, &bytes[HEADER_BYTES..head_end])?;
    let (table_again, _) = opener.open_frame(1, &bytes[head_end..table_end])?;
    let decoded = decode_head(&head_again).and_then(|head| PackTable::decode(&head, &table_again));
    if decoded.as_ref() != Ok(&table) || object_len != bytes.len() as u64 {
        return Err(CheckpointError::object(
            &key,
            "its sealed table is not what was given: nothing was stored",
        ));
    }
    let record = PackRecord { pack, object_len, sha256: sealed.sha256, table };
    Ok(SealedPack { bytes: bytes.into(), record })
}

/// One chunk as a frame's row.
pub(crate) fn row(id: ChunkId, len: usize) -> ChunkRow {
    ChunkRow { id, len: len as u32 }
}
