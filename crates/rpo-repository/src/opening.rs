//! Making a repository, opening it, making and opening further copies.

use std::sync::Arc;

use bytes::Bytes;
use rpo_core::RepositoryId;
use rpo_crypto::document::DOCUMENT_BYTES_MAX;
use rpo_crypto::slot::SlotDraft;
use rpo_crypto::{KeyRing, KeySlot, RootKey, Secret, SlotParams};
use rpo_storage::Key;

use crate::config::Encryption;
use crate::probe::probe;
use crate::repository::check_id;
use crate::slots::{create_slot, stored_slots, unlock};
use crate::store::Store;
use crate::{Config, Cutters, Repository, RepositoryError, RepositoryParts, layout};

const LIMIT: u64 = DOCUMENT_BYTES_MAX as u64;

/// How a new repository is made. What is chosen here holds for ever, but the secrets.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// What opens its first key slot. `None` makes a repository **without encryption**: who reads the store reads the data.
    pub secret: Option<Secret>,
    /// Cost of deriving a key from a passphrase.
    pub slot_params: SlotParams,
    /// Whose the first slot is, for people.
    pub slot_label: String,
    /// How content is cut.
    pub cutters: Cutters,
}

impl InitOptions {
    /// An encrypted repository with one key slot.
    pub fn encrypted(secret: Secret) -> Self {
        Self { secret: Some(secret), ..Self::unencrypted() }
    }

    /// A repository without encryption, by explicit choice.
    pub fn unencrypted() -> Self {
        let (slot_params, cutters) = (SlotParams::default(), Cutters::default());
        Self { secret: None, slot_params, slot_label: "first".to_owned(), cutters }
    }
}

impl Repository {
    /// Makes a repository: tries the store, writes the key slot, then the config, which makes it real.
    ///
    /// # Errors
    /// `Exists`: there is one already, untouched. `StoreRefused`: the store does not keep what is needed.
    pub async fn init(parts: RepositoryParts, options: InitOptions) -> Result<Self, RepositoryError> {
        let store = Store::new(parts.storage.clone());
        let exists = || RepositoryError::Exists { store: store.name.clone() };
        if store.exists(&layout::config(1)).await? {
            return Err(exists());
        }
        probe(&store, &*parts.entropy).await?;
        let mut id = [0; 16];
        parts.entropy.fill(&mut id)?;
        let id = RepositoryId::from_bytes(id);
        let created = parts.clock.wall();
        let encryption = if options.secret.is_some() { Encryption::Aes256Gcm } else { Encryption::None };
        let config = Config::first(id, created, encryption, options.cutters);
        let crypto = |source| RepositoryError::Crypto { store: store.name.clone(), source };
        let keys = match &options.secret {
            None => KeyRing::unencrypted(id),
            Some(secret) => {
                let root = RootKey::generate(&*parts.entropy).map_err(crypto)?;
                let keys = KeyRing::new(root, id, config.key_generation);
                let (label, params) = (options.slot_label.as_str(), options.slot_params);
                let draft = SlotDraft { slot: 1, label, created, params };
                create_slot(&store, &keys, secret, draft, &parts.entropy).await?;
                keys
            }
        };
        let bytes = config.encode(&keys).map_err(crypto)?;
        match store.create(&layout::config(1), &Bytes::from(bytes)).await {
            Ok(()) => Ok(Self::assemble(parts, config, keys, true)),
            // Somebody else was first; our slot stays beside theirs and opens nothing.
            Err(RepositoryError::Conflict { .. }) => Err(exists()),
            Err(error) => Err(error),
        }
    }

    /// Opens a repository for reading and writing, and tries the store. Takes as long as the key slots' derivation costs
    /// (about 0.1 to 0.3 s each).
    ///
    /// # Errors
    /// `Absent`, `SecretNeeded`, `WrongKey`, `NotEncrypted`, `Damaged`, `TooOld`, `StoreRefused`; see [`RepositoryError`].
    pub async fn open(parts: RepositoryParts, secret: Option<&Secret>) -> Result<Self, RepositoryError> {
        let opened = Self::open_with(parts, secret, true).await?;
        opened.config().check_writer(opened.store_name())?;
        probe(opened.store(), &**opened.entropy()).await?;
        Ok(opened)
    }

    /// Opens a repository for reading: nothing is ever written, so credentials that can only read are enough.
    ///
    /// # Errors
    /// As [`open`](Self::open), without what concerns writing.
    pub async fn open_read_only(
        parts: RepositoryParts,
        secret: Option<&Secret>,
    ) -> Result<Self, RepositoryError> {
        Self::open_with(parts, secret, false).await
    }

