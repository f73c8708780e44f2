use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::executor::block_on;
use rpo_checkpoint::{Cancel, NoProgress, Progress};
use rpo_core::ports::{Entry, EntryPath, RestoreError, RestoreReport, Restorer, Validation};
use rpo_core::target::{Bound, RestorePoint, Target};
use rpo_core::{
    CheckpointId, Commit, Epoch, LogEntry, Lsn, Marker, MarkerKind, Position, Record, Sequence, Timestamp,
    TransactionId,
};

use crate::{
    Base, Bases, Catalogue, Entries, History, Located, PlanOptions, Range, RecoveryError, execute, locate,
};

/// A log of ten commits, one per second, 100 bytes each; a name after the fourth; ranges of three entries.
struct Site {
    ranges: Vec<Range>,
    numbers: Vec<u64>,
    entries: BTreeMap<u64, Vec<LogEntry>>,
}

fn second(n: i64) -> Timestamp {
    Timestamp::from_micros(n * 1_000_000)
}

fn at(lsn: u64, commits: u64) -> Position {
    Position { epoch: Epoch::FIRST, lsn: Lsn::new(lsn), sequence: Some(Sequence::new(commits)) }
}

fn commit_at(epoch: Epoch, lsn: u64, n: u64, time: i64) -> LogEntry {
    LogEntry::Commit(Commit {
        epoch,
        lsn: Lsn::new(lsn),
        end: Lsn::new(lsn + 100),
        sequence: Sequence::new(n),
        time: second(time),
        transaction: Some(TransactionId(1_000 + n)),
        context: None,
        records: vec![Record { lsn: Lsn::new(lsn), payload: Bytes::from(vec![n as u8]) }],
    })
}

impl Site {
    fn new() -> Self {
        let mut entries = Vec::new();
        let mut lsn = 0;
        for n in 1..=10u64 {
            entries.push(commit_at(Epoch::FIRST, lsn, n, n as i64));
            lsn += 100;
            if n == 4 {
                entries.push(LogEntry::Marker(Marker {
                    epoch: Epoch::FIRST,
                    lsn: Lsn::new(lsn),
                    end: Lsn::new(lsn + 20),
                    sequence: Sequence::new(4),
                    time: second(4),
                    kind: MarkerKind::RestorePoint("fourth".parse().unwrap()),
                }));
                lsn += 20;
            }
        }
        let mut site = Site { ranges: Vec::new(), numbers: Vec::new(), entries: BTreeMap::new() };
        let mut from = at(0, 0);
        for (number, chunk) in entries.chunks(3).enumerate() {
            let number = number as u64 + 1;
            let (first, last) = (&chunk[0], &chunk[chunk.len() - 1]);
            let to = last.position();
            let (first_time, last_time) = (first.time(), last.time());
            site.ranges.push(Range { epoch: Epoch::FIRST, from, to, first_time, last_time });
            site.numbers.push(number);
            site.entries.insert(number, chunk.to_vec());
            from = to;
        }
        site
    }

    /// Without the range of that number.
    fn without(mut self, number: u64) -> Self {
        let place = self.numbers.iter().position(|found| *found == number).unwrap();
        self.ranges.remove(place);
        self.numbers.remove(place);
        self
    }

    fn catalogue(&self, bases: Vec<Base>) -> Catalogue {
        Catalogue::new(bases, self.ranges.clone())
    }

    fn reach(&self, bases: Vec<Base>, target: &str, bound: Bound) -> Result<crate::Plan, RecoveryError> {
        let catalogue = self.catalogue(bases);
        let target: Target = target.parse().unwrap();
        let located = block_on(locate(&catalogue, self, &target, bound))?;
        Ok(catalogue.plan(&target.to_string(), &located, PlanOptions::default())?)
    }
}

#[async_trait::async_trait]
impl History for Site {
    fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    async fn entries(&self, from: Lsn, to: Lsn) -> Result<Entries<'_>, RecoveryError> {
        let kept = self.numbers.iter().flat_map(|number| self.entries[number].clone());
        let within = kept.filter(move |entry| entry.lsn() >= from && entry.position().lsn <= to);
        Ok(Box::pin(futures::stream::iter(within.map(Ok))))
    }
}

