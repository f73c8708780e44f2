//! Black-box crash rigs for the log: a victim process is killed, or its system calls fail, and what it was promised is
//! compared with what a new process finds. `cargo xtask torture wal` runs them; `docs/src/torture.md` says what each proves.
//!
//! The judge knows the log only through the text that the victim prints: nothing here decodes a segment.
#![allow(clippy::disallowed_methods)] // timeouts of real processes

mod child;
mod judge;
mod powercut;
mod rigs;
mod summary;

pub use child::{Place, Run};
pub use judge::{Journal, Tail, Verdict};
pub use rigs::{Options, RIGS, run};
pub use summary::Summary;
