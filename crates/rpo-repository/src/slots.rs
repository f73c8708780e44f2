//! Key slots as objects: find the one a secret opens, add one, take one away.

use std::sync::Arc;

use bytes::Bytes;
use rpo_core::{Entropy, ErrorKind};
use rpo_crypto::document::DOCUMENT_BYTES_MAX;
use rpo_crypto::slot::SlotDraft;
use rpo_crypto::{CryptoError, KeyRing, KeySlot, Secret, SlotParams};
use rpo_storage::{Key, ListRequest};

use crate::opening::{beside, unwrap_beside};
use crate::store::Store;
use crate::{Config, Repository, RepositoryError, layout};

/// Slots taken away leave gaps; by name we look this far past the last one found.
const GAP_MAX: u64 = 4;
/// Most slots that are looked at: a store full of them must not cost a derivation each.
const SLOTS_MAX: usize = 64;

/// A stored slot or why it cannot be read, with its number.
pub(crate) type Stored = (u64, Result<KeySlot, RepositoryError>);

/// All slots: asked for by name from 1 on, and those a listing shows besides. A damaged one does not hide the others.
pub(crate) async fn stored_slots(store: &Store) -> Result<Vec<Stored>, RepositoryError> {
    let request = ListRequest { prefix: "keys/".to_owned(), start_after: None, limit: Some(SLOTS_MAX) };
    let listed = store.storage.list(request).await.map(|page| page.objects).unwrap_or_default(); // only a hint
    let mut numbers: Vec<u64> = listed.iter().filter_map(|object| layout::number_of(&object.key)).collect();
    let mut slots = Vec::new();
    let (mut number, mut end) = (1, GAP_MAX);
    while number <= end && slots.len() < SLOTS_MAX {
        if let Some(slot) = read_slot(store, number).await? {
            slots.push((number, slot));
            end = number + GAP_MAX;
        }
        number += 1;
    }
    numbers.retain(|listed| *listed >= number);
    for number in numbers {
        if slots.len() < SLOTS_MAX
            && let Some(slot) = read_slot(store, number).await?
        {
            slots.push((number, slot));
        }
    }
    Ok(slots)
}

async fn read_slot(
    store: &Store,
    number: u64,
) -> Result<Option<Result<KeySlot, RepositoryError>>, RepositoryError> {
    let key = layout::key_slot(number);
    let Some(bytes) = store.read(&key, DOCUMENT_BYTES_MAX as u64).await? else { return Ok(None) };
    Ok(Some(match KeySlot::decode(key.as_str(), &bytes) {
        Ok(slot) if slot.number() == number => Ok(slot),
        Ok(_) => Err(damaged(store, key, "its number is not the one in its name")),
        Err(error) => Err(RepositoryError::of_document(&store.name, &key, error)),
    }))
}

fn damaged(store: &Store, key: Key, why: &str) -> RepositoryError {
    RepositoryError::Damaged { store: store.name.clone(), key, why: why.to_owned() }
}

/// The keys, from the first slot that `secret` opens. Without one: `WrongKey` if all slots could be read, else `Damaged`.
pub(crate) async fn unlock(
    store: &Store,
    config: &Config,
    secret: &Secret,
) -> Result<KeyRing, RepositoryError> {
    let mut unreadable = None;
    let mut tried = 0;
    for (number, slot) in stored_slots(store).await? {
        let slot = match slot {
            Ok(slot)
                if slot.repository() == config.repository && slot.generation() == config.key_generation =>
            {
                slot
            }
            Ok(_) => continue, // left behind by an init that came second
            Err(error) => {
                unreadable = Some(error);
                continue;
            }
        };
        tried += 1;
        let key = layout::key_slot(number);
        match unwrap_beside(Arc::new(slot), key.clone(), secret.clone()).await {
            Ok(keys) => return Ok(keys),
            Err(CryptoError::WrongKey { .. }) => {}
            Err(error) => unreadable = Some(RepositoryError::of_document(&store.name, &key, error)),
        }
    }
    let missing = || {
        damaged(
            store,
            layout::key_slot(1),
            "none of the key slots belongs to this config: one or the other was lost or replaced",
        )
    };
    Err(match unreadable {
        Some(error) => error,
        None if tried == 0 => missing(),
        None => RepositoryError::WrongKey { store: store.name.clone(), slots: tried },
    })
}

/// Wraps and stores a slot under the first number from `draft.slot` on that is free; gives the number.
pub(crate) async fn create_slot(
    store: &Store,
    keys: &KeyRing,
    secret: &Secret,
    draft: SlotDraft<'_>,
    entropy: &Arc<dyn Entropy>,
) -> Result<u64, RepositoryError> {
    let SlotDraft { slot: first, label, created, params } = draft;
    let mut number = first;
    loop {
        while store.exists(&layout::key_slot(number)).await? {
            number += 1;
        }
        let (keys, secret, entropy) = (keys.clone(), secret.clone(), entropy.clone());
        let label = label.to_owned();
        let slot = beside(move || {
            KeySlot::wrap(
                &keys,
                &secret,
                &SlotDraft { slot: number, label: &label, created, params },
                &*entropy,
            )
        })
        .await
        .map_err(|source| RepositoryError::Crypto { store: store.name.clone(), source })?;
        match store.create(&layout::key_slot(number), &Bytes::copy_from_slice(slot.document())).await {
            Ok(()) => return Ok(number),
            Err(RepositoryError::Conflict { .. }) => number += 1,
            Err(error) => return Err(error),
        }
    }
}

impl Repository {
    /// Its key slots; damaged ones and those of other repositories are left out.
    ///
    /// # Errors
    /// The store's.
    pub async fn key_slots(&self) -> Result<Vec<KeySlot>, RepositoryError> {
        let slots = stored_slots(self.store()).await?.into_iter().filter_map(|(_, slot)| slot.ok());
        Ok(slots.filter(|slot| slot.repository() == self.id()).collect())
    }

    /// Adds a key slot for another secret; gives its number. Other copies get it from the next
    /// [`init_copy`](Self::init_copy).
    ///
    /// # Errors
    /// Kind `Invalid` for a weak passphrase or an unencrypted repository; the store's.
    pub async fn add_key_slot(
        &self,
        secret: &Secret,
        label: &str,
        params: SlotParams,
    ) -> Result<u64, RepositoryError> {
        self.check_writable("keys/")?;
        let draft = SlotDraft { slot: 1, label, created: self.clock().wall(), params };
        create_slot(self.store(), self.keys(), secret, draft, self.entropy()).await
    }

    /// Takes a key slot away from this copy. Who opened it before still has the root key.
    ///
    /// # Errors
    /// Kind `Refused`: it is the last that can be read. Kind `NotFound`: there is no such slot. The store's.
    pub async fn remove_key_slot(&self, number: u64) -> Result<(), RepositoryError> {
        let key = layout::key_slot(number);
        self.check_writable(key.as_str())?;
        let slots = self.key_slots().await?;
        if !slots.iter().any(|slot| slot.number() == number) {
            return Err(RepositoryError::Storage(rpo_storage::StorageError::NotFound {
                store: self.store_name().to_owned(),
                key,
            }));
        }
        if slots.len() == 1 {
            return Err(RepositoryError::Storage(rpo_storage::StorageError::Failed {
                store: self.store_name().to_owned(),
                op: "delete",
                key: key.to_string(),
                kind: ErrorKind::Refused,
                message: "it is the last key slot: add another one first".to_owned(),
                source: None,
            }));
        }
        Ok(self.storage().delete(&key).await?)
    }
}
