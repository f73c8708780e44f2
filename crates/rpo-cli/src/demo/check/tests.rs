//! The judges must find what is planted: a promise broken by one transfer, one number, one millisecond.

use std::time::Duration;

use rpo::core::{HumanDuration, Timestamp};

use super::*;
use crate::demo::journal::{Opened, Tag};

/// 100 transfers, one each millisecond: every tenth protected, told 2 ms after its commit, killed at 105 ms.
fn journal() -> Journal {
    let ack = |seq: u64| Ack {
        transfer: booked(seq),
        seq,
        time: ms(seq),
        level: if seq.is_multiple_of(10) && seq <= 60 { PROTECTED } else { "durable" }.to_owned(),
        told: ms(seq + 2),
    };
    let tags = vec![Tag { name: "noon".to_owned(), seq: 40 }];
    Journal { acks: (1..=100).map(ack).collect(), tags, ..Journal::default() }
}

const KILLED_MS: u64 = 105;

fn ms(ms: u64) -> Timestamp {
    Timestamp::from_micros(i64::try_from(ms * 1_000).unwrap())
}

fn booked(id: u64) -> Booked {
    Booked { id, from: id as usize % 7, to: 50 + id as usize % 9, amount: 1 + id as i64 }
}

/// The bank after its first `count` transfers.
fn restored(count: u64) -> Restored {
    let mut balances = vec![OPENING; ACCOUNTS];
    let journal: BTreeMap<_, _> = (1..=count).map(|id| (id, booked(id))).collect();
    for Booked { from, to, amount, .. } in journal.values() {
        balances[*from] -= amount;
        balances[*to] += amount;
    }
    Restored { bank: Books { balances, journal }, position: Stand { sequence: count } }
}

/// A report that is exactly right if the copy ends after commit 70: taken at 90 ms, when commit 89 had not been told.
fn report(window: Window, commits_at_risk: Option<u64>) -> Said {
    Said { taken_at: ms(90), window, commits_at_risk, declared: true }
}

fn age(ms: u64) -> Window {
    Window::Age(HumanDuration::from_millis(ms))
}

fn failed(checks: &[Check]) -> Vec<&str> {
    checks.iter().filter(|check| !check.passed).map(|check| check.name.as_str()).collect()
}

fn judged(until: Until, count: u64) -> Vec<Check> {
    judge_restore("r", until, &journal(), &restored(count))
}

#[test]
fn right_restores_pass() {
    for (until, count) in
        [(Until::Latest, 70), (Until::Latest, 60), (Until::Time(ms(40)), 40), (Until::Sequence(55), 55)]
    {
        let checks = judged(until, count);
        assert!(failed(&checks).is_empty(), "{until:?}: {checks:?}");
        assert_eq!(checks.len(), if until == Until::Latest { 3 } else { 4 });
    }
}

#[test]
fn a_protected_transfer_that_is_missing_fails() {
    let checks = judged(Until::Latest, 59); // the copy ended one commit before what was promised
    assert_eq!(failed(&checks), ["r: everything protected(region) is there"]);
    assert!(checks[0].detail.contains("transfer 60"), "{}", checks[0].detail);

    let mut hole = restored(70);
    hole.bank.journal.remove(&30);
    let checks = judge_restore("r", Until::Latest, &journal(), &hole);
    assert_eq!(failed(&checks).len(), 3, "promise, prefix and money are broken: {checks:?}");
}

#[test]
fn a_durable_transfer_missing_before_the_target_fails() {
    let mut hole = restored(55);
    hole.bank.journal.remove(&33);
    assert!(
        failed(&judge_restore("r", Until::Sequence(55), &journal(), &hole))
            .contains(&"r: exactly the first n transfers, each as acknowledged")
    );
    assert_eq!(
        failed(&judged(Until::Time(ms(45)), 44)),
        ["r: exactly the first n transfers, each as acknowledged"]
    );
}

#[test]
fn one_transfer_past_the_target_fails() {
    assert_eq!(failed(&judged(Until::Time(ms(45)), 46)), ["r: nothing later is there"]);
    let past = failed(&judged(Until::Sequence(55), 56)).join(", ");
    assert_eq!(past, "r: nothing later is there, r: exactly the first n transfers, each as acknowledged");
}

#[test]
fn a_position_that_is_not_the_contents_fails() {
    let mut wrong = restored(55);
    wrong.position.sequence = 56;
    assert_eq!(failed(&judge_restore("r", Until::Sequence(55), &journal(), &wrong)).len(), 1);
}

#[test]
fn a_changed_transfer_fails() {
    let mut other = restored(70);
    other.bank.journal.get_mut(&20).unwrap().to = 99;
    let checks = judge_restore("r", Until::Latest, &journal(), &other);
    assert_eq!(
        failed(&checks),
        ["r: exactly the first n transfers, each as acknowledged", "r: money is conserved"]
    );
}

#[test]
fn money_made_or_moved_fails() {
    let mut made = restored(70);
    made.bank.balances[3] += 1;
    assert_eq!(failed(&judge_restore("r", Until::Latest, &journal(), &made)), ["r: money is conserved"]);

    let mut moved = restored(70);
    moved.bank.balances[3] += 1;
    moved.bank.balances[4] -= 1;
    assert_eq!(failed(&judge_restore("r", Until::Latest, &journal(), &moved)), ["r: money is conserved"]);
}

