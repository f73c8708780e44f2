//! The trace: every call with its arguments and its outcome, folded into one number, so that two runs can be compared.

/// Folds everything that happened into 64 bits. Not a cryptographic hash: nobody attacks a simulation.
#[derive(Debug, Clone)]
pub(super) struct Trace(u64);

impl Trace {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed ^ 0x5bd1_e995_9e37_79b9)
    }

    pub(super) fn number(&mut self, value: u64) {
        let mixed = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.number(u64::from_le_bytes(word.try_into().expect("chunks of eight")));
        }
        for byte in words.remainder() {
            self.number(u64::from(*byte));
        }
    }

    pub(super) fn value(&self) -> u64 {
        self.0
    }
}
