//! Keeping a mirror up to home: bills replayed at intervals.

use std::sync::Arc;
use std::time::Duration;

use rpo_core::event::EventKind;
use rpo_replication::{CopySpec, Mirror, MirrorConfig};
use tokio::sync::watch;

use super::Shared;

/// Longest time between two looks at home while nothing is wrong.
const EVERY_MAX: Duration = Duration::from_secs(10);

/// Replays home's bills into `mirror` until it is told to stop; then once more, so that what home has is there too.
pub(super) async fn run(
    shared: Arc<Shared>,
    home: CopySpec,
    mirror: CopySpec,
    every: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let clock = shared.parts.clock.clone();
    let mut work = match Mirror::new(home, mirror.clone(), clock, MirrorConfig::default()) {
        Ok(work) => work,
        Err(error) => {
            let kind = EventKind::RegionFailed { copy: mirror.name.clone(), reason: error.to_string() };
            return shared.teller.tell(None, kind);
        }
    };
    let mut failing = false;
    loop {
        let last = *stopping.borrow();
        match work.step().await {
            Ok(step) => {
                failing = false;
                if !step.caught_up && step.objects > 0 {
                    continue; // there is more, and it goes well
                }
            }
            Err(error) => {
                if !failing {
                    let kind =
                        EventKind::RegionFailed { copy: mirror.name.clone(), reason: error.to_string() };
                    shared.teller.tell(None, kind);
                }
                failing = true;
            }
        }
        if last {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(every.min(EVERY_MAX)) => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }
}
