use std::time::Duration;

use async_trait::async_trait;
use futures::executor::block_on;
use proptest::prelude::*;
use rpo_core::event::EventKind;
use rpo_core::window::Moment;
use rpo_core::{
    CopyName, Domain, ErrorKind, HumanDuration, Limit, LossReport, Monotonic, SourceId, Status, Timestamp,
    Window,
};

use super::*;

fn at(seconds: u64) -> Moment {
    let wall = Timestamp::from_micros(i64::try_from(seconds).unwrap() * 1_000_000);
    Moment::new(wall, Monotonic::new(Duration::from_secs(seconds)))
}

fn orders() -> SourceId {
    SourceId::new("orders").unwrap()
}

fn secs(seconds: u64) -> HumanDuration {
    HumanDuration::from_secs(seconds)
}

fn limit(seconds: u64) -> Limit {
    Limit::new(Duration::from_secs(seconds))
}

fn loss(window: Window) -> Vec<Sample> {
    let report = LossReport {
        domain: Domain::Machine,
        window,
        commits_at_risk: None,
        bytes_at_risk: None,
        taken_at: Timestamp::EPOCH,
        evidence_age: Some(HumanDuration::ZERO),
    };
    vec![Sample::new(orders(), Observation::Loss(report))]
}

fn age(seconds: u64) -> Vec<Sample> {
    loss(Window::Age(secs(seconds)))
}

fn unknown() -> Vec<Sample> {
    loss(Window::Unknown { bound: Some(secs(500)) })
}

fn rpo(most: u64) -> Rule {
    Rule::Rpo { domain: Domain::Machine, limit: limit(most) }
}

fn watching(rule: Rule, settings: Settings) -> Alerts {
    Alerts::new(vec![Watch::new(orders(), rule)], settings).unwrap()
}

/// Takes the samples one second apart from `from` on; what was told, and how it stood then.
fn run(alerts: &mut Alerts, from: u64, samples: &[Vec<Sample>]) -> Vec<(u64, Turn, Status)> {
    let mut told = Vec::new();
    for (second, sample) in (from..).zip(samples) {
        told.extend(alerts.step(at(second), sample).into_iter().map(|n| (second, n.turn, n.status)));
    }
    told
}

#[test]
fn a_breach_is_told_at_once_and_resolved_with_peak_and_duration() {
    let mut alerts = watching(rpo(100), Settings::default());
    assert_eq!(run(&mut alerts, 0, &[age(10)]), []);
    assert_eq!(
        run(&mut alerts, 1, &[age(60), age(140), age(120)]),
        [(1, Turn::Raised, Status::Warning), (2, Turn::Worsened, Status::Breached),]
    );
    assert_eq!(alerts.firing().count(), 1);

    let calm =
        alerts.step(at(70), &age(10)).into_iter().chain(alerts.step(at(71), &age(5))).collect::<Vec<_>>();
    assert_eq!(
        calm.iter().map(|n| n.turn).collect::<Vec<_>>(),
        [Turn::Repeated],
        "two calm samples are not three"
    );
    assert!(alerts.step(at(72), &age(1)).is_empty(), "calm now, but told less than a minute ago");
    let resolved = alerts.step(at(130), &age(1)).remove(0);

    assert_eq!((resolved.turn, resolved.status), (Turn::Resolved, Status::Healthy));
    assert_eq!(resolved.incident.peak_status, Status::Breached);
    assert_eq!(resolved.incident.peak, Reading::Window(Window::Age(secs(140))));
    assert_eq!(resolved.incident.duration, secs(129));
    assert_eq!(resolved.to_string(), "orders rpo machine: resolved after 2m9s, at worst breached (2m20s)");
    assert_eq!(alerts.firing().count(), 0);
    assert!(alerts.step(at(300), &age(1)).is_empty());
}

#[test]
fn a_window_around_a_mark_does_not_flap() {
    let mut alerts = watching(rpo(100), Settings::default());
    let around: Vec<_> = (0..50).map(|n| age(if n % 2 == 0 { 51 } else { 49 })).collect();

    assert_eq!(run(&mut alerts, 0, &around), [(0, Turn::Raised, Status::Warning)]);
    assert_eq!(run(&mut alerts, 100, &[age(41), age(41), age(41), age(41)]), [], "not 10 points below");
    assert_eq!(run(&mut alerts, 200, &[age(40), age(40), age(40)]), [(202, Turn::Resolved, Status::Healthy)]);
}