#[test]
fn what_nothing_could_have_failed_proves_nothing() {
    let nothing_later = judged(Until::Sequence(100), 100);
    assert_eq!(failed(&nothing_later), ["r: nothing later is there"]);

    let mut unprotected = journal();
    unprotected.acks.iter_mut().for_each(|ack| ack.level = "durable".to_owned());
    let checks = judge_restore("r", Until::Latest, &unprotected, &restored(70));
    assert_eq!(failed(&checks), ["r: everything protected(region) is there"]);
}

/// The copy ends after commit 70, so 71 to 100 are lost; the oldest was told at 73 ms, 32 ms before the kill.
fn loss(reports: Vec<Said>) -> (Vec<Check>, Option<Loss>) {
    judge_loss(1, &Journal { reports, ..journal() }, &restored(70), ms(KILLED_MS))
}

#[test]
fn a_report_that_is_exactly_right_passes() {
    let (checks, loss) = loss(vec![report(age(17), Some(17))]); // 17 + 15 = 32 ms; 17 + 13 told since = 30
    assert!(failed(&checks).is_empty(), "{checks:?}");
    let loss = loss.unwrap();
    assert_eq!((loss.lost, loss.acknowledged_since, loss.commits_at_risk), (30, 13, Some(17)));
    assert!(
        (loss.lost_seconds - 0.032).abs() < 1e-9 && (loss.report_age_seconds - 0.015).abs() < 1e-9,
        "{loss:?}"
    );
}

#[test]
fn a_report_that_understates_the_time_by_one_millisecond_fails() {
    for window in [age(16), Window::None, Window::Unknown { bound: Some(HumanDuration::from_millis(16)) }] {
        let (checks, _) = loss(vec![report(window, Some(17))]);
        assert_eq!(failed(&checks), ["kill 1: no report said less time than was lost"], "{window:?}");
    }
}

#[test]
fn a_report_that_understates_the_commits_by_one_fails() {
    for at_risk in [Some(16), None] {
        let (checks, _) = loss(vec![report(age(17), at_risk)]);
        assert_eq!(failed(&checks), ["kill 1: no report said fewer transfers than were lost"]);
    }
}

#[test]
fn a_wrong_report_is_found_behind_right_ones() {
    let mut early = report(Window::None, Some(0)); // right: what was lost was told later
    early.taken_at = ms(73);
    assert!(failed(&loss(vec![early.clone(), report(age(17), Some(17))]).0).is_empty());

    let wrong = report(age(3), Some(17));
    let (checks, _) = loss(vec![early, wrong, report(age(17), Some(17))]);
    assert_eq!(failed(&checks), ["kill 1: no report said less time than was lost"]);
}

#[test]
fn saying_nothing_is_no_proof() {
    let silent = report(Window::Unknown { bound: None }, Some(17));
    assert_eq!(failed(&loss(vec![silent.clone()]).0), ["kill 1: no report said less time than was lost"]);
    assert!(failed(&loss(vec![silent, report(age(17), Some(17))]).0).is_empty(), "early silence is honest");

    let (checks, loss) = loss(Vec::new());
    assert_eq!((failed(&checks).len(), loss), (2, None));
}

#[test]
fn reports_from_after_the_kill_do_not_count() {
    let mut late = report(age(500), Some(500));
    late.taken_at = ms(KILLED_MS + 1);
    assert_eq!(failed(&loss(vec![late]).0).len(), 2);
}

#[test]
fn a_successor_begins_with_what_was_promised_as_a_newer_writer() {
    let succession = |epoch, sequence, first| {
        let opened = Some(Opened { epoch, position: Stand { sequence } });
        let mut journal = Journal { opened, ..journal() };
        journal.acks.retain(|ack| ack.seq >= first);
        judge_succession(&journal, 60)
    };
    assert!(succession(2, 60, 61).is_ok());
    assert!(succession(2, 59, 60).is_err(), "a promise is missing");
    assert!(succession(1, 60, 61).is_err(), "the dead writer is not fenced");
    assert!(succession(2, 60, 62).is_err(), "a gap");
    assert!(succession(2, 60, 101).is_err(), "nothing was booked");
}

#[test]
fn a_report_is_heard_as_the_library_prints_it() {
    let loss = rpo::core::window::LossReport {
        domain: rpo::core::objective::Domain::Region,
        window: rpo::core::window::Window::Age(HumanDuration::from_millis(17)),
        commits_at_risk: Some(17),
        bytes_at_risk: Some(1_000),
        taken_at: ms(90),
        evidence_age: None,
    };
    let mut region = serde_json::to_value(&loss).unwrap();
    region["declared"] = true.into(); // the library's report flattens the loss into itself
    let mut journal = Journal::default();
    journal.hear(&serde_json::json!({ "report": { "region": region } }).to_string(), ms(91));

    assert_eq!(journal.reports, [report(age(17), Some(17))], "{:?}", journal.strange);
}

#[test]
fn a_line_that_the_kill_cut_off_told_nobody_anything() {
    let mut journal = Journal::default();
    let line = r#"{"ack":{"id":7,"from":1,"to":2,"amount":3,"seq":7,"lsn":9,"time":"1970-01-01T00:00:00.005Z","level":"durable","told":"1970-01-01T00:00:00.009Z"}}"#;
    journal.hear(line, ms(8));
    journal.hear(&line[..60], ms(8));

    assert_eq!(journal.acks.len(), 1);
    assert_eq!(journal.acks[0].told, ms(8), "heard earlier than told: what was heard counts");
    assert_eq!(journal.strange.len(), 1);
}

#[test]
fn the_time_since_a_report_is_counted_and_never_negative() {
    assert!(enough_time(&report(age(17), None), ms(105), Duration::from_millis(32)).is_ok());
    assert!(enough_time(&report(age(17), None), ms(80), Duration::from_millis(18)).is_err());
}
