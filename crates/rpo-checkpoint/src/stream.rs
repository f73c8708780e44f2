//! Reading manifests as streams: one, or a chain merged into the state it stands for. Blocking: for worker threads.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use rpo_core::{CheckpointId, ErrorKind};
use rpo_crypto::{CryptoError, ObjectType};
use rpo_repository::{RepositoryError, layout};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::CheckpointError;
use crate::damage::what_of;
use crate::locate::find_chunk;
use crate::manifest::{
    Assembler, ManifestItem, ManifestRoot, PieceRef, Record, StoredEntry, decode_piece, decode_root,
};
use crate::pack::PackId;
use crate::store::{FrameSpot, Store};

/// Pieces fetched ahead of the reader, per manifest.
const PIECES_AHEAD: usize = 4;

/// What stands at the commit key of a session.
pub(crate) enum Standing {
    /// Nothing: it has not ended, or what ended it was lost.
    Nothing,
    /// A fence: nothing was committed.
    Fence,
    /// Its manifest.
    Manifest(Box<ManifestRoot>),
}

/// The root of a checkpoint; `None` if there is none, or its session was fenced.
pub(crate) async fn load_root(
    store: &Store,
    id: &CheckpointId,
) -> Result<Option<ManifestRoot>, CheckpointError> {
    Ok(match load_standing(store, id).await? {
        Standing::Manifest(root) => Some(*root),
        Standing::Nothing | Standing::Fence => None,
    })
}

/// Reads what stands at a commit key.
pub(crate) async fn load_standing(store: &Store, id: &CheckpointId) -> Result<Standing, CheckpointError> {
    let key = layout::checkpoint(&id.source, id.number);
    let frames = match store.get(ObjectType::Manifest, &key).await {
        Ok(Some(frames)) => frames,
        Ok(None) => return Ok(Standing::Nothing),
        Err(error) if is_fence(&error) => {
            // Its clear header says so; it is believed once it was opened as one.
            let end = store.repository.session_outcome(&id.source, id.number).await?;
            return Ok(if end.is_some() { Standing::Fence } else { Standing::Nothing });
        }
        Err(error) => return Err(error),
    };
    let root = decode_root(&frames).map_err(|error| CheckpointError::object(&key, error))?;
    if root.info.id != *id {
        return Err(CheckpointError::object(&key, format!("it says it is {}", root.info.id)));
    }
    Ok(Standing::Manifest(Box::new(root)))
}

fn is_fence(error: &CheckpointError) -> bool {
    let crypto = match error {
        CheckpointError::Crypto(error) => error,
        CheckpointError::Repository(RepositoryError::Crypto { source, .. }) => source,
        _ => return false,
    };
    matches!(crypto, CryptoError::WrongType { found: ObjectType::Fence, .. })
}

/// The roots a checkpoint needs, itself first, the self-contained one last.
pub(crate) async fn load_chain(
    store: &Store,
    id: &CheckpointId,
) -> Result<Vec<ManifestRoot>, CheckpointError> {
    let first =
        load_root(store, id).await?.ok_or_else(|| CheckpointError::NoCheckpoint { id: id.clone() })?;
    let mut chain = vec![first];
    while let Some(last) = chain.last()
        && !last.info.kind.is_self_contained()
    {
        let child = &last.info.id;
        let parent = last.info.parent.clone();
        let parent = parent.filter(|parent| parent.source == child.source && parent.number < child.number);
        let parent = parent.ok_or_else(|| {
            CheckpointError::object(
                layout::checkpoint(&child.source, child.number),
                "it names no earlier parent",
            )
        })?;
        let root = load_root(store, &parent).await?;
        chain.push(root.ok_or_else(|| CheckpointError::BrokenChain { id: id.clone(), parent })?);
    }
    Ok(chain)
}

type PieceResult = Result<Vec<Record>, CheckpointError>;

/// The items of one manifest, in order.
pub(crate) struct ManifestReader {
    pieces: mpsc::Receiver<PieceResult>,
    assembler: Assembler,
    ready: VecDeque<ManifestItem>,
    object: String,
    ended: bool,
}

impl ManifestReader {
    pub(crate) fn open(handle: &Handle, store: &Store, root: &ManifestRoot) -> Self {
        let (send, pieces) = mpsc::channel(PIECES_AHEAD);
        let store = store.clone();
        let refs = root.pieces.clone();
        handle.spawn(async move {
            let headers = Headers::default();
            let mut fetched = futures::stream::iter(refs)
                .map(|piece| fetch_piece(&store, &headers, piece))
                .buffered(PIECES_AHEAD);
            while let Some(records) = fetched.next().await {
                if send.send(records).await.is_err() {
                    return; // the reader lost interest
                }
            }
        });
        let object = layout::checkpoint(&root.info.id.source, root.info.id.number).to_string();
        Self { pieces, assembler: Assembler::default(), ready: VecDeque::new(), object, ended: false }
    }

