//! The objective itself: as it is held, as it is written, and the rules it must keep.

use std::fmt;
use std::time::Duration;

use serde::de::{IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{BusinessTier, Domain, Enforcement, Limit, RecoveryTier, RpoLevel, SlaTier, Stage, Threshold};
use crate::error::Problems;
use crate::{ConfigError, HumanDuration};

/// What is promised about one system, and how closely it is watched.
///
/// In configuration only the differences from a preset are written: `{ level = "low", rto = "15m" }`,
/// `{ tier = 2 }`, `{ rpo = "10s" }`, `{ rpo = { machine = "0s", region = "15m" } }`. A preset is named by at most
/// one of `level`, `stage`, `tier`, `sla` and `recovery`, where `level` may also stand beside `rpo` to say what the
/// numbers are meant to be. Intervals that are not written follow the tightest `rpo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "Settings")]
pub struct Objective {
    /// The ceiling every `rpo` must keep.
    pub level: RpoLevel,
    /// Most data loss, per failure domain.
    pub rpo: RpoByDomain,
    /// Most time until a restored system serves again; none: not promised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto: Option<HumanDuration>,
    /// Time between checkpoints. Longer means longer replay, not more loss, where a log is shipped.
    pub checkpoint_interval: HumanDuration,
    /// Longest time an acknowledged commit may stay unsynced locally; zero syncs first. Part of every window.
    pub sync_interval: HumanDuration,
    /// Time between two looks at the copies. Shorter costs requests.
    pub monitor_interval: HumanDuration,
    /// Above this a window is a warning.
    pub alert_at: Threshold,
    /// Above this it is critical.
    pub critical_at: Threshold,
    /// Hold writes rather than pass the limit, whatever the enforcement mode says.
    pub strict: bool,
    /// At critical: sync, ship and checkpoint at once, and let background work wait.
    pub emergency: bool,
}

impl Objective {
    /// The limit for `domain`; none if nothing is promised about it.
    pub fn limit(&self, domain: Domain) -> Option<Limit> {
        self.rpo.get(domain).map(|most| Limit::marked(most, self.alert_at, self.critical_at))
    }

    /// The domains something is promised about, each with its limit.
    pub fn limits(&self) -> impl Iterator<Item = (Domain, Limit)> {
        Domain::ALL.iter().filter_map(|domain| Some((*domain, self.limit(*domain)?)))
    }

    /// The smallest data loss promised for any domain; none if nothing is promised.
    pub fn tightest(&self) -> Option<Duration> {
        self.rpo.iter().map(|(_, most)| most).min()
    }

    /// What is done about a threat: at least `asked`, and `block` if the objective is strict.
    pub fn enforcement(&self, asked: Enforcement) -> Enforcement {
        if self.strict { Enforcement::Block } else { asked }
    }

    /// Whether the rules hold. Fields are named as in configuration.
    ///
    /// # Errors
    /// All broken rules together, each with field, value and what would satisfy it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        self.check_rpo(&mut problems);
        self.check_marks(&mut problems);
        self.check_intervals(&mut problems);
        problems.finish()
    }

    fn check_rpo(&self, problems: &mut Problems) {
        let promised = self.tightest().is_some();
        problems.require(promised, "rpo", "nothing", "names no failure domain: set at least `machine`");
        for (domain, most) in self.rpo.iter() {
            let ceiling = self.level.ceiling().unwrap_or(Duration::MAX);
            let rule = format!(
                "level `{}` allows at most {}: lower it, or choose another level",
                self.level,
                HumanDuration::from(ceiling)
            );
            problems.require(most <= ceiling, &field_of(domain), HumanDuration::from(most), rule);
        }
        let nested = [Domain::Process, Domain::Machine, Domain::Region];
        for (inner, outer) in [(0, 1), (1, 2), (0, 2)].map(|(a, b)| (nested[a], nested[b])) {
            let (Some(smaller), Some(larger)) = (self.rpo.get(inner), self.rpo.get(outer)) else { continue };
            let rule = format!(
                "what survives the loss of a {outer} survives that of a {inner}: at most {}, or leave it out",
                HumanDuration::from(larger)
            );
            problems.require(smaller <= larger, &field_of(inner), HumanDuration::from(smaller), rule);
        }
    }

    fn check_marks(&self, problems: &mut Problems) {
        for (field, mark) in [("alert-at", self.alert_at), ("critical-at", self.critical_at)] {
            let zero = matches!(mark, Threshold::Percent(0) | Threshold::Time(HumanDuration::ZERO));
            let idle = self.limits().all(|(_, limit)| limit.is_zero());
            problems.require(
                !zero || idle,
                field,
                mark,
                "would always be passed: use more than zero, such as 50%",
            );
        }
        for (domain, limit) in self.limits().filter(|(_, limit)| !limit.is_zero()) {
            let Limit { alert, critical, most } = limit;
            let rule = format!("is past `critical-at`, {critical} for {domain}: must not be later");
            problems.require(alert <= critical, "alert-at", self.alert_at, rule);
            let rule = format!("is past the limit, {most} for {domain}: must not be later");
            problems.require(critical <= most, "critical-at", self.critical_at, rule);
            let rule =
                format!("is the limit itself for {domain}: `emergency` needs time to act, use 90% or less");
            problems.require(!self.emergency || critical != most, "critical-at", self.critical_at, rule);
        }
    }

    fn check_intervals(&self, problems: &mut Problems) {
        let more = "must be more than zero";
        problems.require(
            self.checkpoint_interval != HumanDuration::ZERO,
            "checkpoint-interval",
            self.checkpoint_interval,
            more,
        );
        problems.require(
            self.monitor_interval != HumanDuration::ZERO,
            "monitor-interval",
            self.monitor_interval,
            more,
        );
        if let Some(rto) = self.rto {
            problems.require(
                rto != HumanDuration::ZERO,
                "rto",
                rto,
                "no restore takes no time: use more than zero",
            );
        }
        let Some(tightest) = self.tightest().map(HumanDuration::from) else { return };
        let rule =
            format!("slower than the tightest rpo, {tightest}: commits would be lost before they are synced");
        problems.require(self.sync_interval <= tightest, "sync-interval", self.sync_interval, rule);
        if tightest != HumanDuration::ZERO {
            let rule = format!("slower than the tightest rpo, {tightest}: a breach would pass unseen");
            problems.require(
                self.monitor_interval <= tightest,
                "monitor-interval",
                self.monitor_interval,
                rule,
            );
        }
    }
}

