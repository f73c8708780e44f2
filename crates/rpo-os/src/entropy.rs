//! The system's entropy.

use std::io;

use ring::rand::{SecureRandom, SystemRandom};
use rpo_core::Entropy;

/// The operating system's random source.
#[derive(Debug, Clone)]
pub struct OsEntropy {
    source: SystemRandom,
}

impl OsEntropy {
    /// The operating system's random source.
    #[expect(clippy::disallowed_methods, reason = "this is the port behind which the ambient entropy lives")]
    pub fn new() -> Self {
        Self { source: SystemRandom::new() }
    }
}

impl Default for OsEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for OsEntropy {
    fn fill(&self, out: &mut [u8]) -> io::Result<()> {
        self.source.fill(out).map_err(|_| io::Error::other("the system gives no random bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        OsEntropy::new().fill(&mut a).unwrap();
        OsEntropy::new().fill(&mut b).unwrap();
        assert_ne!(a, b);
    }
}