#[test]
fn it_eases_only_as_far_as_the_worst_of_the_calm_samples() {
    let mut alerts = watching(rpo(100), Settings::default());
    run(&mut alerts, 0, &[age(150)]);
    assert_eq!(run(&mut alerts, 100, &[age(85), age(5), age(60)]), [(100, Turn::Repeated, Status::Breached)]);
    assert_eq!(run(&mut alerts, 200, &[age(60)]), [(200, Turn::Eased, Status::Critical)]);
}

#[test]
fn several_bad_samples_can_be_asked_for() {
    let settings = Settings { raise_after: 3, ..Settings::default() };
    let mut alerts = watching(rpo(100), settings);
    let told = run(&mut alerts, 0, &[age(150), age(150), age(1), age(150), age(60), age(150)]);
    assert_eq!(told, [(5, Turn::Raised, Status::Warning)], "the mildest of the three in a row");
}

#[test]
fn no_evidence_is_unknown_and_eases_nothing() {
    let mut alerts = watching(rpo(100), Settings::default());
    assert_eq!(run(&mut alerts, 0, &[unknown()]), [(0, Turn::Raised, Status::Unknown)]);

    let mut alerts = watching(rpo(100), Settings::default());
    run(&mut alerts, 0, &[age(150)]);
    let told = run(&mut alerts, 1, &[unknown(), unknown(), unknown(), unknown(), unknown()]);
    assert_eq!(told, [], "a breach stays one until something better is seen");
    let key = AlertKey::of(&orders(), &rpo(100));
    assert_eq!(alerts.status(&key), Some(Status::Breached));
}

#[test]
fn what_is_expected_and_not_seen_becomes_unknown() {
    let mut alerts = watching(rpo(100), Settings::default());
    assert!(alerts.step(at(0), &[]).is_empty());
    assert!(alerts.step(at(120), &[]).is_empty());
    let notice = alerts.step(at(121), &[]).remove(0);

    assert_eq!(
        (notice.turn, notice.status, notice.reading),
        (Turn::Raised, Status::Unknown, Reading::Nothing)
    );
    assert_eq!(run(&mut alerts, 200, &[age(1), age(1), age(1)]), [(200, Turn::Repeated, Status::Unknown),]);
    assert_eq!(run(&mut alerts, 300, &[age(1)]), [(300, Turn::Resolved, Status::Healthy)]);
}

#[test]
fn a_lasting_breach_is_repeated_no_more_than_once_a_minute() {
    let mut alerts = watching(rpo(100), Settings::default());
    let told = run(&mut alerts, 0, &vec![age(150); 181]);
    let seconds: Vec<u64> = told.iter().map(|(second, ..)| *second).collect();
    assert_eq!(seconds, [0, 60, 120, 180]);

    let mut alerts = watching(rpo(100), Settings::default());
    assert_eq!(run(&mut alerts, 0, &vec![age(60); 181]).len(), 1, "a warning is told once");
}

#[test]
fn where_nothing_may_be_lost_one_commit_is_told_as_a_breach() {
    let mut alerts = watching(rpo(0), Settings::default());
    assert_eq!(run(&mut alerts, 0, &[loss(Window::None)]), []);
    assert_eq!(run(&mut alerts, 1, &[age(0)]), [(1, Turn::Raised, Status::Breached)]);
    let none = || loss(Window::None);
    assert_eq!(run(&mut alerts, 100, &[none(), none(), none()]), [(100, Turn::Repeated, Status::Breached)]);
    assert_eq!(run(&mut alerts, 200, &[none()]), [(200, Turn::Resolved, Status::Healthy)]);
}

#[test]
fn an_excused_system_is_left_in_peace() {
    let mut alerts = watching(rpo(100), Settings::default());
    alerts.excuse(&orders(), Some(Status::Pending));
    assert_eq!(run(&mut alerts, 0, &vec![unknown(); 300]), []);
    assert_eq!(alerts.status(&AlertKey::of(&orders(), &rpo(100))), Some(Status::Pending));

    alerts.excuse(&orders(), None);
    assert_eq!(run(&mut alerts, 300, &[vec![], age(150)]), [(301, Turn::Raised, Status::Breached)]);
}