    /// The next item. Blocks: never call it from async code.
    pub(crate) fn next(&mut self) -> Result<Option<ManifestItem>, CheckpointError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            if self.ended {
                return Ok(None);
            }
            let object = &self.object;
            let wrong = |error| CheckpointError::object(object, error);
            match self.pieces.blocking_recv() {
                None => {
                    self.ended = true;
                    self.assembler.finish(&mut self.ready).map_err(wrong)?;
                }
                Some(records) => {
                    for record in records? {
                        self.assembler.push(record, &mut self.ready).map_err(wrong)?;
                    }
                }
            }
        }
    }
}

#[derive(Default)]
struct Headers(Mutex<HashMap<PackId, Bytes>>);

impl Headers {
    async fn of(&self, store: &Store, pack: PackId) -> Result<Bytes, CheckpointError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&pack).cloned();
        match known {
            Some(header) => Ok(header),
            None => {
                let header = store.pack_header(pack).await?;
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(pack, header.clone());
                Ok(header)
            }
        }
    }
}

async fn fetch_piece(store: &Store, headers: &Headers, piece: PieceRef) -> PieceResult {
    let bytes = match read_piece(store, headers, &piece).await {
        Ok(bytes) => bytes,
        // Not where it was stored, or damaged there: perhaps another pack has it.
        Err(error) if error.is_damage() => {
            match find_chunk(store, piece.id, piece.len, piece.pack()).await? {
                Some(bytes) => bytes,
                None => return Err(name_pack(error, &piece)),
            }
        }
        Err(error) => return Err(error),
    };
    decode_piece(&bytes).map_err(|error| CheckpointError::object(piece.pack().key(), error))
}

fn name_pack(error: CheckpointError, piece: &PieceRef) -> CheckpointError {
    if error.kind() == ErrorKind::NotFound {
        error
    } else {
        CheckpointError::object(
            piece.pack().key(),
            format!(
                "a piece of a manifest cannot be read from it ({})",
                what_of(piece.pack().key().as_str(), &error)
            ),
        )
    }
}

async fn read_piece(store: &Store, headers: &Headers, piece: &PieceRef) -> Result<Vec<u8>, CheckpointError> {
    let pack = piece.pack();
    let codec = piece.codec().map_err(|error| CheckpointError::object(pack.key(), error))?;
    let spot = FrameSpot {
        number: u64::from(piece.frame),
        offset: piece.offset,
        stored_len: piece.stored_len,
        raw_len: piece.len,
        codec,
    };
    let header = headers.of(store, pack).await?;
    let bytes = store.read_frame(pack, &header, spot).await?;
    if store.chunk_id(&bytes) != piece.id {
        return Err(CheckpointError::object(pack.key(), "a piece of a manifest is not what was stored"));
    }
    Ok(bytes)
}

/// The state a chain stands for, as a stream in path order.
pub(crate) struct ChainReader {
    /// Newest first, each with its next item.
    manifests: Vec<(ManifestReader, Option<ManifestItem>)>,
    started: bool,
}

impl ChainReader {
    /// `chain` as [`load_chain`] gives it.
    pub(crate) fn open(handle: &Handle, store: &Store, chain: &[ManifestRoot]) -> Self {
        let open = |root| (ManifestReader::open(handle, store, root), None);
        Self { manifests: chain.iter().map(open).collect(), started: false }
    }

    /// The next entry. Blocks.
    pub(crate) fn next(&mut self) -> Result<Option<StoredEntry>, CheckpointError> {
        if !self.started {
            self.started = true;
            for (reader, head) in &mut self.manifests {
                *head = reader.next()?;
            }
        }
        loop {
            let paths = self.manifests.iter().filter_map(|(_, head)| head.as_ref().map(ManifestItem::path));
            let Some(least) = paths.min().cloned() else { return Ok(None) };
            let mut newest = None;
            for (reader, head) in &mut self.manifests {
                if head.as_ref().is_some_and(|item| *item.path() == least) {
                    let next = reader.next()?;
                    let item = std::mem::replace(head, next);
                    newest = newest.or(item);
                }
            }
            if let Some(ManifestItem::Entry(stored)) = newest {
                return Ok(Some(stored));
            }
        }
    }
}
