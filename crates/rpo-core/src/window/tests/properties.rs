//! The arithmetic against the naive model, and proof that the properties notice planted bugs.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};

use super::model::{TrueCopy, TrueHistories, TrueStream, longest_protected};
use super::*;
use crate::CopyName;

/// One thing that happens to a stream and its meter.
#[derive(Debug, Clone)]
enum Step {
    /// Time passes, microseconds.
    Wait(u32),
    /// Commits, each so many bytes, at one moment.
    Commit(u8),
    /// A marker of so many bytes.
    Marker(u8),
    /// Everything up to this share (per 255) of the head is protected everywhere.
    Release(u8),
    /// The wall clock steps, microseconds.
    SetClock(i32),
    /// The meter writes itself down.
    Save,
    /// The program ends and begins again after so many microseconds; the wall clock may have moved meanwhile.
    Restart { down: u32, step: i32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u32..3_000_000).prop_map(Step::Wait),
        8 => (1u8..).prop_map(Step::Commit),
        2 => (1u8..).prop_map(Step::Marker),
        1 => any::<u8>().prop_map(Step::Release),
        1 => (-5_000_000i32..5_000_000).prop_map(Step::SetClock),
        1 => Just(Step::Save),
        1 => (0u32..10_000_000, -20_000_000i32..5_000_000)
            .prop_map(|(down, step)| Step::Restart { down, step }),
    ]
}

/// The meter beside the truth.
struct Scene {
    truth: TrueStream,
    timeline: CommitTimeline,
    /// What was written down, and how far the wall clock was off then.
    saved: Option<(SavedTimeline, i64)>,
    capacity: usize,
    /// True time at which the steady clock of this boot began.
    boot: i64,
    /// How far the wall clock is off the truth.
    wall_off: i64,
    /// By how much ages may be too small: what the wall clock was set back unseen while the program was down.
    slack: i64,
    released: u64,
    exact: bool,
    undated: bool,
}

impl Scene {
    fn new(capacity: usize) -> Self {
        let timeline = CommitTimeline::new(Position::START, capacity);
        let truth = TrueStream { now: 1_000_000_000, ..TrueStream::default() };
        let (boot, released) = (truth.now - 7, 0);
        Self {
            truth,
            timeline,
            saved: None,
            capacity,
            boot,
            wall_off: 0,
            slack: 0,
            released,
            exact: true,
            undated: false,
        }
    }

    fn now(&self) -> Moment {
        let steady = Duration::from_micros(u64::try_from(self.truth.now - self.boot).unwrap());
        Moment::new(Timestamp::from_micros(self.truth.now + self.wall_off), Monotonic::new(steady))
    }

