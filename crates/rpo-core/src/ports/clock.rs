//! The time, given in from outside.

use std::fmt::Debug;

use crate::{Monotonic, Timestamp};

/// The time. Two clocks, because one can step and the other means nothing to people.
pub trait Clock: Debug + Send + Sync {
    /// What the wall clock says; may step either way at any moment.
    fn wall(&self) -> Timestamp;
    /// What the steady clock says; never decreases within one boot. Ages are measured on this one.
    fn monotonic(&self) -> Monotonic;
}
