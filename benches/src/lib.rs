//! What the benchmarks share: how a log is measured, and what it is measured beside.
//!
//! A number of ours stands beside the same number of a limit or a peer from the same run, never alone: hosts differ, and
//! the same host differs from minute to minute. `cargo xtask bench wal` runs the comparison; `cargo bench -p rpo-benches`
//! the small benches for work on one function.
#![allow(clippy::disallowed_methods)] // a stopwatch reads the clock

pub mod wal;
