//! Randomness, given in from outside.

use std::fmt::Debug;
use std::io;

/// Randomness that an attacker cannot guess and a crash cannot rewind.
pub trait Entropy: Debug + Send + Sync {
    /// Fills `out` with fresh random bytes.
    ///
    /// # Errors
    /// The system has no entropy to give; nothing that needs a fresh salt may go on.
    fn fill(&self, out: &mut [u8]) -> io::Result<()>;
}
