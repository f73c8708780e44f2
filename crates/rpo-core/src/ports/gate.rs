//! How writes are held.

use std::fmt::Debug;

use crate::SourceId;

/// Holds and releases the writes of a source that can hold them: how an objective is enforced.
pub trait Gate: Debug + Send + Sync {
    /// Whose writes it holds.
    fn source(&self) -> &SourceId;
    /// Lets no further write be acknowledged until released; `reason` is told to whoever is made to wait.
    ///
    /// # Errors
    /// The source did not take the order; writes may be going on.
    fn hold(&self, reason: &str) -> std::io::Result<()>;
    /// Lets writes be acknowledged again.
    ///
    /// # Errors
    /// The source did not take the order; writes may still be held.
    fn release(&self) -> std::io::Result<()>;
}