    fn position(&self, lsn: u64) -> Position {
        position(lsn, self.truth.count_upto(lsn))
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Wait(micros) => self.truth.now += i64::from(*micros),
            Step::Commit(bytes) => {
                self.truth.commit(u64::from(*bytes));
                self.timeline.record(self.position(self.truth.head), self.now());
            }
            Step::Marker(bytes) => {
                self.truth.head += u64::from(*bytes);
                self.timeline.advance(self.position(self.truth.head));
            }
            Step::Release(share) => {
                let upto = self.truth.head * u64::from(*share) / 255;
                self.released = self.released.max(upto);
                self.timeline.release(self.position(upto));
            }
            Step::SetClock(micros) => self.wall_off += i64::from(*micros),
            Step::Save => self.saved = Some((self.timeline.save(self.now()), self.wall_off)),
            Step::Restart { down, step } => self.restart(i64::from(*down), i64::from(*step)),
        }
    }

    fn restart(&mut self, down: i64, step: i64) {
        let at_exit = || (self.timeline.save(self.now()), self.wall_off);
        let (saved, off_then) = self.saved.clone().unwrap_or_else(at_exit);
        self.truth.now += down;
        self.wall_off += step;
        self.slack += (off_then - self.wall_off).max(0);
        self.boot = self.truth.now - 3;
        let head = self.position(self.truth.head);
        self.timeline = CommitTimeline::restore(&saved, head, self.now(), self.capacity);
        self.exact = false;
        self.undated = true;
    }

    /// Asks about every share of the head.
    fn check(&self) -> Result<(), TestCaseError> {
        for eighth in 0..=8 {
            let lsn = self.truth.head * eighth / 8;
            let now = self.now();
            let protected = Protected { upto: self.position(lsn), proven_at: Some(now), by: Vec::new() };
            let report = report(&self.timeline, Some(protected), now);
            let waiting = self.truth.first_past(lsn).map(|time| self.truth.now - time);
            let Some(waiting) = waiting else {
                prop_assert_eq!(report.window, Window::None, "nothing waits past {}", lsn);
                continue;
            };
            match report.window {
                Window::None => {
                    prop_assert!(false, "a commit past {lsn} has waited {waiting} us: a false zero")
                }
                Window::Unknown { .. } => prop_assert!(self.undated, "past {lsn}: nothing made it unknown"),
                Window::Age(age) => {
                    let age = i64::try_from(age.get().as_micros()).unwrap();
                    prop_assert!(
                        age + self.slack >= waiting,
                        "past {lsn}: {age} us is less than {waiting} us"
                    );
                    let resolution = i64::try_from(self.timeline.resolution().as_micros()).unwrap() + 1;
                    let close = !self.exact || lsn < self.released || age <= waiting + resolution;
                    prop_assert!(close, "past {lsn}: {age} us is far more than {waiting} us");
                }
            }
            prop_assert_eq!(
                report.commits_at_risk,
                Some(self.truth.commits.len() as u64 - self.truth.count_upto(lsn))
            );
        }
        Ok(())
    }
}

fn the_meter_never_says_less_than_the_truth(steps: &[Step], capacity: usize) -> Result<(), TestCaseError> {
    let mut scene = Scene::new(capacity);
    for step in steps {
        scene.take(step);
        scene.check()?;
    }
    let honest =
        steps.iter().all(|step| !matches!(step, Step::SetClock(..0) | Step::Restart { step: ..0, .. }));
    prop_assert!(!honest || scene.slack == 0, "no allowance is made for an honest clock");
    prop_assert!(scene.timeline.save(scene.now()).runs() <= capacity.max(4));
    Ok(())
}

/// The same with a wall clock that is never set back: then no age may be too small by anything.
fn honest(steps: Vec<Step>) -> Vec<Step> {
    let mend = |step| match step {
        Step::Restart { down, .. } => Step::Restart { down, step: 0 },
        Step::SetClock(micros) => Step::SetClock(micros.saturating_abs()),
        other => other,
    };
    steps.into_iter().map(mend).collect()
}

type Forks = Vec<(usize, usize, usize)>;

/// Copies as raw numbers: whether it survives, bases and runs, to be taken modulo what exists.
type RawCopy = (bool, Vec<(usize, usize)>, Vec<(usize, usize, usize)>);

fn raw_copy() -> impl Strategy<Value = RawCopy> {
    let bases = proptest::collection::vec((any::<usize>(), any::<usize>()), 0..3);
    let runs = proptest::collection::vec((any::<usize>(), any::<usize>(), any::<usize>()), 0..5);
    (any::<bool>(), bases, runs)
}