#[test]
fn each_kind_of_rule_judges_its_own_observations() {
    let far = CopyName::new("far").unwrap();
    let near = CopyName::new("near").unwrap();
    let lag = |copy: &CopyName, lag| Observation::CopyLag { copy: copy.clone(), lag };
    let full = |used_percent| Observation::StoreUse { copy: far.clone(), used_percent };
    let ended = |failed| Observation::JobEnded { job: "backup".to_owned(), failed };
    let lagging = Rule::CopyLag { copy: far.clone(), limit: limit(300) };
    let late = Rule::CheckpointLate { limit: limit(100) };
    let failed = Rule::JobFailed { job: "backup".to_owned() };
    let store = Rule::StoreUse { copy: far.clone(), warning_percent: 80, critical_percent: 90 };
    let skew = Rule::ClockSkew { limit: limit(2) };
    let cases = [
        (&lagging, lag(&far, Some(secs(301))), Some(Status::Breached)),
        (&lagging, lag(&far, None), Some(Status::Unknown)),
        (&lagging, lag(&near, Some(secs(301))), None),
        (&late, Observation::CheckpointAge { age: Some(secs(90)) }, Some(Status::Critical)),
        (&late, Observation::CheckpointAge { age: None }, Some(Status::Unknown)),
        (&late, lag(&far, Some(secs(1))), None),
        (&failed, ended(true), Some(Status::Critical)),
        (&failed, ended(false), Some(Status::Healthy)),
        (&store, full(Some(80)), Some(Status::Healthy)),
        (&store, full(Some(81)), Some(Status::Warning)),
        (&store, full(Some(91)), Some(Status::Critical)),
        (&store, full(None), Some(Status::Unknown)),
        (&skew, Observation::ClockSkew { skew: Some(secs(3)) }, Some(Status::Breached)),
    ];
    for (rule, observation, expected) in cases {
        let found = rule.judge(&observation, 10).map(|verdict| verdict.status);
        assert_eq!(found, expected, "{} of {observation:?}", rule.name());
    }
}

#[test]
fn a_failed_job_stays_failed_until_one_ends_well() {
    let rule = Rule::JobFailed { job: "backup".to_owned() };
    let mut alerts = watching(rule, Settings::default());
    let ended =
        |failed| vec![Sample::new(orders(), Observation::JobEnded { job: "backup".to_owned(), failed })];
    assert!(alerts.step(at(10_000), &[]).is_empty(), "a job that is not due is no news");
    assert!(alerts.step(at(20_000), &[]).is_empty());
    assert_eq!(run(&mut alerts, 30_000, &[ended(true)]), [(30_000, Turn::Raised, Status::Critical)]);
    assert_eq!(run(&mut alerts, 40_000, &[ended(false)]), [(40_000, Turn::Resolved, Status::Healthy)]);
}

#[test]
fn a_low_mark_can_be_left_again() {
    let marked = Limit { alert: secs(5), critical: secs(50), most: secs(100) };
    let mut alerts = watching(Rule::CheckpointLate { limit: marked }, Settings::default());
    let age = |s| vec![Sample::new(orders(), Observation::CheckpointAge { age: Some(secs(s)) })];
    assert_eq!(run(&mut alerts, 0, &[age(6)]), [(0, Turn::Raised, Status::Warning)]);
    assert_eq!(run(&mut alerts, 100, &[age(2), age(2), age(2)]), [(102, Turn::Resolved, Status::Healthy)]);
}

#[test]
fn notices_have_the_event_names_people_know() {
    let name = |rule: Rule, sample: Vec<Sample>| {
        let event = watching(rule, Settings::default()).step(at(0), &sample).remove(0).event();
        event.map(|kind| kind.name())
    };
    assert_eq!(name(rpo(100), age(60)), Some("replication.rpo-warning"));
    assert_eq!(name(rpo(100), age(90)), Some("alert.rpo-critical"));
    assert_eq!(name(rpo(100), age(101)), Some("replication.rpo-violation"));
    assert_eq!(name(rpo(100), unknown()), None);
    let copy = CopyName::new("far").unwrap();
    let rule = Rule::CopyLag { copy: copy.clone(), limit: limit(300) };
    let lost = vec![Sample::new(orders(), Observation::CopyLag { copy: copy.clone(), lag: None })];
    let event = watching(rule, Settings::default()).step(at(0), &lost).remove(0).event();
    assert_eq!(event, Some(EventKind::ReplicationLag { copy, lag: None }));
}