    async fn open_with(
        parts: RepositoryParts,
        secret: Option<&Secret>,
        writable: bool,
    ) -> Result<Self, RepositoryError> {
        let store = Store::new(parts.storage.clone());
        let (key, bytes, config) = read_config(&store).await?;
        let keys = match (config.encryption, secret) {
            (Encryption::None, None) => KeyRing::unencrypted(config.repository),
            (Encryption::None, Some(_)) => return Err(RepositoryError::NotEncrypted { store: store.name }),
            (_, None) => return Err(RepositoryError::SecretNeeded { store: store.name }),
            (_, Some(secret)) => unlock(&store, &config, secret).await?,
        };
        Config::check_mac(&store.name, &key, &bytes, &keys)?;
        Ok(Self::assemble(parts, config, keys, writable))
    }

    /// Makes another copy: the same identity, key slots and config in another store. Can be repeated after a crash.
    ///
    /// # Errors
    /// `OtherRepository`: the store holds another one, untouched. Else as [`open_copy`](Self::open_copy).
    pub async fn init_copy(parts: RepositoryParts, from: &Repository) -> Result<Self, RepositoryError> {
        let store = Store::new(parts.storage.clone());
        let first = layout::config(1);
        if let Some(bytes) = store.read(&first, LIMIT).await? {
            check_id(&store.name, from.id(), Config::decode(&store.name, &first, &bytes)?.repository)?;
        }
        probe(&store, &*parts.entropy).await?;
        for (number, slot) in stored_slots(from.store()).await? {
            match slot {
                Ok(slot) if slot.repository() == from.id() => {
                    let bytes = Bytes::copy_from_slice(slot.document());
                    store.create(&layout::key_slot(number), &bytes).await?;
                }
                Ok(_) => {} // left behind by an init that came second
                Err(error) => tracing::warn!(%error, "a key slot was not copied"),
            }
        }
        for number in 1..=from.config().number {
            let key = layout::config(number);
            let Some(bytes) = from.store().read(&key, LIMIT).await? else {
                let (store, why) = (from.store_name().to_owned(), "it is missing".to_owned());
                return Err(RepositoryError::Damaged { store, key, why });
            };
            store.create(&key, &bytes).await?;
        }
        Self::assemble_copy(parts, from, true).await
    }

    /// Opens another copy of a repository that is open, with its keys: no secret is needed.
    ///
    /// # Errors
    /// `OtherRepository` if the store holds another one; else as [`open`](Self::open).
    pub async fn open_copy(parts: RepositoryParts, from: &Repository) -> Result<Self, RepositoryError> {
        let copy = Self::assemble_copy(parts, from, from.is_writable()).await?;
        if copy.is_writable() {
            copy.config().check_writer(copy.store_name())?;
            probe(copy.store(), &**copy.entropy()).await?;
        }
        Ok(copy)
    }

    async fn assemble_copy(
        parts: RepositoryParts,
        from: &Repository,
        writable: bool,
    ) -> Result<Self, RepositoryError> {
        let store = Store::new(parts.storage.clone());
        let (key, bytes, config) = read_config(&store).await?;
        check_id(&store.name, from.id(), config.repository)?;
        Config::check_mac(&store.name, &key, &bytes, from.keys())?;
        Ok(Self::assemble(parts, config, from.keys().clone(), writable))
    }

    /// Writes the next number of the config with what `change` changes; identity, encryption and key generation stay.
    /// Gives the repository with the new config; other handles keep theirs until they are opened again.
    ///
    /// # Errors
    /// `Conflict`: somebody else changed it meanwhile: open again and repeat.
    pub async fn amend_config(&self, change: impl FnOnce(&mut Config)) -> Result<Self, RepositoryError> {
        let mut config = self.config().clone();
        change(&mut config);
        config.number = self.config().number + 1;
        config.created = self.clock().wall();
        config.repository = self.id();
        config.encryption = self.config().encryption;
        config.key_generation = self.config().key_generation;
        let bytes = config.encode(self.keys()).map_err(|source| self.crypto(source))?;
        self.put_bytes(&layout::config(config.number), bytes.into()).await?;
        Ok(Self::assemble(self.parts().clone(), config, self.keys().clone(), true))
    }
}

/// The config with the highest number, its name and bytes. Its MAC is still to be checked.
async fn read_config(store: &Store) -> Result<(Key, Bytes, Config), RepositoryError> {
    let mut newest = None;
    for number in 1.. {
        let key = layout::config(number);
        match store.read(&key, LIMIT).await? {
            Some(bytes) => newest = Some((key, bytes)),
            None => break,
        }
    }
    let (key, bytes) = newest.ok_or_else(|| RepositoryError::Absent { store: store.name.clone() })?;
    let config = Config::decode(&store.name, &key, &bytes)?;
    Ok((key, bytes, config))
}

/// Runs `work`, which may take a second, beside the async runtime if there is one.
pub(crate) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => match runtime.spawn_blocking(work).await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        },
        Err(_) => work(),
    }
}

/// [`KeySlot::unwrap_keys`] beside the runtime.
pub(crate) async fn unwrap_beside(
    slot: Arc<KeySlot>,
    what: Key,
    secret: Secret,
) -> Result<KeyRing, rpo_crypto::CryptoError> {
    beside(move || slot.unwrap_keys(what.as_str(), &secret)).await
}
