//! The manager: one configuration, measuring, judging, scheduling; re-exports the crates below.
//!
//! - **Promises**: a reported loss window is a bound with the time it was taken; no number moves from local success alone;
//!   what a configuration cannot keep is refused before it is promised.
//! - **Knows nothing of** sockets, terminals, arguments: those are `rpo-cli`'s.
//! - **Start at** [`config::Config`] for a file and [`ops`] for what can be asked of it; [`Manager`] to embed, as
//!   `examples/ledger.rs` does.
//! - **Units**: windows are durations with the time they were taken, positions exclusive ends. **Features**: `s3`.
//!
//! ```
//! use std::path::Path;
//! use rpo::config::{Config, Verdict};
//! use rpo::core::objective::Domain;
//!
//! let text = r#"
//! [[copy]]
//! name = "far"
//! url = "s3://bucket/rpo?region=us-east-1"
//! region = "us"
//!
//! [[system]]
//! name = "docs"
//! source = { kind = "directory", path = "/srv/docs" }
//! objective = { rpo = { region = "1h" } }
//! "#;
//! let config = Config::parse(text, Path::new("rpo.toml"))?;
//! config.validate()?;
//!
//! let promises = config.promises();
//! let region = promises.iter().find(|promise| promise.domain == Domain::Region).unwrap();
//! assert_eq!(region.verdict, Verdict::BoundedLoss);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod config;
mod daemon;
mod error;
pub mod manager;
pub mod ops;
pub mod report;
mod site;

pub use daemon::Daemon;
pub use error::Error;
pub use manager::Manager;
pub use report::SCHEMA_VERSION;
pub use site::{Created, Site, SiteParts};

pub use rpo_alerts as alerts;
pub use rpo_checkpoint as checkpoint;
pub use rpo_core as core;
pub use rpo_crypto as crypto;
pub use rpo_os as os;
pub use rpo_recovery as recovery;
pub use rpo_replication as replication;
pub use rpo_repository as repository;
pub use rpo_source_dir as source_dir;
pub use rpo_storage as storage;
pub use rpo_wal as wal;
