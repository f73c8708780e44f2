//! Telling what happens: events to whoever listens, alerts to the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rpo_core::event::{Event, EventKind};
use rpo_core::{Clock, SourceId};
use tokio::sync::broadcast;

/// Events that a slow listener may be behind before it misses some.
const BACKLOG: usize = 1_024;

/// Numbers events and hands them out.
#[derive(Debug)]
pub(crate) struct Teller {
    clock: Arc<dyn Clock>,
    next: AtomicU64,
    out: broadcast::Sender<Event>,
}

impl Teller {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, next: AtomicU64::new(1), out: broadcast::Sender::new(BACKLOG) }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.out.subscribe()
    }

    /// Tells; that nobody listens is no error.
    pub(crate) fn tell(&self, system: Option<&SourceId>, kind: EventKind) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let event = Event { number, time: self.clock.wall(), system: system.cloned(), kind };
        // Who listens shows it: here it is for those who look for what went wrong.
        tracing::debug!(event = %event.kind.name(), system = system.map(SourceId::as_str), number);
        let _ = self.out.send(event);
    }
}
