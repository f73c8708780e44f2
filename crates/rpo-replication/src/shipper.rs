//! Shipping: durable frames become batches, sealed once, spooled, and sent to every copy independently of the others.

mod board;
mod bucket;
mod config;
mod gap;
mod lane;
mod seal;
mod stats;

use std::fmt;
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures::FutureExt;
use futures::future::BoxFuture;
use rpo_core::window::EpochStart;
use rpo_core::{Clock, CopyName, Disk, Entropy, Epoch, ErrorKind, Position, StreamId};
use rpo_crypto::KeyRing;

pub use self::board::ShipView;
use self::board::{Board, Gate, Incident};
pub use self::config::{ShipConfig, SpoolFull};
use self::lane::Lane;
pub use self::stats::{CopyStats, RATE_WINDOW, SpoolStats};
use crate::copies::{Copies, CopyState, Health, Seen};
use crate::decide::releasable;
use crate::heal::lineage;
use crate::source::FrameSource;
use crate::spool::{Origin, Spool, Tip};
use crate::takeover::Takeover;
use crate::{ReplicationError, batch::ParentLink};

/// What the shipper is given from outside.
#[derive(Debug, Clone)]
pub struct ShipperParts {
    /// The log.
    pub source: Arc<dyn FrameSource>,
    /// Where to.
    pub copies: Copies,
    /// What the spool stands on.
    pub disk: Arc<dyn Disk>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For salts.
    pub entropy: Arc<dyn Entropy>,
}

/// How a shipper begins.
#[derive(Debug, Clone)]
pub enum Start {
    /// Goes on where the spool says, or where the copies say if there is no spool yet.
    Continue,
    /// First shipper of an epoch that was taken over.
    After(Box<Takeover>),
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShipStep {
    /// Batches sealed and spooled.
    pub sealed: u32,
    /// Where the newest batch ends.
    pub sealed_to: Position,
    /// A heartbeat was written to the log.
    pub heartbeat: bool,
    /// The spool is full: sealing waits until a copy takes batches. Nothing is dropped; the frames stay in the log.
    pub blocked: bool,
    /// Exchanges that are still going on.
    pub in_flight: usize,
    /// What is known of each copy.
    pub copies: Vec<CopyState>,
}

pub(crate) struct Shared {
    pub(crate) stream: StreamId,
    pub(crate) epoch: Epoch,
    pub(crate) keys: KeyRing,
    pub(crate) writer: [u8; 16],
    pub(crate) parts: ShipperParts,
    pub(crate) config: ShipConfig,
    pub(crate) spool: Spool,
    pub(crate) board: Arc<Board>,
    pub(crate) parents: std::sync::OnceLock<Vec<ParentLink>>,
}

enum Slot {
    Idle(Box<Lane>),
    /// In a mutex that nobody ever waits for: it makes the shipper `Sync`, so that any task can drive it.
    Busy(Mutex<BoxFuture<'static, Box<Lane>>>),
}

/// Ships one writer's log. A thread, a task or a simulator drives it by calling [`step`](Self::step) each interval.
///
/// May be dropped and opened again at any moment: what was spooled goes out with the same bytes, what was not is sealed
/// anew under the same number. [`ReplicationError::Fenced`] is final. A step blocks on the local disk (reads, writes and
/// syncs of whole batches): give it a task or thread of its own.
pub struct LogShipper {
    shared: Arc<Shared>,
    lanes: Vec<Slot>,
    idle_rounds: u32,
}

impl fmt::Debug for LogShipper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { stream, epoch, spool, .. } = &*self.shared;
        let mut out = f.debug_struct("LogShipper");
        out.field("stream", stream).field("epoch", epoch).field("tip", &spool.tip()).finish_non_exhaustive()
    }
}

impl Drop for LogShipper {
    fn drop(&mut self) {
        self.shared.board.stop();
    }
}

