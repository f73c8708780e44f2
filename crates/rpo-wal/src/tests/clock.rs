//! The wall clock steps back and forth; commit times stay in order, and a point in time is found exactly.

use rpo_core::{MarkerKind, Position, Sequence};

use super::seek::Rng;
use super::*;

/// What callers were told, with the time it really was.
#[derive(Default)]
struct Told(Vec<(Appended, Timestamp)>);

/// A site whose true time is known, whatever its wall clock says.
struct Story {
    site: Site,
    log: Option<Log>,
    told: Told,
    began: (Timestamp, Duration),
}

const HOUR: Duration = Duration::from_secs(3600);
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);

impl Story {
    fn begin() -> Self {
        let site = Site::new();
        let began = (site.clock.wall(), site.clock.monotonic().since_origin());
        let log = Some(site.open());
        Self { site, log, told: Told::default(), began }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn truth(&self) -> Timestamp {
        self.began.0.saturating_add(self.site.clock.monotonic().since_origin() - self.began.1)
    }

    fn commits(&mut self, count: u64, every: Duration) {
        for _ in 0..count {
            self.site.clock.advance(every);
            let n = self.told.0.len() as u64;
            let appended = append(self.log(), n);
            let truth = self.truth();
            self.told.0.push((appended, truth));
        }
        settle(self.log());
    }

    /// The wall clock goes wrong by so much.
    fn step(&self, by: Duration, forward: bool) {
        let now = self.site.clock.wall();
        let to = if forward { now.saturating_add(by) } else { now.saturating_sub(by) };
        self.site.clock.step_wall(to);
    }

    fn right(&self) {
        self.site.clock.step_wall(self.truth());
    }

    fn reopen(&mut self) {
        self.log = None;
        self.log = Some(self.site.open());
    }

    fn anomalies(&self) -> usize {
        self.log().clock_anomalies().unwrap().len()
    }

    /// Commit times never step back, and every point by time and by number is exactly what callers were told.
    #[track_caller]
    fn check(&self) {
        let log = self.log();
        let told = &self.told.0;
        assert!(told.is_sorted_by_key(|(one, _)| one.time), "commit times never step back");
        let mut last = Timestamp::from_micros(i64::MIN);
        let mut commits = Vec::new();
        for entry in log.replay(Lsn::ZERO) {
            let entry = entry.unwrap();
            assert!(entry.time() >= last);
            last = entry.time();
            if let LogEntry::Commit(commit) = entry {
                commits.push((commit.position(), commit.time));
            }
        }
        assert_eq!(commits, told.iter().map(|(one, _)| (one.end, one.time)).collect::<Vec<_>>());
        for (n, (one, _)) in told.iter().enumerate() {
            let found = log.seek_sequence(Sequence::new(n as u64 + 1)).unwrap();
            assert_eq!(found, Some(one.end), "the first {} commits", n + 1);
            for time in [one.time, one.time.saturating_sub(Duration::from_micros(1))] {
                // A restore at a time holds exactly the commits up to it: the markers that share a frame do not count.
                let expected = told.iter().filter(|(other, _)| other.time <= time).count() as u64;
                let found = log.seek_time(time).unwrap().map_or(0, commits_of);
                assert_eq!(found, expected, "at {time}");
            }
        }
    }

    /// The largest difference between a commit's time and the true one, from commit `from` on.
    fn worst_error(&self, from: usize) -> Duration {
        let off = |(one, truth): &(Appended, Timestamp)| one.time.since(*truth).max(truth.since(one.time));
        self.told.0[from..].iter().map(off).max().unwrap()
    }
}

fn commits_of(position: Position) -> u64 {
    position.sequence.unwrap().get()
}

#[test]
fn a_clock_two_hours_back_for_a_minute_moves_no_commit_time() {
    let mut story = Story::begin();
    story.commits(50, Duration::from_secs(1));
    story.step(2 * HOUR, false);
    story.commits(50, Duration::from_secs(1));
    story.right();
    story.commits(50, Duration::from_secs(1));
    assert_eq!(story.worst_error(0), Duration::ZERO);
    assert_eq!(story.anomalies(), 2, "there and back");
    story.check();
    story.reopen();
    story.check();
}

#[test]
fn a_clock_ten_years_ahead_and_back_leaves_points_in_time_where_they_were() {
    let mut story = Story::begin();
    story.commits(100, Duration::from_secs(1));
    story.step(TEN_YEARS, true);
    story.commits(100, Duration::from_secs(60));
    story.right();
    story.commits(100, Duration::from_secs(1));
    assert_eq!(story.worst_error(0), Duration::ZERO);
    let steps = story.log().clock_anomalies().unwrap();
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[0].what.found.since(steps[0].what.expected), TEN_YEARS);
    assert_eq!(steps[1].what.expected.since(steps[1].what.found), TEN_YEARS);
    story.check();
    story.reopen();
    story.commits(10, Duration::from_secs(1));
    assert_eq!(story.worst_error(0), Duration::ZERO, "the log never took the wrong time for its own");
    story.check();
}

