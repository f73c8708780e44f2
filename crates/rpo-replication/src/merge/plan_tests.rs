use super::*;

fn config() -> MergeConfig {
    MergeConfig { target_bytes: "64KiB".parse().unwrap(), parts_min: 3, ..MergeConfig::default() }
}

/// Batches of these sizes from number 1 on; 0 stands for a gap.
fn epoch(sizes: &[u64]) -> Vec<Candidate> {
    let candidate = |(index, plain_bytes): (usize, &u64)| Candidate {
        number: index as u64 + 1,
        plain_bytes: *plain_bytes,
        sealed_at: Timestamp::EPOCH,
        batch: *plain_bytes > 0,
    };
    sizes.iter().enumerate().map(candidate).collect()
}

fn plan(sizes: &[u64], hours: u64) -> Option<RangeInclusive<u64>> {
    let now = Timestamp::EPOCH.saturating_add(std::time::Duration::from_secs(hours * 3600));
    plan_merge(&epoch(sizes), sizes.len() as u64, now, &config())
}

#[test]
fn a_run_is_merged_once_it_is_large() {
    assert_eq!(plan(&[30_000, 30_000, 30_000, 1], 0), Some(1..=3));
    assert_eq!(plan(&[30_000, 30_000, 1], 0), None, "too small yet");
}

#[test]
fn the_newest_batch_is_never_merged() {
    assert_eq!(plan(&[30_000, 30_000, 30_000], 2), None, "two are too few, the third is the newest");
    assert_eq!(plan(&[60_000, 60_000], 9), None);
    assert_eq!(plan(&[], 9), None);
}

#[test]
fn what_has_waited_long_is_merged_small() {
    assert_eq!(plan(&[10, 10, 10, 10], 1), Some(1..=3));
    assert_eq!(plan(&[10, 10, 10, 10], 0), None);
}

#[test]
fn nothing_is_merged_across_a_gap_or_a_batch_that_is_large_already() {
    assert_eq!(plan(&[10, 10, 0, 10, 10], 0), Some(1..=2));
    assert_eq!(plan(&[10, 0, 10, 10, 70_000, 10], 0), Some(3..=4));
    assert_eq!(plan(&[10, 0, 10, 0, 10, 10], 9), None, "single batches stay as they are");
}
