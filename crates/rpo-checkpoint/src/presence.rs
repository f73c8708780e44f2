//! Which checkpoints can be restored from what is there: packs by name and length; nothing of them is read but manifests.

use std::collections::HashSet;
use std::sync::Arc;

use rpo_core::{CheckpointId, ErrorKind};
use rpo_crypto::ChunkId;
use tokio::runtime::Handle;

use crate::CheckpointError;
use crate::board::Board;
use crate::checkpointer::Checkpointer;
use crate::locate::{Located, list_indexes};
use crate::manifest::ManifestRoot;
use crate::progress::{Cancel, NoProgress};
use crate::store::Store;
use crate::stream::{ChainReader, load_chain};

/// A checkpoint, and what it lacks; none if it can be restored as far as names and lengths tell.
pub type Presence = (CheckpointId, Option<String>);

impl Checkpointer {
    /// Looks whether all that a restore of each of these checkpoints would need is there: its manifests can be read, and
    /// the packs with its chunks exist with their lengths. What is no checkpoint (not ended, or fenced) is left out.
    ///
    /// Costs one read of all indexes and two of the manifests; memory as [`verify`](Self::verify) of these checkpoints.
    ///
    /// # Errors
    /// The store cannot be asked, or `Cancelled`. What is missing or damaged is in the answer.
    pub async fn presence(
        &self,
        checkpoints: &[CheckpointId],
        cancel: &Cancel,
    ) -> Result<Vec<Presence>, CheckpointError> {
        let mut chains = Vec::new();
        for id in checkpoints {
            match load_chain(&self.store, id).await {
                Ok(chain) => chains.push((id.clone(), Ok(chain))),
                Err(CheckpointError::NoCheckpoint { .. }) => {}
                Err(error) if error.is_damage() => chains.push((id.clone(), Err(error.to_string()))),
                Err(error) => return Err(error),
            }
        }
        let board = Board::new(cancel);
        let (store, handle) = (self.store.clone(), Handle::current());
        let looker = Looker { store, handle, board: Arc::clone(&board) };
        board.blocking(&NoProgress, move || looker.run(chains)).await
    }
}

/// A checkpoint with its chain, or why that cannot be read.
type Chained = (CheckpointId, Result<Vec<ManifestRoot>, String>);

struct Looker {
    store: Store,
    handle: Handle,
    board: Arc<Board>,
}

impl Looker {
    fn run(&self, mut chains: Vec<Chained>) -> Result<Vec<Presence>, CheckpointError> {
        let mut needed = Vec::new();
        for (_, chain) in &mut chains {
            if let Ok(roots) = chain
                && let Some(why) = self.each_chunk(roots, |chunk| needed.push(chunk))?
            {
                *chain = Err(why);
            }
            needed.sort_unstable();
            needed.dedup();
        }
        let absent = self.absent(needed)?;
        let mut answers = Vec::new();
        for (id, chain) in chains {
            let lacks = match chain {
                Err(why) => Some(why),
                Ok(_) if absent.is_empty() => None,
                Ok(roots) => {
                    let mut count = 0_u64;
                    let unread =
                        self.each_chunk(&roots, |(id, _)| count += u64::from(absent.contains(&id)))?;
                    unread.or_else(|| {
                        (count > 0).then(|| format!("{count} of its chunks are in no pack that is there"))
                    })
                }
            };
            answers.push((id, lacks));
        }
        Ok(answers)
    }

    /// Gives each chunk that a restore reads to `take`. Some: what keeps it from being known.
    fn each_chunk(
        &self,
        roots: &[ManifestRoot],
        mut take: impl FnMut((ChunkId, u32)),
    ) -> Result<Option<String>, CheckpointError> {
        let mut entries = ChainReader::open(&self.handle, &self.store, roots);
        loop {
            self.board.check()?;
            match entries.next() {
                Ok(Some(stored)) => {
                    let chunks = stored.chunks.iter().filter(|chunk| !chunk.is_zero());
                    chunks.for_each(|chunk| take((chunk.id, chunk.len)));
                }
                Ok(None) => return Ok(None),
                Err(error) if error.is_damage() => return Ok(Some(error.to_string())),
                Err(error) => return Err(error),
            }
        }
    }

    /// Those of the chunks that are in no pack that is there with its length. A listing is a hint: what it does not show is
    /// asked for by name.
    fn absent(&self, needed: Vec<(ChunkId, u32)>) -> Result<HashSet<ChunkId>, CheckpointError> {
        if needed.is_empty() {
            return Ok(HashSet::new());
        }
        let (listed, located) = self.handle.block_on(async {
            let listed = self.store.list_packs().await?;
            let indexes = list_indexes(&self.store).await?;
            let located = Located::find_among(&self.store, needed, &listed, indexes, |_, _| {}).await?;
            Ok::<_, CheckpointError>((listed, located))
        })?;
        let mut there = Vec::with_capacity(located.packs.len());
        for pack in &located.packs {
            self.board.check()?;
            there.push(match listed.get(&pack.id) {
                Some(len) if *len == pack.object_len => true,
                _ => match self.handle.block_on(self.store.repository.storage().stat(&pack.id.key())) {
                    Ok(found) => found.len == pack.object_len,
                    Err(error) if error.kind() == ErrorKind::NotFound => false,
                    Err(error) => return Err(error.into()),
                },
            });
        }
        let places = located.needed.iter().zip(&located.places);
        let absent = places.filter(|(_, place)| place.is_none_or(|place| !there[place.pack as usize]));
        Ok(absent.map(|((id, _), _)| *id).collect())
    }
}