/// A checkpoint of the state after `commits` commits; its content is that number.
fn base(number: u64, commits: u64) -> Base {
    let lsn = commits * 100 + if commits > 4 { 20 } else { 0 };
    Base {
        id: CheckpointId { source: "bank".parse().unwrap(), number },
        state: number,
        started: second(commits as i64),
        finished: second(commits as i64),
        position: Some(at(lsn, commits)),
        bytes: 1,
        entries: 1,
        left_out: 0,
        names: Vec::new(),
    }
}

struct Store;

#[async_trait::async_trait]
impl Bases for Store {
    async fn restore(
        &self,
        _id: &CheckpointId,
        _into: Arc<dyn Restorer>,
        _skip_damaged: bool,
        _progress: &dyn Progress,
        _cancel: &Cancel,
    ) -> Result<Vec<rpo_checkpoint::LeftOut>, RecoveryError> {
        Ok(Vec::new())
    }

    async fn kind(&self, _id: &CheckpointId) -> Result<String, RecoveryError> {
        Ok("counter".to_owned())
    }
}

/// Collects the numbers of the commits it is given.
#[derive(Debug, Default)]
struct Collector(Mutex<Collected>, bool);

/// Position, numbers so far, numbers in place.
type Collected = (Option<Position>, Vec<u64>, Option<Vec<u64>>);

