use std::time::Duration;

use super::*;
use crate::{ErrorKind, HumanDuration};

fn every_preset() -> Vec<(String, Objective)> {
    let mut all: Vec<(String, Objective)> = Vec::new();
    all.extend(RpoLevel::ALL.iter().filter_map(|l| Some((format!("level {l}"), Objective::preset(*l)?))));
    all.extend(Stage::ALL.iter().map(|s| (format!("stage {s}"), Objective::stage(*s))));
    all.extend(BusinessTier::ALL.iter().map(|t| (format!("tier {t}"), Objective::business(*t))));
    all.extend(SlaTier::ALL.iter().map(|t| (format!("sla {t}"), Objective::sla(*t))));
    all.extend(RecoveryTier::ALL.iter().map(|t| (format!("recovery {t}"), Objective::recovery(*t))));
    all
}

fn read(text: &str) -> Objective {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> String {
    toml::from_str::<Objective>(text).unwrap_err().to_string()
}

fn broken_fields(objective: &Objective) -> Vec<String> {
    let error = objective.validate().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.problems().iter().map(|problem| problem.field.clone()).collect()
}

#[test]
fn every_preset_keeps_the_rules() {
    for (name, objective) in every_preset() {
        assert!(objective.validate().is_ok(), "{name}: {}", objective.validate().unwrap_err());
        assert!(objective.limits().count() >= 2, "{name}");
    }
}

#[test]
fn every_preset_reads_back_as_written() {
    for (name, objective) in every_preset() {
        let text = toml::to_string(&objective).unwrap();
        assert_eq!(read(&text), objective, "{name}:\n{text}");
        let json = serde_json::to_string(&objective).unwrap();
        assert_eq!(serde_json::from_str::<Objective>(&json).unwrap(), objective, "{name}: {json}");
    }
}

#[test]
fn preset_low_has_the_promised_numbers() {
    let low = Objective::low();
    let limit = low.limit(Domain::Machine).unwrap();

    assert_eq!(limit.most, HumanDuration::from_secs(5));
    assert_eq!(limit.alert, HumanDuration::from_secs(3));
    assert_eq!(limit.critical, HumanDuration::from_secs(4));
    assert_eq!(low.checkpoint_interval, HumanDuration::from_secs(30));
    assert_eq!(low.sync_interval, HumanDuration::from_secs(1));
    assert_eq!(low.monitor_interval, HumanDuration::from_secs(5));
    assert!(low.strict && low.emergency);
}

#[test]
fn the_tiers_have_the_promised_numbers() {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let sla = SlaTier::ALL.iter().map(|t| (t.rto(), t.rpo(), t.mode()));
    let expected = [
        (minutes(15), minutes(1), CopyMode::Synchronous),
        (minutes(60), minutes(5), CopyMode::Asynchronous),
        (minutes(120), minutes(15), CopyMode::Asynchronous),
        (minutes(1440), minutes(60), CopyMode::Asynchronous),
    ];
    assert!(sla.eq(expected));
    let recovery = RecoveryTier::ALL.iter().map(|t| (t.rto(), t.rpo(), t.priority()));
    let expected = [
        (minutes(60), minutes(5), Priority::Highest),
        (minutes(240), minutes(60), Priority::Medium),
        (minutes(1440), minutes(1440), Priority::Low),
    ];
    assert!(recovery.eq(expected));
    assert_eq!(Objective::business(BusinessTier::Three).tightest(), Some(minutes(1440)));
    assert_eq!(Objective::sla(SlaTier::High).rto, Some(minutes(60).into()));
}

#[test]
fn the_ceilings_are_those_of_the_levels() {
    let seconds = [Some(0), Some(1), Some(5), Some(30), Some(300), None];
    let ceilings = RpoLevel::ALL.iter().map(|level| level.ceiling().map(|c| c.as_secs()));
    assert!(ceilings.eq(seconds));
}

#[test]
fn all_broken_rules_are_reported_at_once() {
    let mut objective = Objective::low();
    objective.rpo = RpoByDomain {
        machine: Some(HumanDuration::from_secs(60)),
        region: Some(HumanDuration::from_secs(2)),
        ..RpoByDomain::default()
    };
    objective.alert_at = Threshold::Time(HumanDuration::from_secs(90));
    objective.critical_at = Threshold::Time(HumanDuration::from_secs(70));
    objective.sync_interval = HumanDuration::from_secs(10);
    objective.monitor_interval = HumanDuration::ZERO;
    objective.checkpoint_interval = HumanDuration::ZERO;
    objective.rto = Some(HumanDuration::ZERO);

    let fields = broken_fields(&objective);

    let each = [
        "rpo.machine",
        "alert-at",
        "critical-at",
        "checkpoint-interval",
        "monitor-interval",
        "rto",
        "sync-interval",
    ];
    for field in each {
        assert!(fields.iter().any(|found| found == field), "{field} is missing from {fields:?}");
    }
    assert_eq!(fields.iter().filter(|f| *f == "rpo.machine").count(), 2, "ceiling, and looser than region");
}

#[test]
fn each_rule_is_broken_alone() {
    let scene = |change: fn(&mut Objective)| {
        let mut objective = Objective::medium();
        change(&mut objective);
        broken_fields(&objective)
    };
    assert_eq!(scene(|o| o.rpo = RpoByDomain::default()), ["rpo"]);
    assert_eq!(scene(|o| o.level = RpoLevel::Low), ["rpo.machine", "rpo.region"]);
    assert_eq!(scene(|o| o.level = RpoLevel::Zero), ["rpo.machine", "rpo.region"]);
    assert_eq!(
        scene(|o| o.rpo.process = Some(HumanDuration::from_secs(31))).len(),
        3,
        "ceiling, machine, region"
    );
    assert_eq!(scene(|o| o.alert_at = Threshold::Percent(0)), ["alert-at"]);
    assert_eq!(scene(|o| o.alert_at = Threshold::Percent(81)), ["alert-at", "alert-at"]);
    assert_eq!(scene(|o| o.critical_at = Threshold::Percent(101)), ["critical-at", "critical-at"]);
    assert_eq!(
        scene(|o| o.critical_at = Threshold::Percent(100)),
        ["critical-at", "critical-at"],
        "too late to act"
    );
    assert_eq!(scene(|o| o.sync_interval = HumanDuration::from_secs(31)), ["sync-interval"]);
    assert_eq!(scene(|o| o.monitor_interval = HumanDuration::from_secs(31)), ["monitor-interval"]);
}

#[test]
fn level_zero_needs_a_sync_before_every_acknowledgement() {
    let zero = Objective { sync_interval: HumanDuration::from_millis(1), ..Objective::zero() };
    assert_eq!(broken_fields(&zero), ["sync-interval"]);
}

#[test]
fn only_the_differences_from_a_preset_are_written() {
    assert_eq!(read("level = \"low\""), Objective::low());
    assert_eq!(read("rpo = \"minimal\""), Objective::minimal());
    assert_eq!(read("tier = 2"), Objective::business(BusinessTier::Two));
    assert_eq!(read("stage = \"production\""), Objective::stage(Stage::Production));
    let own = read("sla = \"high\"\nrto = \"30m\"\nalert-at = \"2m\"\nstrict = true");
    assert_eq!(own.rto, Some(HumanDuration::from_secs(1800)));
    assert_eq!(own.alert_at, Threshold::Time(HumanDuration::from_secs(120)));
    assert!(own.strict && own.validate().is_ok());
}

#[test]
fn an_rpo_of_its_own_tightens_the_intervals_of_its_preset() {
    let tight = read("level = \"low\"\nrpo = \"500ms\"");
    assert_eq!(tight.level, RpoLevel::Low);
    assert_eq!(tight.sync_interval, HumanDuration::from_millis(100));
    assert!(tight.validate().is_ok(), "{:?}", tight.validate());

    let mixed = read("[rpo]\nmachine = \"0s\"\nregion = \"15m\"");
    assert_eq!((mixed.level, mixed.tightest()), (RpoLevel::Custom, Some(Duration::ZERO)));
    assert_eq!(mixed.sync_interval, HumanDuration::ZERO);
    assert!(mixed.limit(Domain::Machine).unwrap().is_zero());
    assert!(mixed.validate().is_ok(), "{:?}", mixed.validate());
}

#[test]
fn what_is_not_understood_is_refused_with_the_way_out() {
    assert!(refusal("level = \"low\"\nrpoo = \"5s\"").contains("rpoo"));
    assert!(refusal("tier = 1\nsla = \"high\"").contains("keep one"));
    assert!(refusal("rto = \"5s\"").contains("needs a level"));
    assert!(refusal("level = \"custom\"").contains("add `rpo"));
    assert!(refusal("tier = 5").contains("1, 2, 3, 4"));
    assert!(refusal("rpo = { planet = \"5s\" }").contains("planet"));
    assert!(refusal("rpo = 5").contains("a duration such as"));
    assert!(refusal("rpo = \"5\"").contains("not a duration"));
    assert!(refusal("level = \"low\"\nalert-at = \"x%\"").contains("not a duration"));
}

#[test]
fn every_word_reads_back_as_written() {
    fn check<T>(all: &[T])
    where
        T: Copy + PartialEq + std::fmt::Debug + std::fmt::Display + std::str::FromStr<Err = WordError>,
        T: serde::Serialize + serde::de::DeserializeOwned,
    {
        for word in all {
            assert_eq!(word.to_string().parse::<T>().unwrap(), *word);
            let json = serde_json::to_string(word).unwrap();
            assert_eq!(json, format!("\"{word}\""), "the configuration and the display use one word");
            assert_eq!(serde_json::from_str::<T>(&json).unwrap(), *word);
        }
        assert_eq!("x".parse::<T>().unwrap_err().kind(), ErrorKind::Invalid);
    }
    check(Domain::ALL);
    check(RpoLevel::ALL);
    check(Status::ALL);
    check(Enforcement::ALL);
    check(OnLoss::ALL);
    check(Stage::ALL);
    check(SlaTier::ALL);
    check(RecoveryTier::ALL);
    check(Priority::ALL);
    check(CopyMode::ALL);
    let levels = Domain::ALL.iter().map(|domain| AckLevel::Protected(*domain));
    for level in [AckLevel::Buffered, AckLevel::Os, AckLevel::Durable].into_iter().chain(levels) {
        assert_eq!(level.to_string().parse::<AckLevel>().unwrap(), level);
    }
    assert!("protected(moon)".parse::<AckLevel>().is_err());
}
