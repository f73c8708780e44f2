//! Telling stores, from elsewhere, that nobody has time to wait any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Ends the waits between attempts: an operation under way is not cut, and one that fails is not tried again. For a
/// program that was told to end while a store keeps failing. Clones share it; there is no way back.
#[derive(Debug, Clone)]
pub struct Hurry(Arc<watch::Sender<bool>>);

impl Default for Hurry {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Hurry {
    /// There is time.
    pub fn new() -> Self {
        Self::default()
    }

    /// There is none any more.
    pub fn up(&self) {
        self.0.send_replace(true);
    }

    /// Waits that long; false, at once, if there is no time.
    pub(super) async fn pause(&self, pause: Duration) -> bool {
        let mut told = self.0.subscribe();
        tokio::select! {
            biased;
            _ = told.wait_for(|told| *told) => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}
