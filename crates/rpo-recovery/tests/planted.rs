//! Negative controls: bugs that point-in-time recoveries have had, planted one by one, must be caught by the stories.
#![cfg(feature = "planted-bugs")]
#![allow(clippy::unwrap_used)] // a test may fail so

mod support;

use rpo_recovery::planted::{self, PlantedBug};
use support::{Site, judge_random};

/// What the stream's story finds; on this thread alone, where the bug is planted.
fn story(seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut site, mut writer) = Site::new(seed).await;
        site.work(&mut writer, 30).await;
        let recovery = site.recovery(0).await;
        judge_random(&recovery, &writer.oracle, &mut site.rng, 80).await
    })
}

#[test]
fn the_story_passes_without_a_bug_and_catches_each() {
    assert_eq!(story(21), Ok(()));
    for bug in PlantedBug::ALL {
        let found = planted::with(*bug, || story(21));
        println!("{bug:?}: {found:?}");
        assert!(found.is_err(), "{bug:?} was not noticed");
    }
}
