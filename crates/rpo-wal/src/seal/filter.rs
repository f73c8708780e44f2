//! A Bloom filter of transaction ids that is built in one pass at full size and folded to what the ids need.
//!
//! (Bloom, *Space/Time Trade-offs in Hash Coding with Allowable Errors*, 1970; two hashes stand for all: Kirsch and
//! Mitzenmacher, 2006.)

const BYTES_MAX: usize = 64 << 10;
const BYTES_MIN: usize = 64;
const HASHES: u64 = 6;
/// About one id in a hundred that is not there is taken for one that may be.
const BITS_PER_ID: u64 = 10;

/// Says of an id that it is certainly not there, or that it may be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransactionFilter(Vec<u8>);

fn mix(id: u64) -> (u64, u64) {
    // The finaliser of SplitMix64: every bit of the id changes every bit of the result.
    let mut x = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    (x & 0xffff_ffff, x >> 32 | 1)
}

fn bits(id: u64, bytes: usize) -> impl Iterator<Item = (usize, u8)> {
    let (one, two) = mix(id);
    let mask = bytes as u64 * 8 - 1; // a power of two: a folded filter keeps the low bits of each place
    (0..HASHES).map(move |n| {
        let bit = (one + n * two) & mask;
        (usize::try_from(bit / 8).unwrap_or(0), 1 << (bit % 8)) // below 64 KiB
    })
}

impl TransactionFilter {
    /// A filter that may be filled.
    pub(crate) fn full_size() -> Self {
        Self(vec![0; BYTES_MAX])
    }

    pub(crate) fn insert(&mut self, id: u64) {
        let bytes = self.0.len();
        for (byte, bit) in bits(id, bytes) {
            self.0[byte] |= bit;
        }
    }

    /// As small as `count` ids allow.
    pub(crate) fn folded(mut self, count: u64) -> Self {
        if count == 0 {
            return Self::default();
        }
        while self.0.len() > BYTES_MIN && self.0.len() as u64 * 4 >= count.saturating_mul(BITS_PER_ID) {
            let upper = self.0.split_off(self.0.len() / 2);
            self.0.iter_mut().zip(upper).for_each(|(low, high)| *low |= high);
        }
        self
    }

    /// Whether the id may be there; no is certain.
    pub fn may_contain(&self, id: u64) -> bool {
        !self.0.is_empty() && bits(id, self.0.len()).all(|(byte, bit)| self.0[byte] & bit != 0)
    }

    /// Its bits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let fits = bytes.len().is_power_of_two() && (BYTES_MIN..=BYTES_MAX).contains(&bytes.len());
        (bytes.is_empty() || fits).then_some(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_there_is_never_denied_and_most_others_are() {
        for count in [1, 7, 1_000, 40_000, 400_000] {
            let mut filter = TransactionFilter::full_size();
            (0..count).for_each(|id| filter.insert(id * 3));
            let filter = filter.folded(count);
            assert!((0..count).all(|id| filter.may_contain(id * 3)), "{count}");
            let wrong = (0..10_000).filter(|id| filter.may_contain(id * 3 + 1)).count();
            assert!(count > 40_000 || wrong < 300, "{count}: {wrong} of 10000");
        }
        assert!(!TransactionFilter::full_size().folded(0).may_contain(5));
    }

    #[test]
    fn a_filter_costs_what_its_ids_need() {
        let mut filter = TransactionFilter::full_size();
        (0..1000).for_each(|id| filter.insert(id));
        let bytes = filter.folded(1000).as_bytes().len();
        assert!((1250..=2560).contains(&bytes), "{bytes}");
    }
}
