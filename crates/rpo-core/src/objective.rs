//! Objectives: how much may be lost where, how soon it must be back, and what is done about it.
//!
//! [`Objective`] is the whole; its presets come from levels, stages and the tiers of the trade. Judging a measured
//! window against a [`Limit`] is [`crate::window`]'s.

mod limit;
mod presets;
mod settings;
mod tiers;
mod words;

#[cfg(test)]
mod tests;

pub use limit::{Limit, Threshold};
pub use settings::{Objective, RpoByDomain};
pub use tiers::{BusinessTier, CopyMode, Priority, RecoveryTier, SlaTier, Stage};
pub use words::{AckLevel, Domain, Enforcement, OnLoss, RpoLevel, Status, WordError};
