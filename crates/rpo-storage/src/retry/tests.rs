//! How long is waited, how often, and what is refused. (What a lost answer means: `tests/lost_answers.rs`.)

use std::sync::atomic::{AtomicU64, Ordering};

use rpo_core::{Monotonic, Timestamp};

use super::*;
use crate::MemoryStorage;

#[derive(Debug, Default)]
struct Still(AtomicU64);

impl Clock for Still {
    fn wall(&self) -> Timestamp {
        Timestamp::EPOCH
    }
    fn monotonic(&self) -> Monotonic {
        Monotonic::new(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }
}

#[derive(Debug)]
struct Always(u8);

impl Entropy for Always {
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
        out.fill(self.0);
        Ok(())
    }
}

/// Pauses until none is granted, with every draw the same byte.
async fn pauses(config: RetryConfig, byte: u8) -> Vec<Duration> {
    let (clock, entropy, budget) = (Still::default(), Always(byte), Budget::new(config.budget));
    let hurry = Hurry::new();
    let mut pacing = Pacing::new(&config, &clock, &entropy, &budget, &hurry);
    let mut pauses = Vec::new();
    loop {
        let before = tokio::time::Instant::now();
        if !pacing.pause().await {
            return pauses;
        }
        pauses.push(before.elapsed());
        clock.0.fetch_add(before.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_double_up_to_the_longest_and_end_with_the_attempts() {
    let config = RetryConfig {
        attempts_max: 6,
        pause_first: HumanDuration::from_millis(100),
        pause_max: HumanDuration::from_millis(500),
        ..RetryConfig::default()
    };
    let longest: Vec<_> = pauses(config.clone(), 0xff).await.iter().map(Duration::as_millis).collect();
    assert_eq!(longest, [100, 200, 400, 500, 500]);
    let shortest = pauses(config, 0).await;
    assert!(shortest.len() == 5 && shortest.iter().all(|p| p.as_millis() <= 1), "{shortest:?}");
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_after_the_deadline() {
    let config =
        RetryConfig { attempts_max: 100, deadline: HumanDuration::from_secs(1), ..RetryConfig::default() };
    let total: Duration = pauses(config, 0xff).await.iter().sum();
    assert!(total < Duration::from_secs(1), "{total:?}");
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_shared_and_comes_back_with_success() {
    let config = RetryConfig { budget: 2, ..RetryConfig::default() };
    assert_eq!(pauses(config, 0).await.len(), 2);
    let budget = Budget::new(1);
    let config = RetryConfig::default();
    let (clock, entropy) = (Still::default(), Always(0));
    let hurry = Hurry::new();
    let mut pacing = Pacing::new(&config, &clock, &entropy, &budget, &hurry);
    assert!(pacing.pause().await);
    assert!(!pacing.pause().await);
    for _ in 0..10 {
        budget.success();
    }
    assert!(pacing.pause().await);
}

#[tokio::test(start_paused = true)]
async fn whoever_hurries_cuts_the_pause_under_way_and_those_to_come() {
    let config = RetryConfig {
        pause_first: HumanDuration::from_secs(3_600),
        pause_max: HumanDuration::from_secs(3_600),
        deadline: HumanDuration::from_secs(86_400),
        ..RetryConfig::default()
    };
    let (clock, entropy, budget) = (Still::default(), Always(0xff), Budget::new(9));
    let hurry = Hurry::new();
    let mut pacing = Pacing::new(&config, &clock, &entropy, &budget, &hurry);
    let before = tokio::time::Instant::now();

    let (granted, ()) = futures::join!(pacing.pause(), async { hurry.clone().up() });

    assert!(!granted && !pacing.pause().await);
    assert!(before.elapsed().is_zero(), "{:?}", before.elapsed());
}

#[test]
fn all_broken_rules_are_told_together() {
    let config = RetryConfig {
        attempts_max: 0,
        pause_first: HumanDuration::from_secs(99),
        attempt_time_max: HumanDuration::ZERO,
        throughput_min: ByteSize::default(),
        ..RetryConfig::default()
    };
    let built =
        RetryStorage::new(MemoryStorage::new(), config, Arc::new(Still::default()), Arc::new(Always(0)));
    assert_eq!(built.unwrap_err().problems().len(), 4);
}