fn protection_is_what_can_be_restored(
    length: usize,
    forks: &Forks,
    copies: &[RawCopy],
    k: usize,
) -> Result<(), TestCaseError> {
    let (histories, fork_points) = TrueHistories::grow(length, forks);
    let fit = |copy: &RawCopy| {
        let epochs = histories.bytes.len();
        let inside = |epoch: usize, at: usize| at % (histories.bytes[epoch % epochs].len() + 1);
        let base = |(epoch, at): &(usize, usize)| (epoch % epochs, inside(*epoch, *at));
        let run = |(epoch, a, b): &(usize, usize, usize)| {
            let (a, b) = (inside(*epoch, *a), inside(*epoch, *b));
            (epoch % epochs, a.min(b), a.max(b))
        };
        TrueCopy {
            survives: copy.0,
            bases: copy.1.iter().map(base).collect(),
            runs: copy.2.iter().map(run).collect(),
        }
    };
    let copies: Vec<TrueCopy> = copies.iter().map(fit).collect();
    let place = |epoch: usize, at: usize| in_epoch(u32::try_from(epoch).unwrap() + 1, at as u64);
    let first = EpochStart { epoch: Epoch::FIRST, fork: None };
    let later = fork_points.iter().enumerate().map(|(n, (parent, fork))| EpochStart {
        epoch: place(n + 1, 0).epoch,
        fork: Some(place(*parent, *fork)),
    });
    let history = History::new(std::iter::once(first).chain(later)).unwrap();
    let told: Vec<CopyState> = copies
        .iter()
        .map(|copy| CopyState {
            name: CopyName::new("copy").unwrap(),
            survives: if copy.survives { vec![Domain::Machine] } else { vec![Domain::Process] },
            bases: copy.bases.iter().map(|(epoch, at)| place(*epoch, *at)).collect(),
            log: copy
                .runs
                .iter()
                .map(|(e, from, to)| LogRun { from: Lsn::new(*from as u64), to: place(*e, *to) })
                .collect(),
            proven_at: None,
        })
        .collect();

    let found = protected_position(&told, k, Domain::Machine, &history).map(|p| p.upto.lsn.get() as usize);

    prop_assert_eq!(found, longest_protected(&copies, k, &histories), "{:?} {:?}", copies, fork_points);
    Ok(())
}

fn forks() -> impl Strategy<Value = Forks> {
    proptest::collection::vec((any::<usize>(), any::<usize>(), 0usize..12), 0..4)
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn a_meter_on_an_honest_clock_never_says_less_than_the_truth(
        steps in proptest::collection::vec(step(), 1..60), capacity in 4usize..12,
    ) {
        the_meter_never_says_less_than_the_truth(&honest(steps), capacity)?;
    }

    #[test]
    fn a_meter_on_a_faulty_clock_never_says_zero_for_a_commit_that_waits(
        steps in proptest::collection::vec(step(), 1..60), capacity in 4usize..12,
    ) {
        the_meter_never_says_less_than_the_truth(&steps, capacity)?;
    }

    #[test]
    fn what_counts_as_protected_is_what_can_be_restored(
        length in 0usize..20, forks in forks(), copies in proptest::collection::vec(raw_copy(), 0..4), k in 1usize..4,
    ) {
        protection_is_what_can_be_restored(length, &forks, &copies, k)?;
    }
}

/// The negative control: each planted bug is noticed by a property.
#[cfg(feature = "planted-bugs")]
#[test]
fn each_planted_bug_is_noticed() {
    use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

    use crate::window::planted::{PlantedBug, with};

    let runner = || TestRunner::new_with_rng(config(400), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let meter = || {
        let input = (proptest::collection::vec(step(), 1..60), 4usize..12);
        runner().run(&input, |(steps, capacity)| {
            the_meter_never_says_less_than_the_truth(&honest(steps), capacity)
        })
    };
    let copies = || {
        let input = (0usize..20, forks(), proptest::collection::vec(raw_copy(), 0..4), 1usize..4);
        runner().run(&input, |(length, forks, copies, k)| {
            protection_is_what_can_be_restored(length, &forks, &copies, k)
        })
    };

    assert!(meter().is_ok() && copies().is_ok(), "without a bug all is well");
    for bug in PlantedBug::ALL {
        let noticed = with(*bug, || meter().is_err() || copies().is_err());
        assert!(noticed, "{bug:?} went unnoticed");
    }
}