fn field_of(domain: Domain) -> String {
    format!("rpo.{domain}")
}

/// Most data loss per failure domain. What is not named is not promised.
///
/// Written as one duration (`"5s"`: for `machine` and `region`) or by name (`{ machine = "5s", region = "1m" }`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RpoByDomain {
    /// When the program is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<HumanDuration>,
    /// When the disk or host is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<HumanDuration>,
    /// When the site is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<HumanDuration>,
    /// When somebody deletes or corrupts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<HumanDuration>,
}

impl RpoByDomain {
    /// The same for the loss of a machine and of a site: what most systems promise.
    pub fn machine_and_region(most: impl Into<HumanDuration>) -> Self {
        let most = most.into();
        Self { machine: Some(most), region: Some(most), ..Self::default() }
    }

    /// Most data loss for `domain`; none if nothing is promised.
    pub fn get(&self, domain: Domain) -> Option<Duration> {
        match domain {
            Domain::Process => self.process,
            Domain::Machine => self.machine,
            Domain::Region => self.region,
            Domain::Operator => self.operator,
        }
        .map(HumanDuration::get)
    }

    /// The domains something is promised about.
    pub fn iter(&self) -> impl Iterator<Item = (Domain, Duration)> {
        Domain::ALL.iter().filter_map(|domain| Some((*domain, self.get(*domain)?)))
    }
}

impl<'de> Deserialize<'de> for RpoByDomain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RpoVisitor)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RpoTable {
    process: Option<HumanDuration>,
    machine: Option<HumanDuration>,
    region: Option<HumanDuration>,
    operator: Option<HumanDuration>,
}

struct RpoVisitor;

impl<'de> Visitor<'de> for RpoVisitor {
    type Value = RpoByDomain;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"5s\", or a table of process, machine, region, operator")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RpoByDomain, E> {
        text.parse::<HumanDuration>().map(RpoByDomain::machine_and_region).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RpoByDomain, A::Error> {
        let table = RpoTable::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        let RpoTable { process, machine, region, operator } = table;
        Ok(RpoByDomain { process, machine, region, operator })
    }
}

