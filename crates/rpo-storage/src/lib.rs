//! Immutable objects anywhere: the [`Storage`] trait, local and memory stores, wrappers.
//!
//! - **Promises**: what `create` acknowledged is durable and visible; an object is never overwritten, never moved;
//!   `read` returns exactly the range asked for or an error; a lost answer is read back, never guessed.
//! - **Knows nothing of** formats, encryption, repositories: objects are bytes with a name.
//! - **Start at** [`Storage`], [`Registry`] to open a URL, [`RetryStorage`] and [`MeteredStorage`] to wrap what was opened.
//!   Backends prove themselves with `storage_conformance!` of `rpo-testkit`; S3 and others are in `rpo-storage-opendal`.
//! - **Units**: lengths and ranges are bytes, ranges half-open. **Needs** a tokio runtime.
//!
//! ```
//! use bytes::Bytes;
//! use rpo_storage::{ErrorKind, Key, ListRequest, Registry, Storage};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let url = format!("file://{}", dir.path().display());
//! let store = Registry::with_defaults().open(&url)?; // such as "file:///srv/backup"
//! let key = Key::new("letters/0001")?;
//! store.create(&key, Bytes::from_static(b"dear reader")).await?; // on Ok it survives a power cut
//!
//! let again = store.create(&key, Bytes::from_static(b"something else")).await;
//! assert_eq!(again.unwrap_err().kind(), ErrorKind::Exists);
//! assert_eq!(store.read(&key, 5..11).await?, "reader");
//! assert_eq!(store.list(ListRequest::below("letters/")).await?.objects.len(), 1);
//! # Ok(())
//! # }
//! ```

mod digest;
mod error;
mod key;
mod local;
mod memory;
mod metered;
mod registry;
mod retry;
mod storage;

pub use error::StorageError;
pub use key::{KEY_BYTES_MAX, KEY_PART_BYTES_MAX, Key, KeyError};
pub use local::LocalStorage;
pub use memory::MemoryStorage;
pub use metered::{LATENCY_BOUNDS_MS, MeteredStorage, OperationMetrics, StorageMetrics};
pub use registry::{Opener, Registry, shown};
pub use retry::{Hurry, RetryConfig, RetryStorage};
pub use rpo_core::ErrorKind;
pub use storage::{ByteStream, Capabilities, ListRequest, ObjectMeta, Page, Storage, StoreIdentity};