impl Restorer for Collector {
    fn kind(&self) -> &str {
        "counter"
    }
    fn entry(&self, _: &Entry) -> Result<(), RestoreError> {
        Ok(())
    }
    fn extent(&self, _: &EntryPath, _: u64, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
    fn close(&self, _: &EntryPath) -> Result<(), RestoreError> {
        Ok(())
    }
    fn finish_base(&self, position: Option<Position>) -> Result<(), RestoreError> {
        let mut inner = self.0.lock().unwrap();
        inner.0 = Some(position.unwrap_or(Position::START));
        inner.1 = (1..=position.and_then(|p| p.sequence).map_or(0, Sequence::get)).collect();
        Ok(())
    }
    fn apply(&self, commit: &Commit) -> Result<(), RestoreError> {
        let mut inner = self.0.lock().unwrap();
        inner.0 = Some(commit.position());
        inner.1.push(commit.sequence.get());
        Ok(())
    }
    fn position(&self) -> Option<Position> {
        self.0.lock().unwrap().0
    }
    fn validate(&self) -> Result<Validation, RestoreError> {
        Ok(Validation { checks: vec![("holds".to_owned(), self.1.then(|| "does not".to_owned()))] })
    }
    fn publish(&self) -> Result<RestoreReport, RestoreError> {
        let mut inner = self.0.lock().unwrap();
        inner.2 = Some(inner.1.clone());
        Ok(RestoreReport { commits: inner.1.len() as u64, ..RestoreReport::default() })
    }
    fn abandon(&self) -> Result<(), RestoreError> {
        self.0.lock().unwrap().1.clear();
        Ok(())
    }
}

#[test]
fn every_form_of_target_reaches_exactly_its_commits() {
    let site = Site::new();
    let cases: &[(&str, Bound, u64)] = &[
        ("latest", Bound::Inclusive, 10),
        ("seq:0", Bound::Inclusive, 0),
        ("seq:7", Bound::Inclusive, 7),
        ("seq:7", Bound::Exclusive, 6),
        ("txn:1005", Bound::Inclusive, 5),
        ("txn:1005", Bound::Exclusive, 4),
        ("tag:fourth", Bound::Inclusive, 4),
        ("time:1970-01-01T00:00:05Z", Bound::Inclusive, 5),
        ("time:1970-01-01T00:00:05Z", Bound::Exclusive, 4),
        ("time:1970-01-01T00:00:05.5Z", Bound::Inclusive, 5),
        ("lsn:300", Bound::Inclusive, 3),
        ("lsn:300", Bound::Exclusive, 2),
        ("lsn:399", Bound::Inclusive, 3),
    ];
    for bases in
        [vec![], vec![base(1, 0)], vec![base(1, 0), base(2, 4)], vec![base(1, 2), base(2, 6), base(3, 9)]]
    {
        for (target, bound, commits) in cases {
            let oldest = bases.first().and_then(|b| b.position?.sequence).map_or(0, Sequence::get);
            let plan = match site.reach(bases.clone(), target, *bound) {
                Ok(plan) => plan,
                Err(error) => {
                    assert!(
                        *commits < oldest && site.ranges[0].from.lsn > Lsn::ZERO,
                        "{target} {bound}: {error}"
                    );
                    continue;
                }
            };
            let restorer = Arc::new(Collector::default());
            block_on(execute(&plan, &Store, &site, restorer.clone(), &NoProgress, &Cancel::new())).unwrap();
            let got = restorer.0.lock().unwrap().2.clone().unwrap();
            assert_eq!(got, (1..=*commits).collect::<Vec<_>>(), "{target} {bound}");
            let newest_base = plan.base.and_then(|b| b.position?.sequence).map_or(0, Sequence::get);
            assert!(newest_base <= *commits, "{target}: never a base past the target");
        }
    }
}

#[test]
fn a_target_past_the_end_is_refused_with_the_newest_point() {
    let site = Site::new();
    for target in
        ["seq:11", "time:1970-01-01T00:00:11Z", "lsn:5000", "txn:9", "tag:nothing", "checkpoint:bank@9"]
    {
        let Err(RecoveryError::Refused(refusal)) = site.reach(vec![base(1, 4)], target, Bound::Inclusive)
        else {
            panic!("{target} was not refused");
        };
        let nearest = refusal.nearest_before.expect(target);
        assert_eq!(nearest.position.unwrap().sequence, Some(Sequence::new(10)), "{target}");
    }
}

#[test]
fn a_target_inside_a_gap_is_refused_with_both_edges() {
    // Commits 6 to 8 (range 3) are gone; a checkpoint of commit 8 lets the log go on after the gap.
    let site = Site::new().without(3);
    let bases = vec![base(1, 8)];

    let Err(RecoveryError::Refused(refusal)) =
        site.reach(bases.clone(), "time:1970-01-01T00:00:06.5Z", Bound::Inclusive)
    else {
        panic!("a state inside the gap was promised");
    };

    assert_eq!(refusal.nearest_before.unwrap().position.unwrap().sequence, Some(Sequence::new(5)));
    assert_eq!(refusal.nearest_after.unwrap().position.unwrap().sequence, Some(Sequence::new(8)));
    let plan = site.reach(bases, "latest", Bound::Inclusive).unwrap();
    assert_eq!(plan.base.unwrap().id.number, 1, "after the gap only the checkpoint leads on");
}

#[test]
fn a_log_whose_beginning_is_gone_needs_a_checkpoint() {
    let site = Site::new().without(1);

    let refused = site.reach(Vec::new(), "latest", Bound::Inclusive);
    let reached = site.reach(vec![base(1, 4)], "latest", Bound::Inclusive).unwrap();

    assert!(matches!(refused, Err(RecoveryError::Refused(_))));
    assert_eq!(reached.base.unwrap().id.number, 1);
}

#[test]
fn without_replay_the_newest_checkpoint_before_the_target_is_the_plan() {
    let site = Site::new();
    let catalogue = site.catalogue(vec![base(1, 2), base(2, 6)]);
    let target = Located::Boundary(RestorePoint::at(second(5), Some(at(520, 5))));

    let plan =
        catalogue.plan("seq:5", &target, PlanOptions { replay: false, ..PlanOptions::default() }).unwrap();

    assert_eq!(plan.reached.checkpoint.unwrap().number, 1);
    assert!(plan.replay.is_none() && !plan.notes.is_empty());
}

#[test]
fn a_restore_that_stops_short_puts_nothing_in_place() {
    let site = Site::new();
    let mut plan = site.reach(Vec::new(), "latest", Bound::Inclusive).unwrap();
    let mut poorer = Site::new();
    poorer = poorer.without(4); // lost between plan and restore
    let restorer = Arc::new(Collector::default());

    let result = block_on(execute(&plan, &Store, &poorer, restorer.clone(), &NoProgress, &Cancel::new()));

    assert!(matches!(result, Err(RecoveryError::Short { .. })), "{result:?}");
    assert!(restorer.0.lock().unwrap().2.is_none());

    // And one in the middle.
    let holed = Site::new().without(2);
    plan.replay.as_mut().unwrap().ranges = 3;
    let result = block_on(execute(&plan, &Store, &holed, restorer.clone(), &NoProgress, &Cancel::new()));
    assert!(matches!(result, Err(RecoveryError::Short { .. })), "{result:?}");
}

#[test]
fn a_state_that_breaks_its_own_rules_is_not_put_in_place() {
    let site = Site::new();
    let plan = site.reach(Vec::new(), "latest", Bound::Inclusive).unwrap();
    let restorer = Arc::new(Collector(Mutex::default(), true));

    let result = block_on(execute(&plan, &Store, &site, restorer.clone(), &NoProgress, &Cancel::new()));

    assert!(matches!(result, Err(RecoveryError::NotValid(_))), "{result:?}");
    assert!(restorer.0.lock().unwrap().2.is_none());
}

#[test]
fn a_cancelled_restore_puts_nothing_in_place() {
    let site = Site::new();
    let plan = site.reach(Vec::new(), "latest", Bound::Inclusive).unwrap();
    let restorer = Arc::new(Collector::default());
    let cancel = Cancel::new();
    cancel.cancel();

    let result = block_on(execute(&plan, &Store, &site, restorer.clone(), &NoProgress, &cancel));

    assert!(matches!(result, Err(RecoveryError::Cancelled)), "{result:?}");
    assert!(restorer.0.lock().unwrap().2.is_none());
}

#[test]
fn a_thing_without_a_log_is_restored_from_the_newest_checkpoint_complete_by_then() {
    let without_log =
        |number, finished| Base { position: None, finished: second(finished), ..base(number, 0) };
    let site = Site { ranges: Vec::new(), numbers: Vec::new(), entries: BTreeMap::new() };
    let bases = vec![without_log(1, 10), without_log(2, 20)];

    let plan = site.reach(bases.clone(), "time:1970-01-01T00:00:15Z", Bound::Inclusive).unwrap();
    assert_eq!(plan.reached.checkpoint.unwrap().number, 1);

    let Err(RecoveryError::Refused(refusal)) =
        site.reach(bases, "time:1970-01-01T00:00:05Z", Bound::Inclusive)
    else {
        panic!("nothing was complete by then");
    };
    assert_eq!(refusal.nearest_after.unwrap().checkpoint.unwrap().number, 1);
}

#[test]
fn a_plan_from_a_partial_checkpoint_warns_with_what_it_lacks() {
    let lost = |path: &str| rpo_checkpoint::Lost { path: path.to_owned(), reason: "locked".to_owned() };
    let site = Site { ranges: Vec::new(), numbers: Vec::new(), entries: BTreeMap::new() };
    let partial = Base { position: None, left_out: 3, ..base(1, 0) };

    let mut plan = site.reach(vec![partial], "latest", Bound::Inclusive).unwrap();
    plan.left_out = vec![lost("a"), lost("b")];

    let said = "warning   this checkpoint left out 3 entries that could not be read then: a (locked), b (locked) and 1 more";
    assert!(plan.to_string().contains(said), "{plan}");
    assert_eq!(site.reach(vec![base(1, 0)], "checkpoint:bank@1", Bound::Inclusive).unwrap().warning(), None);
}

#[test]
fn a_time_ends_before_the_first_commit_that_is_too_late_whoever_wrote_it() {
    // A second writer, whose clock is four seconds behind, goes on after the tenth commit.
    let mut site = Site::new();
    let second_epoch = Epoch::new(2).unwrap();
    let from = Position { epoch: second_epoch, ..at(1_020, 10) };
    let place = |n: u64| Position { epoch: second_epoch, ..at(20 + n * 100, n) };
    let commits: Vec<_> =
        (11..=17u64).map(|n| commit_at(second_epoch, 20 + (n - 1) * 100, n, n as i64 - 4)).collect();
    let range =
        Range { epoch: second_epoch, from, to: place(17), first_time: second(7), last_time: second(13) };
    site.ranges.push(range);
    site.numbers.push(99);
    site.entries.insert(99, commits);
    let late = |number, commits| Base {
        position: Some(place(commits)),
        finished: second(commits as i64 - 4),
        ..base(number, 0)
    };

    for bases in [vec![], vec![base(1, 4)], vec![base(1, 4), late(2, 12)], vec![late(1, 13), late(2, 16)]] {
        // The tenth commit is of second 10; the fourteenth is the first of the second writer at second 10.
        for (time, inclusive, exclusive) in [(6, 6, 5), (9, 9, 8), (10, 14, 9), (11, 15, 14), (13, 17, 16)] {
            for (bound, commits) in [(Bound::Inclusive, inclusive), (Bound::Exclusive, exclusive)] {
                let plan = site.reach(bases.clone(), &format!("time:{}", second(time)), bound).unwrap();
                let reached = plan.reached.position.unwrap().sequence.unwrap().get();
                assert_eq!(reached, commits, "second {time} {bound}, {} bases", bases.len());
            }
        }
    }
}