/// An objective as written: what is not there comes from a preset.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Settings {
    level: Option<RpoLevel>,
    stage: Option<Stage>,
    tier: Option<BusinessTier>,
    sla: Option<SlaTier>,
    recovery: Option<RecoveryTier>,
    #[serde(default, deserialize_with = "rpo_or_level")]
    rpo: Option<RpoOrLevel>,
    rto: Option<HumanDuration>,
    checkpoint_interval: Option<HumanDuration>,
    sync_interval: Option<HumanDuration>,
    monitor_interval: Option<HumanDuration>,
    alert_at: Option<Threshold>,
    critical_at: Option<Threshold>,
    strict: Option<bool>,
    emergency: Option<bool>,
}

/// `rpo = "minimal"` is read as the level it names.
enum RpoOrLevel {
    Rpo(RpoByDomain),
    Level(RpoLevel),
}

fn rpo_or_level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RpoOrLevel>, D::Error> {
    struct Either;
    impl<'de> Visitor<'de> for Either {
        type Value = RpoOrLevel;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a level such as \"low\", ")?;
            RpoVisitor.expecting(f)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RpoOrLevel, E> {
            match text.parse() {
                Ok(level) => Ok(RpoOrLevel::Level(level)),
                Err(_) => RpoByDomain::deserialize(text.into_deserializer()).map(RpoOrLevel::Rpo),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RpoOrLevel, A::Error> {
            RpoVisitor.visit_map(map).map(RpoOrLevel::Rpo)
        }
    }
    deserializer.deserialize_any(Either).map(Some)
}

/// Why an objective as written names no single preset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Ambiguous {
    #[error("an objective starts from one of level, stage, tier, sla and recovery, not from {0}: keep one")]
    Several(String),
    #[error("an objective needs a level (`level = \"low\"`), a tier or an rpo (`rpo = \"10s\"`)")]
    Nothing,
    #[error("level `custom` has no number of its own: add `rpo = \"10s\"`")]
    BareCustom,
}

impl Settings {
    /// The preset the settings start from, with the settings' own `rpo` in it.
    fn basis(&self) -> Result<Objective, Ambiguous> {
        let (level, rpo) = match self.rpo {
            Some(RpoOrLevel::Level(level)) if self.level.is_none() => (Some(level), None),
            Some(RpoOrLevel::Level(_)) => return Err(Ambiguous::Several("level and rpo = LEVEL".to_owned())),
            Some(RpoOrLevel::Rpo(rpo)) => (self.level, Some(rpo)),
            None => (self.level, None),
        };
        let presets = [
            level.map(|_| "level"),
            self.stage.map(|_| "stage"),
            self.tier.map(|_| "tier"),
            self.sla.map(|_| "sla"),
            self.recovery.map(|_| "recovery"),
        ];
        let named: Vec<_> = presets.into_iter().flatten().collect();
        if named.len() > 1 {
            return Err(Ambiguous::Several(named.join(" and ")));
        }
        let preset = (level.and_then(Objective::preset))
            .or_else(|| self.stage.map(Objective::stage))
            .or_else(|| self.tier.map(Objective::business))
            .or_else(|| self.sla.map(Objective::sla))
            .or_else(|| self.recovery.map(Objective::recovery));
        match (preset, rpo) {
            (Some(preset), None) => Ok(preset),
            (Some(preset), Some(rpo)) if level.is_some() => Ok(preset.with_rpo(rpo)),
            (Some(preset), Some(rpo)) => Ok(Objective { level: RpoLevel::Custom, ..preset.with_rpo(rpo) }),
            (None, Some(rpo)) => Ok(Objective::custom(rpo)),
            (None, None) if level.is_some() => Err(Ambiguous::BareCustom),
            (None, None) => Err(Ambiguous::Nothing),
        }
    }
}

impl TryFrom<Settings> for Objective {
    type Error = Ambiguous;

    fn try_from(settings: Settings) -> Result<Self, Ambiguous> {
        let basis = settings.basis()?;
        Ok(Self {
            rto: settings.rto.or(basis.rto),
            checkpoint_interval: settings.checkpoint_interval.unwrap_or(basis.checkpoint_interval),
            sync_interval: settings.sync_interval.unwrap_or(basis.sync_interval),
            monitor_interval: settings.monitor_interval.unwrap_or(basis.monitor_interval),
            alert_at: settings.alert_at.unwrap_or(basis.alert_at),
            critical_at: settings.critical_at.unwrap_or(basis.critical_at),
            strict: settings.strict.unwrap_or(basis.strict),
            emergency: settings.emergency.unwrap_or(basis.emergency),
            ..basis
        })
    }
}