#[test]
fn all_broken_rules_of_settings_and_watches_are_reported_together() {
    let settings = Settings { raise_after: 0, clear_after: 0, margin_percent: 50, ..Settings::default() };
    let upside_down = Limit { alert: secs(9), critical: secs(8), most: secs(7) };
    let watches = vec![
        Watch::new(orders(), Rule::CheckpointLate { limit: upside_down }),
        Watch::new(orders(), Rule::JobFailed { job: String::new() }),
    ];

    let error = Alerts::new(watches, settings).unwrap_err();

    assert_eq!((error.kind(), error.problems().len()), (ErrorKind::Invalid, 6), "{error}");
}

#[test]
fn rules_settings_and_notices_read_back_as_written() {
    let settings: Settings = toml::from_str("raise-after = 2\nrepeat-min = \"5m\"").unwrap();
    assert_eq!((settings.raise_after, settings.repeat_min, settings.clear_after), (2, secs(300), 3));
    assert!(toml::from_str::<Settings>("raise = 2").is_err());
    let notice = watching(rpo(100), Settings::default()).step(at(3), &age(150)).remove(0);
    let json = serde_json::to_string(&notice).unwrap();
    assert_eq!(serde_json::from_str::<Notice>(&json).unwrap(), notice, "{json}");
}

#[derive(Debug)]
struct BrokenSink;

#[async_trait]
impl Sink for BrokenSink {
    fn name(&self) -> &str {
        "broken"
    }

    async fn tell(&self, _: &Notice) -> Result<(), SinkError> {
        Err(SinkError::Unavailable("connection refused".to_owned()))
    }
}

#[test]
fn a_sink_that_fails_holds_up_no_other() {
    let notices = watching(rpo(100), Settings::default()).step(at(3), &age(150));
    let memory = MemorySink::new("memory");

    let failures = block_on(deliver(&[&BrokenSink, &LogSink, &memory], &notices));

    assert_eq!(memory.told(), notices);
    assert_eq!(failures.len(), 1);
    assert_eq!((failures[0].sink.as_str(), failures[0].error.kind()), ("broken", ErrorKind::Retry));
}

fn any_window() -> impl Strategy<Value = Option<Window>> {
    prop_oneof![
        4 => (0u64..200).prop_map(|s| Some(Window::Age(secs(s)))),
        2 => Just(Some(Window::None)),
        1 => Just(Some(Window::Unknown { bound: None })),
        1 => Just(None),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However the windows move, the notices make sense by themselves and hide no breach.
    #[test]
    fn notices_tell_a_story_without_holes(
        windows in proptest::collection::vec((any_window(), 1u64..90), 1..80),
        raise_after in 1u32..3,
        clear_after in 1u32..4,
    ) {
        let mut alerts = watching(rpo(100), Settings { raise_after, clear_after, ..Settings::default() });
        let (mut now, mut told, mut last) = (0, Status::Healthy, None::<u64>);
        for (window, wait) in windows {
            now += wait;
            let samples = window.map_or(Vec::new(), loss);
            let notices = alerts.step(at(now), &samples);
            prop_assert!(notices.len() <= 1);
            for notice in &notices {
                let expected = match (told, notice.status) {
                    (Status::Healthy, Status::Healthy) => None,
                    (Status::Healthy, _) => Some(Turn::Raised),
                    (_, Status::Healthy) => Some(Turn::Resolved),
                    (before, after) if after.rank() > before.rank() => Some(Turn::Worsened),
                    (before, after) if after.rank() < before.rank() => Some(Turn::Eased),
                    _ => Some(Turn::Repeated),
                };
                prop_assert_eq!(Some(notice.turn), expected);
                let rises = matches!(notice.turn, Turn::Raised | Turn::Worsened);
                prop_assert!(rises || last.is_none_or(|last| now - last >= 60), "told again too soon");
                prop_assert!(notice.incident.peak_status.rank() >= notice.status.rank());
                (told, last) = (notice.status, Some(now));
            }
            let breached = matches!(window, Some(Window::Age(age)) if age > secs(100));
            if breached && raise_after == 1 {
                prop_assert_eq!(told, Status::Breached, "a breach is known the moment it is seen");
            }
        }
    }
}
