//! What bad objects cost: files, and checkpoints of which nothing can be restored.

use std::sync::Arc;

use rpo_core::CheckpointId;
use rpo_core::ports::EntryKind;
use rpo_crypto::ChunkId;
use rpo_repository::layout;

use super::packs::Found;
use super::{Verifier, object_of};
use crate::CheckpointError;
use crate::damage::Bad;
use crate::locate::Located;
use crate::manifest::ManifestRoot;
use crate::pack::PackId;
use crate::stream::ChainReader;

/// How many packs are named where one of them may have held what is lost.
const SUSPECTS_NAMED_MAX: usize = 5;

impl Verifier {
    /// Chunks that are in no pack that can be read are told together: of which pack, is known where only one that is on a
    /// bill is neither there nor in an index.
    pub(super) fn unplaced(&self, located: &Located, known: impl Fn(&PackId) -> bool, found: &mut Found) {
        let unplaced: Vec<ChunkId> = located
            .places
            .iter()
            .zip(&located.needed)
            .filter(|(place, _)| place.is_none())
            .map(|(_, (id, _))| *id)
            .collect();
        if unplaced.is_empty() {
            return;
        }
        let mut gone: Vec<PackId> = self.ledger.packs.keys().filter(|pack| !known(pack)).copied().collect();
        gone.sort_unstable();
        let bad = match gone.as_slice() {
            [pack] => Bad::absent(&pack.key()),
            packs => {
                let named = packs.iter().take(SUSPECTS_NAMED_MAX).map(|pack| pack.key().to_string());
                let among = match packs {
                    [] => String::new(),
                    _ => format!(
                        "; {} packs are gone with their indexes: {}",
                        packs.len(),
                        named.collect::<Vec<_>>().join(", ")
                    ),
                };
                let what = format!("{} chunks are in no pack that can be read{among}", unplaced.len());
                Bad::new("packs/", what, true)
            }
        };
        let bad = Arc::new(bad);
        found.chunks.extend(unplaced.into_iter().map(|id| (id, Arc::clone(&bad))));
    }

    /// Names everything that is lost, checkpoint by checkpoint.
    pub(super) fn name_all(&mut self, found: &Found) -> Result<(), CheckpointError> {
        // A manifest that could not be read may have lost more than the first piece.
        for (id, causes) in &mut self.broken {
            let pieces = self.ledger.roots.get(id).map(|root| root.pieces.as_slice()).unwrap_or_default();
            for bad in pieces.iter().filter_map(|piece| found.chunks.get(&piece.id)) {
                if bad.object.ends_with('/') || causes.iter().any(|cause| cause.object == bad.object) {
                    continue;
                }
                causes.push(Bad::clone(bad));
            }
        }
        let broken: Vec<CheckpointId> = self.broken.keys().cloned().collect();
        for id in broken.iter().filter(|id| !self.ledger.roots.contains_key(*id)) {
            self.broken[id].iter().for_each(|bad| self.damage.hit_all(bad, id));
        }
        let ids: Vec<CheckpointId> = self.ledger.roots.keys().cloned().collect();
        for id in ids {
            self.board.check()?;
            let (chain, causes) = self.chain(&id);
            for bad in &causes {
                self.damage.hit_all(bad, &id);
            }
            if causes.is_empty() && !found.chunks.is_empty() {
                self.name_files(&id, &chain, found)?;
            }
        }
        Ok(())
    }

    /// The manifests a checkpoint needs, itself first, and what keeps its entries from being read.
    fn chain(&self, id: &CheckpointId) -> (Vec<ManifestRoot>, Vec<Bad>) {
        let (mut chain, mut causes) = (Vec::new(), Vec::new());
        let mut next = Some(id.clone());
        while let Some(id) = next.take() {
            causes.extend(self.broken.get(&id).into_iter().flatten().cloned());
            let Some(root) = self.ledger.roots.get(&id) else { break };
            chain.push(root.clone());
            if root.info.kind.is_self_contained() {
                break;
            }
            match &root.info.parent {
                Some(parent) if parent.source == id.source && parent.number < id.number => {
                    next = Some(parent.clone());
                }
                _ => {
                    let key = layout::checkpoint(&id.source, id.number);
                    causes.push(Bad::new(key.as_str(), "it names no earlier parent", false));
                }
            }
        }
        (chain, causes)
    }

    /// Reads the entries of a checkpoint once more, for the files that bad chunks hit.
    fn name_files(
        &mut self,
        id: &CheckpointId,
        chain: &[ManifestRoot],
        found: &Found,
    ) -> Result<(), CheckpointError> {
        let mut entries = ChainReader::open(&self.handle, &self.store, chain);
        loop {
            self.board.check()?;
            let stored = match entries.next() {
                Ok(Some(stored)) => stored,
                Ok(None) => return Ok(()),
                // It could be read a moment ago.
                Err(error) if error.is_damage() => {
                    self.damage.hit_all(&Bad::of(object_of(&error), &error), id);
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            if stored.entry.kind != EntryKind::File {
                continue;
            }
            let mut hit: Vec<&Arc<Bad>> = Vec::new();
            for bad in stored.chunks.iter().filter_map(|chunk| found.chunks.get(&chunk.id)) {
                if !hit.iter().any(|known| known.object == bad.object) {
                    hit.push(bad);
                }
            }
            for bad in hit {
                self.damage.hit(bad, id, &stored.entry.path);
            }
        }
    }
}
