//! The ports: what the crates need from outside and are given, so that every test can be replayed from a seed.
//!
//! The real clock, entropy and disk are in `rpo-os`; simulated ones in `rpo-testkit`.

mod clock;
mod disk;
mod entropy;
mod entry;
mod gate;
mod restorer;
mod source;

pub use clock::Clock;
pub use disk::{Access, Disk, DiskEntry, DiskFile, DiskLock, FileKind};
pub use entropy::Entropy;
pub use entry::{
    Entry, EntryKind, EntryPath, EntryPathError, Extent, FileTime, Fingerprint, Metadata, PATH_BYTES_MAX,
};
pub use gate::Gate;
pub use restorer::{RestoreError, RestoreReport, Restorer, Validation};
pub use source::{
    Capture, CaptureReport, Captured, Change, Content, ContentReader, EntryStream, Skipped, Source,
    SourceError, Stability,
};