impl LogShipper {
    /// Opens the shipper of `stream` with its spool below `spool_root`. Asks no copy anything yet.
    ///
    /// # Errors
    /// `Invalid` for a configuration that cannot work, or a log of another epoch than the takeover's; otherwise as
    /// [`Spool::open`].
    pub fn open(
        parts: ShipperParts,
        stream: StreamId,
        spool_root: &Path,
        config: ShipConfig,
        start: Start,
    ) -> Result<Self, ReplicationError> {
        config.validate().map_err(|error| ReplicationError::Invalid(error.to_string()))?;
        let epoch = parts.source.epoch();
        let keys = parts.copies.home().repository.keys().clone();
        let spool = Spool::open(Arc::clone(&parts.disk), spool_root, &stream, epoch, &keys)?;
        if let Start::After(takeover) = &start {
            if takeover.epoch != epoch || takeover.stream != stream {
                let why = format!(
                    "takeover of {} made epoch {}, the log is {stream}, epoch {epoch}",
                    takeover.stream, takeover.epoch
                );
                return Err(ReplicationError::Invalid(why));
            }
            if spool.origin().is_none() {
                spool.begin(Origin::fresh(stream.clone(), takeover.start()))?;
            }
            if spool.extent().0.is_none() {
                spool.append(takeover.first, &takeover.first_object)?;
            }
        }
        let mut writer = [0; 16];
        parts.entropy.fill(&mut writer).map_err(|error| ReplicationError::Log {
            stream: stream.clone(),
            why: format!("no randomness for the writer's id: {error}"),
            kind: ErrorKind::Retry,
        })?;
        let board = Arc::new(Board::new(&stream, &parts.copies, config.bandwidth_max));
        let parents = std::sync::OnceLock::new();
        let shared = Arc::new(Shared { stream, epoch, keys, writer, parts, config, spool, board, parents });
        let lane =
            |copy: &crate::CopySpec| Slot::Idle(Box::new(Lane::new(copy.clone(), Arc::clone(&shared))));
        let lanes = shared.parts.copies.all().iter().map(lane).collect();
        Ok(Self { shared, lanes, idle_rounds: 0 })
    }

    /// What is known, for whoever measures; cheap to clone, stays valid when the shipper is gone.
    pub fn view(&self) -> ShipView {
        let Shared { board, parts, stream, config, .. } = &*self.shared;
        let clock = Arc::clone(&parts.clock);
        let gate = Gate {
            stream: stream.clone(),
            when_full: config.spool_full,
            bytes_max: config.spool_bytes_max.get(),
        };
        ShipView::new(Arc::clone(board), parts.copies.policy().clone(), gate, clock)
    }

    /// How this epoch and those it goes back to began, for [`rpo_core::window::History`]; `None` before the first step.
    pub fn epoch_starts(&self) -> Option<Vec<EpochStart>> {
        let parents = self.shared.parents.get()?;
        let epochs = std::iter::once(self.shared.epoch).chain(parents.iter().map(|link| link.epoch));
        let forks = parents.iter().map(|link| Some(link.fork)).chain(std::iter::once(None));
        Some(epochs.zip(forks).map(|(epoch, fork)| EpochStart { epoch, fork }).collect())
    }

    /// The newest batch made.
    pub fn tip(&self) -> Option<Tip> {
        self.shared.spool.tip()
    }

    /// Stops or restarts the exchange with one copy; the spool keeps what it lacks.
    ///
    /// # Errors
    /// `NotFound` if there is no such copy.
    pub fn set_paused(&self, copy: &CopyName, paused: bool) -> Result<(), ReplicationError> {
        self.shared.board.set_paused(copy, paused)
    }

