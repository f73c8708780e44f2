//! Where blocking work pins up how far it is, for the async caller to pass on; and where it looks whether to stop.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::CheckpointError;
use crate::progress::{Cancel, Progress, Progressed};

/// Shared by the caller and the threads that work for it.
#[derive(Debug)]
pub(crate) struct Board {
    news: Mutex<Option<Progressed>>,
    pinned: Notify,
    cancel: Cancel,
    /// The caller dropped its future: nobody waits for the result.
    abandoned: Cancel,
}

struct AbandonOnDrop {
    board: Arc<Board>,
    armed: bool,
}

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        if self.armed {
            self.board.abandoned.cancel();
        }
    }
}

impl Board {
    pub(crate) fn new(cancel: &Cancel) -> Arc<Self> {
        Arc::new(Self {
            news: Mutex::new(None),
            pinned: Notify::new(),
            cancel: cancel.clone(),
            abandoned: Cancel::new(),
        })
    }

    /// # Errors
    /// `Cancelled` if the work is to stop.
    pub(crate) fn check(&self) -> Result<(), CheckpointError> {
        self.abandoned.check()?;
        self.cancel.check()
    }

    pub(crate) fn update(&self, progressed: Progressed) {
        *self.lock() = Some(progressed);
        self.pinned.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Progressed>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, progress: &dyn Progress) {
        let news = self.lock().take();
        if let Some(news) = news {
            progress.update(news);
        }
    }

    /// Runs blocking work on a thread of its own and passes its news on. Dropping the future stops the work.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        progress: &dyn Progress,
        work: impl FnOnce() -> Result<T, CheckpointError> + Send + 'static,
    ) -> Result<T, CheckpointError> {
        let mut stop = AbandonOnDrop { board: Arc::clone(self), armed: true };
        let joined = self.watched(progress, tokio::task::spawn_blocking(work)).await;
        stop.armed = false;
        joined.unwrap_or_else(|error| Err(CheckpointError::Worker(error.to_string())))
    }

    /// Waits for `work` and passes news on meanwhile.
    pub(crate) async fn watched<T>(&self, progress: &dyn Progress, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => {
                    self.tell(progress);
                    return result;
                }
                () = self.pinned.notified() => self.tell(progress),
            }
        }
    }
}
