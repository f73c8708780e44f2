//! What a repository is: config, stored key slots, probe, sealed objects, sessions, bills.
//!
//! - **Promises**: an object is stored once, sealed under its type and name, and an answer that was lost is read back
//!   before anything is said ([`Repository::put`]); a session ends exactly once, committed or fenced, whoever is first
//!   ([`Session::commit`]); a store that lets a second `create` win is refused ([`Repository::init`], [`Repository::open`]).
//! - **Knows nothing of** what is in packs, manifests and batches: frames are bytes (`rpo-checkpoint`, `rpo-replication`).
//! - **Start at** [`Repository`]; [`mod@layout`] names every object, [`mod@config`], [`mod@bill`] and [`mod@session`] say
//!   what is in the small ones.
//! - **Units**: lengths bytes, numbers dense from 1. **Durable on `Ok`** is whatever the store's `create` promises; pacing
//!   of retries is `rpo_storage::RetryStorage`'s work.
//!
//! ```
//! use std::sync::Arc;
//! use rpo_core::SourceId;
//! use rpo_crypto::{ObjectType, Secret, SlotParams};
//! use rpo_repository::{InitOptions, Repository, RepositoryError, RepositoryParts, layout};
//! use rpo_storage::MemoryStorage;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let parts = RepositoryParts {
//!     storage: Arc::new(MemoryStorage::new()),
//!     clock: Arc::new(rpo_os::OsClock::new()),
//!     entropy: Arc::new(rpo_os::OsEntropy::new()),
//! };
//! let secret = Secret::passphrase("correct horse battery");
//! # let weak = InitOptions { slot_params: SlotParams::weak_for_tests(), ..InitOptions::encrypted(secret.clone()) };
//! # Repository::init(parts.clone(), weak).await?;
//! # if false {
//! Repository::init(parts.clone(), InitOptions::encrypted(secret.clone())).await?;
//! # }
//!
//! let repository = Repository::open(parts, Some(&secret)).await?;
//! let docs = SourceId::new("docs")?;
//! let session = repository.begin_session(&docs, "nightly").await?;
//! let pack = layout::pack(&repository.random_id()?);
//! repository.put(ObjectType::Pack, &pack, &[b"many chunks"]).await?;
//! session.commit(&[b"the manifest"]).await?;
//!
//! let manifest = repository.get(ObjectType::Manifest, &layout::checkpoint(&docs, 1)).await?;
//! assert_eq!(manifest, [&b"the manifest"[..]]);
//! # Ok(())
//! # }
//! ```

pub mod bill;
mod clear;
pub mod config;
mod error;
pub mod layout;
mod numbers;
mod objects;
mod opening;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod probe;
mod repository;
pub mod session;
mod slots;
mod store;

pub use bill::Bill;
pub use config::{Config, Cutters};
pub use error::RepositoryError;
pub use objects::Receipt;
pub use opening::InitOptions;
pub use repository::{Repository, RepositoryParts};
pub use session::{Session, SessionEnd, SessionRecord};