    /// Seals what is new, sends each copy what it lacks, and waits for every exchange to end.
    ///
    /// The first step of a stream, and the first after its spool was lost, needs an answer from *every* copy: one that is
    /// away could hold batches that only the lost spool knew of. Later steps need none.
    ///
    /// # Errors
    /// `Fenced` (final), `Rewound`, `Log`, `Spool`. Failures of single copies are no errors here: they are in the copies'
    /// [`Health`], and the next step tries again.
    pub async fn step(&mut self) -> Result<ShipStep, ReplicationError> {
        self.step_until(std::future::pending()).await
    }

    /// As [`step`](Self::step), but waits no longer than `patience`: an exchange that is not over then goes on in the next
    /// step, and delays neither the other copies nor new batches.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub async fn step_until(
        &mut self,
        patience: impl Future<Output = ()>,
    ) -> Result<ShipStep, ReplicationError> {
        self.stop_on_incident()?;
        self.settle().await?;
        // What is spooled goes out even if nothing can be added to it.
        let made = self.seal_new();
        self.run_lanes(patience).await;
        self.stop_on_incident()?;
        self.release()?;
        let made = made?;
        self.tell_spool(made.blocked);
        let in_flight = self.lanes.iter().filter(|slot| matches!(slot, Slot::Busy(_))).count();
        let sealed_to =
            self.shared.spool.tip().map_or(self.shared.parts.source.durable(), |tip| tip.position);
        let copies = self.shared.board.states();
        let seal::Made { sealed, heartbeat, blocked } = made;
        Ok(ShipStep { sealed, sealed_to, heartbeat, blocked, in_flight, copies })
    }

    /// Full is: sealing had to wait, and what the copies took since made no room.
    fn tell_spool(&self, blocked: bool) {
        let Shared { spool, parts, config, board, .. } = &*self.shared;
        let (numbers, bytes) = spool.extent();
        let full = blocked && self.shared.held_bytes() >= config.spool_bytes_max.get();
        let now = Seen::now(&*parts.clock);
        board.change_spool(|told| {
            told.bytes = bytes;
            told.batches = numbers.map_or(0, |numbers| numbers.end() - numbers.start() + 1);
            told.full_since = full.then(|| told.full_since.unwrap_or(now));
        });
    }

    async fn run_lanes(&mut self, patience: impl Future<Output = ()>) {
        for slot in &mut self.lanes {
            if matches!(slot, Slot::Idle(_)) {
                let parked = Slot::Busy(Mutex::new(std::future::pending().boxed()));
                if let Slot::Idle(lane) = std::mem::replace(slot, parked) {
                    *slot = Slot::Busy(Mutex::new(lane.run().boxed()));
                }
            }
        }
        let mut patience = pin!(patience);
        poll_fn(|context| {
            let mut busy = false;
            for slot in &mut self.lanes {
                if let Slot::Busy(exchange) = slot {
                    match exchange.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(context) {
                        Poll::Ready(lane) => *slot = Slot::Idle(lane),
                        Poll::Pending => busy = true,
                    }
                }
            }
            if busy { patience.as_mut().poll(context) } else { Poll::Ready(()) }
        })
        .await;
    }

    fn stop_on_incident(&self) -> Result<(), ReplicationError> {
        match self.shared.board.incident() {
            None => Ok(()),
            Some(Incident::Fenced { copy, by, number }) => {
                let Shared { stream, epoch, .. } = &*self.shared;
                Err(ReplicationError::Fenced { stream: stream.clone(), epoch: *epoch, by, copy, number })
            }
            Some(Incident::Rewound { archive }) => Err(self.rewound(archive)),
        }
    }

    fn rewound(&self, archive: Position) -> ReplicationError {
        let log = self.shared.parts.source.durable();
        ReplicationError::Rewound { stream: self.shared.stream.clone(), log, archive }
    }

    /// Finds out, once, where the numbering begins and what came before this epoch.
    async fn settle(&mut self) -> Result<(), ReplicationError> {
        let Shared { stream, epoch, spool, parts, .. } = &*self.shared;
        let copies = parts.copies.all();
        // A takeover's epoch start belongs in the spool from the first; without it the copies have to tell.
        let begun =
            |origin: Origin| *epoch == Epoch::FIRST || origin.tip.number > 0 || spool.extent().0.is_some();
        if !spool.origin().is_some_and(begun) {
            let origin = self.origin_from_copies().await?;
            spool.begin(origin)?;
        }
        if self.shared.parents.get().is_none() {
            let parents =
                if *epoch == Epoch::FIRST { Vec::new() } else { lineage(copies, stream, *epoch).await? };
            // A second call cannot come between: `self` is borrowed mutably.
            let _ = self.shared.parents.set(parents);
        }
        Ok(())
    }

    /// Without a spool only the copies know what was shipped, and each of them must be asked: one that is away could hold
    /// the newest batch.
    async fn origin_from_copies(&self) -> Result<Origin, ReplicationError> {
        let Shared { stream, epoch, parts, .. } = &*self.shared;
        let durable = parts.source.durable();
        let mut newest: Option<Tip> = None;
        for copy in parts.copies.all() {
            let epochs = copy.epochs(stream).await?;
            if let Some(by) = epochs.last().copied().filter(|last| last > epoch) {
                return Err(self.fenced_by(copy, by, 0));
            }
            if epochs.iter().any(|other| other < epoch) && !epochs.contains(epoch) {
                let why = format!(
                    "copy {} holds earlier epochs of {stream}: take over before shipping epoch {epoch}",
                    copy.name
                );
                return Err(ReplicationError::Invalid(why));
            }
            let next = copy.next_number(stream, *epoch).await?;
            if next == 1 {
                continue;
            }
            let place = crate::object::Place { stream, epoch: *epoch, number: next - 1 };
            match copy.open(place).await? {
                Some((crate::object::ArchiveObject::Fence(fence), _)) => {
                    return Err(self.fenced_by(copy, fence.by, fence.number));
                }
                Some((crate::object::ArchiveObject::Batch(batch), _)) => {
                    let tip = Tip::of(&batch.head, batch.digest);
                    if newest.is_none_or(|known| known.number < tip.number) {
                        newest = Some(tip);
                    }
                }
                None => return Err(lane::vanished(stream, *epoch, next - 1)),
            }
        }
        match newest {
            Some(tip) if tip.position.lsn > durable.lsn => Err(self.rewound(tip.position)),
            Some(tip) => Ok(Origin { stream: stream.clone(), epoch: *epoch, tip }),
            None => Ok(Origin::fresh(stream.clone(), parts.source.first())),
        }
    }

    fn fenced_by(&self, copy: &crate::CopySpec, by: Epoch, number: u64) -> ReplicationError {
        self.shared.board.report(Incident::Fenced { copy: copy.name.clone(), by, number });
        let Shared { stream, epoch, .. } = &*self.shared;
        let copy = copy.name.clone();
        ReplicationError::Fenced { stream: stream.clone(), epoch: *epoch, by, copy, number }
    }

    fn release(&self) -> Result<(), ReplicationError> {
        let Shared { spool, config, board, .. } = &*self.shared;
        let all: Vec<_> = board.next_numbers().iter().map(|(_, next)| *next).collect();
        if config.releases_too_soon() {
            return spool.release(releasable(&all, 1, true), |_| false); // planted
        }
        spool.release(releasable(&all, 1, false), |_| false)?;
        let limit = config.spool_bytes_max.get();
        spool.release(self.shared.kept_by_copies(), |bytes| bytes < limit)
    }

    /// True once every copy that is not paused or failing has everything that is sealed.
    pub fn is_caught_up(&self) -> bool {
        let tip = self.tip().map_or(0, |tip| tip.number);
        let behind = |state: &CopyState| {
            state.log.health == Health::Unknown || state.log.health == Health::Good && state.log.number < tip
        };
        !self.shared.board.states().iter().any(behind)
    }
}