#[test]
fn a_clock_that_is_opened_wrong_still_keeps_commit_times_in_order() {
    let mut story = Story::begin();
    story.commits(20, Duration::from_secs(1));
    story.step(2 * HOUR, false);
    story.reopen(); // nothing remembers the steady clock of the process before
    story.commits(20, Duration::from_secs(1));
    assert_eq!(story.anomalies(), 1, "it is behind the last commit");
    story.check();
    story.right();
    story.commits(300, Duration::from_secs(1));
    assert_eq!(story.worst_error(300), Duration::ZERO, "set right, it is believed after four minutes");
    story.check();
    story.reopen();
    story.check();
}

#[test]
fn a_clock_that_was_set_right_by_hours_is_followed_after_a_while() {
    let mut story = Story::begin();
    story.step(8 * HOUR, false);
    story.reopen();
    story.commits(5, Duration::from_secs(1));
    story.right();
    story.commits(20, Duration::from_secs(60));
    assert_eq!(story.worst_error(24), Duration::ZERO);
    assert_eq!(story.anomalies(), 1);
    story.check();
}

#[test]
fn a_pause_that_only_the_wall_clock_counted_is_a_step_and_soon_believed() {
    let mut story = Story::begin();
    story.commits(20, Duration::from_secs(1));
    let gap = 3 * HOUR;
    story.step(gap, true); // the steady clock stood still
    story.began.0 = story.began.0.saturating_add(gap); // for it is really so late
    story.commits(100, Duration::from_secs(10));
    assert_eq!(story.anomalies(), 1);
    assert!(story.worst_error(20) == gap, "until it is believed");
    assert_eq!(story.worst_error(20 + 40), Duration::ZERO, "after a thirty-second part of it");
    story.check();
    story.reopen();
    story.check();
}

#[test]
fn any_walk_of_the_wall_clock_is_harmless_to_points_in_time() {
    for seed in 0..12 {
        let mut rng = Rng::new(seed + 100);
        let mut story = Story::begin();
        for _ in 0..40 {
            let by = Duration::from_millis([400, 3_000, 7_200_000, 315_360_000_000][rng.below(4) as usize]);
            match rng.below(8) {
                0 => story.step(by, true),
                1 => story.step(by, false),
                2 | 3 => story.right(),
                4 if rng.below(3) == 0 => story.reopen(),
                _ => {}
            }
            let every = Duration::from_millis(rng.below(30_000));
            story.commits(1 + rng.below(6), every);
        }
        println!("seed {}: {} anomalies", seed + 100, story.anomalies());
        story.check();
        story.reopen();
        story.check();
    }
}

#[test]
fn an_anomaly_stands_in_the_log_between_the_commits_it_parted() {
    let mut story = Story::begin();
    story.commits(3, Duration::from_secs(1));
    story.step(HOUR, true);
    story.commits(3, Duration::from_secs(1));
    let kinds: Vec<_> = story
        .log()
        .replay(Lsn::ZERO)
        .map(|entry| match entry.unwrap() {
            LogEntry::Commit(commit) => commit.sequence.get(),
            LogEntry::Marker(marker) if matches!(marker.kind, MarkerKind::ClockAnomaly(_)) => 0,
            LogEntry::Marker(_) => 99,
        })
        .collect();
    assert_eq!(kinds, [1, 2, 3, 4, 0, 5, 6], "in the frame of the first commit after the step");
}
