//! The root of a manifest: what makes a checkpoint real.

use bytes::Bytes;
use rpo_core::codec;
use rpo_crypto::ChunkId;
use serde::{Deserialize, Serialize};

use super::ManifestError;
use crate::compress::Codec;
use crate::info::CheckpointInfo;
use crate::pack::PackId;

const ROOT_MAGIC: &[u8; 8] = b"RPOROOT\0";
const ROOT_HEAD_BYTES: usize = 12;
const PIECES_PER_FRAME: usize = 16_384;

/// One piece of a manifest, and where it was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceRef {
    /// Its chunk id.
    pub id: ChunkId,
    /// Its bytes.
    pub len: u32,
    /// The pack it was stored in, …
    pub pack: [u8; 16],
    /// … the number of its frame there, …
    pub frame: u32,
    /// … where that frame begins in the object, …
    pub offset: u64,
    /// … its plain bytes after compression, …
    pub stored_len: u32,
    /// … and how it is stored (a codec's number).
    pub codec: u8,
}

impl PieceRef {
    pub(crate) fn pack(&self) -> PackId {
        PackId(self.pack)
    }

    pub(crate) fn codec(&self) -> Result<Codec, ManifestError> {
        Codec::from_number(self.codec)
            .ok_or_else(|| ManifestError::new(format!("codec {} is not known here", self.codec)))
    }
}

/// The root, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRoot {
    /// What is known of the checkpoint without reading its entries.
    pub info: CheckpointInfo,
    /// Records in all pieces.
    pub records: u64,
    /// Index objects its session wrote: `indexes/<source>/<number>-<part>` with parts from 0.
    pub index_parts: u32,
    /// Its pieces, in order.
    pub pieces: Vec<PieceRef>,
}

#[derive(Serialize, Deserialize)]
struct RootStruct {
    info: CheckpointInfo,
    records: u64,
    index_parts: u32,
    pieces: u64,
}

impl ManifestRoot {
    /// The frames of the object.
    ///
    /// # Errors
    /// Tags and metadata of more than 16 MiB.
    pub fn encode(&self) -> Result<Vec<Vec<u8>>, ManifestError> {
        let too_long = |error| ManifestError::new(format!("the root: {error}"));
        let root = RootStruct {
            info: self.info.clone(),
            records: self.records,
            index_parts: self.index_parts,
            pieces: self.pieces.len() as u64,
        };
        let mut head = ROOT_MAGIC.to_vec();
        head.extend_from_slice(&[0; ROOT_HEAD_BYTES - 8]);
        head.extend(codec::encode(&root).map_err(too_long)?);
        let mut frames = vec![head];
        for pieces in self.pieces.chunks(PIECES_PER_FRAME) {
            frames.push(codec::encode(pieces).map_err(too_long)?);
        }
        Ok(frames)
    }
}

/// Reads a root from the frames of its object.
///
/// # Errors
/// The frames are no root of this version.
pub fn decode_root(frames: &[Bytes]) -> Result<ManifestRoot, ManifestError> {
    let (head, lists) =
        frames.split_first().ok_or_else(|| ManifestError::new("a manifest without frames"))?;
    if head.len() < ROOT_HEAD_BYTES || head[..8] != ROOT_MAGIC[..] {
        return Err(ManifestError::new("not the root of a manifest"));
    }
    if head[8..ROOT_HEAD_BYTES] != [0; 4] {
        return Err(ManifestError::new("the root's version is not known here: use a newer rpo"));
    }
    let bad = |error| ManifestError::new(format!("the root: {error}"));
    let root: RootStruct = codec::decode(&head[ROOT_HEAD_BYTES..]).map_err(bad)?;
    let mut pieces = Vec::new();
    for list in lists {
        let listed: Vec<PieceRef> = codec::decode(list).map_err(bad)?;
        pieces.extend(listed);
    }
    if pieces.len() as u64 != root.pieces {
        return Err(ManifestError::new(format!("{} pieces, announced were {}", pieces.len(), root.pieces)));
    }
    Ok(ManifestRoot { info: root.info, records: root.records, index_parts: root.index_parts, pieces })
}
