//! When to try again, and when to stop.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use rpo_core::Monotonic;
use rpo_core::ports::{Clock, Entropy};

use super::{Hurry, RetryConfig};

/// Successes that give one retry back.
const SUCCESSES_PER_RETRY: u32 = 10;

/// Retries left over all operations of one store, in tenths.
#[derive(Debug)]
pub(super) struct Budget {
    tenths: Mutex<u32>,
    full: u32,
}

impl Budget {
    pub(super) fn new(retries: u32) -> Self {
        let full = retries.saturating_mul(SUCCESSES_PER_RETRY);
        Self { tenths: Mutex::new(full), full }
    }

    pub(super) fn success(&self) {
        let mut tenths = self.tenths.lock().unwrap_or_else(PoisonError::into_inner);
        *tenths = self.full.min(*tenths + 1);
    }

    /// Takes one retry, if there is one left.
    fn take(&self) -> bool {
        let mut tenths = self.tenths.lock().unwrap_or_else(PoisonError::into_inner);
        match tenths.checked_sub(SUCCESSES_PER_RETRY) {
            Some(rest) => {
                *tenths = rest;
                true
            }
            None => false,
        }
    }
}

/// The attempts of one operation.
pub(super) struct Pacing<'a> {
    config: &'a RetryConfig,
    clock: &'a dyn Clock,
    entropy: &'a dyn Entropy,
    budget: &'a Budget,
    hurry: &'a Hurry,
    began: Monotonic,
    attempts: u32,
}

impl<'a> Pacing<'a> {
    /// The first attempt begins now.
    pub(super) fn new(
        config: &'a RetryConfig,
        clock: &'a dyn Clock,
        entropy: &'a dyn Entropy,
        budget: &'a Budget,
        hurry: &'a Hurry,
    ) -> Self {
        Self { config, clock, entropy, budget, hurry, began: clock.monotonic(), attempts: 1 }
    }

    /// Waits until the next attempt may begin; false, without waiting on, if there may be none.
    pub(super) async fn pause(&mut self) -> bool {
        let pause = self.jittered();
        let elapsed = self.clock.monotonic().since(self.began);
        let in_time = elapsed.saturating_add(pause) < self.config.deadline.get();
        if self.attempts >= self.config.attempts_max || !in_time || !self.budget.take() {
            return false;
        }
        self.attempts += 1;
        self.hurry.pause(pause).await
    }

    /// Between nothing and the bound of this attempt ("full jitter": Brooker, *Exponential Backoff And Jitter*, 2015).
    fn jittered(&self) -> Duration {
        let doubled = 1_u32.checked_shl(self.attempts - 1).unwrap_or(u32::MAX);
        let bound = self.config.pause_first.get().saturating_mul(doubled).min(self.config.pause_max.get());
        let mut random = [0; 4];
        match self.entropy.fill(&mut random) {
            Ok(()) => bound.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX)),
            Err(_) => bound, // jitter is a courtesy: without entropy we wait the whole time
        }
    }
}
