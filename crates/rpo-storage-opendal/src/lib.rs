//! S3, Google Cloud Storage, Azure Blob and other object stores behind [`rpo_storage::Storage`], through OpenDAL.
//!
//! - **Promises**: `create` is sent with the store's own put-if-absent condition; nothing is retried below it; credentials
//!   are taken from the environment and are never part of a URL or a message.
//! - **Knows nothing of** what is in an object, of retries (`rpo_storage::RetryStorage`), of local files
//!   (`rpo_storage::LocalStorage`: OpenDAL's own `fs` service syncs no directory).
//! - **Start at** [`register`] for URLs, [`OpendalStorage`] for any `opendal::Operator` of your own.
//! - **Features**: `s3` (default), `gcs`, `azblob`. **Needs** a tokio runtime. TLS is rustls with ring.
//!
//! ```
//! use bytes::Bytes;
//! use rpo_storage::{Key, Registry, Storage};
//! use rpo_storage_opendal::{OpendalStorage, opendal};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut registry = Registry::with_defaults();
//! rpo_storage_opendal::register(&mut registry);
//! # #[cfg(feature = "s3")]
//! let bucket = registry.open("s3://backups/laptop?region=eu-central-1")?; // asks nothing of S3 yet
//!
//! // Or any service that OpenDAL knows:
//! let store = OpendalStorage::new(opendal::Operator::new(opendal::services::Memory::default())?);
//! let key = Key::new("greetings/1")?;
//! store.create(&key, Bytes::from_static(b"hello")).await?;
//! assert!(store.create(&key, Bytes::from_static(b"again")).await.is_err(), "objects are never overwritten");
//! assert_eq!(store.read_all(&key, 100).await?, "hello");
//! # Ok(())
//! # }
//! ```

mod error;
mod schemes;
mod storage;
mod transport;
mod upload;

pub use opendal;
pub use schemes::register;
pub use storage::OpendalStorage;
pub use transport::install_transport;
