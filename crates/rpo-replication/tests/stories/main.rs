//! Stories of shipping, taking over, reading, mirroring and spooling, each told against doubles that can be broken.
#![allow(clippy::unwrap_used)] // helpers of tests, not only tests

mod bounding;
mod expiring;
mod fencing;
mod gaps;
mod merging;
mod mirroring;
#[cfg(feature = "planted-bugs")]
mod planted_bugs;
mod reading;
mod real_log;
mod shipping;
mod spooling;
mod support;
