//! Immutable objects anywhere: the [`Storage`] trait, local and memory stores, wrappers.
//!
//! - **Promises**: what `create` acknowledged is durable and visible; an object is never overwritten, never moved;
//!   `read` returns exactly the range asked for or an error.
//! - **Knows nothing of** formats, keys, repositories: objects are bytes with a name.
//! - **Start at** [`Storage`]; backends prove themselves with `storage_conformance!` of `rpo-testkit`.
//! - **Needs** a tokio runtime.

mod error;
mod key;
mod storage;

pub use error::StorageError;
pub use key::{Key, KeyError};
pub use storage::{ByteStream, Capabilities, ListRequest, ObjectMeta, Page, Storage, StoreIdentity};
