//! How people are told.

use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rpo_core::{ErrorKind, Status};

use crate::{Notice, Turn};

/// A way to tell people.
#[async_trait]
pub trait Sink: Debug + Send + Sync {
    /// Its name, as configured.
    fn name(&self) -> &str;
    /// Tells. On `Ok` the next one along has it; whether a person read it is not known.
    ///
    /// # Errors
    /// Kind `Retry`: it was not told, the same notice may be sent again. Kind `Unknown`: it may have been.
    async fn tell(&self, notice: &Notice) -> Result<(), SinkError>;
}

/// Why a sink could not tell.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// It was not reached, or said "later".
    #[error("not told now: {0}")]
    Unavailable(String),
    /// No answer: it may have been told.
    #[error("no answer, it may have been told: {0}")]
    NoAnswer(String),
    /// It refused the notice or the credentials: check its configuration.
    #[error("refused, check the sink's configuration: {0}")]
    Refused(String),
}

impl SinkError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable(_) => ErrorKind::Retry,
            Self::NoAnswer(_) => ErrorKind::Unknown,
            Self::Refused(_) => ErrorKind::Refused,
        }
    }
}

/// A notice that a sink did not take.
#[derive(Debug)]
pub struct DeliveryFailure {
    /// Which sink.
    pub sink: String,
    /// What was to be told.
    pub notice: Notice,
    /// Why it was not.
    pub error: SinkError,
}

/// Gives every notice to every sink, in order. A sink that fails holds up neither the others nor the caller: what it
/// did not take is returned, to be tried again or told by another.
pub async fn deliver(sinks: &[&dyn Sink], notices: &[Notice]) -> Vec<DeliveryFailure> {
    let mut failures = Vec::new();
    for sink in sinks {
        for notice in notices {
            if let Err(error) = sink.tell(notice).await {
                failures.push(DeliveryFailure {
                    sink: sink.name().to_owned(),
                    notice: notice.clone(),
                    error,
                });
            }
        }
    }
    failures
}

/// Tells the log of the program: errors for what is critical or worse, warnings for the rest, info when resolved.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogSink;

#[async_trait]
impl Sink for LogSink {
    fn name(&self) -> &str {
        "log"
    }

    async fn tell(&self, notice: &Notice) -> Result<(), SinkError> {
        let Notice { key, status, turn, reading, .. } = notice;
        if *turn == Turn::Resolved {
            tracing::info!(alert = %key, %status, %turn, %reading, "{notice}");
        } else if status.rank() >= Status::Critical.rank() {
            tracing::error!(alert = %key, %status, %turn, %reading, "{notice}");
        } else {
            tracing::warn!(alert = %key, %status, %turn, %reading, "{notice}");
        }
        Ok(())
    }
}

/// Keeps what it was told, for tests and for a page that shows the last notices.
#[derive(Debug)]
pub struct MemorySink {
    name: String,
    told: Mutex<Vec<Notice>>,
}

impl MemorySink {
    /// An empty one.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), told: Mutex::new(Vec::new()) }
    }

    /// What it was told, in order.
    pub fn told(&self) -> Vec<Notice> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Notice>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner) // a push cannot leave it half done
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn tell(&self, notice: &Notice) -> Result<(), SinkError> {
        self.lock().push(notice.clone());
        Ok(())
    }
}
