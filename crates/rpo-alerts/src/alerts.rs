//! The state machine: one state per watched rule, moved by samples and time.

use std::collections::BTreeMap;
use std::time::Duration;

use rpo_core::error::Problems;
use rpo_core::window::Moment;
use rpo_core::{ConfigError, SourceId, Status};

use crate::{AlertKey, Incident, Notice, Reading, Rule, Sample, Settings, Turn, Verdict, Watch};

/// All alerts of an installation. Pure: it is told the time and what was seen, and returns what to tell.
#[derive(Debug, Clone)]
pub struct Alerts {
    settings: Settings,
    alerts: BTreeMap<AlertKey, Alert>,
    excused: BTreeMap<SourceId, Status>,
}

#[derive(Debug, Clone)]
struct Alert {
    rule: Rule,
    status: Status,
    reading: Reading,
    /// When it was last sampled; none before the first step, which starts the wait.
    sampled: Option<Moment>,
    /// Samples in a row that would move it up, with the least of them; or down, with the greatest.
    leaning: Option<(Lean, u32, Status)>,
    incident: Option<Trouble>,
    told: Option<(Moment, Status)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lean {
    Up,
    Down,
}

#[derive(Debug, Clone, Copy)]
struct Trouble {
    since: Moment,
    peak_status: Status,
    peak: Reading,
}

impl Alerts {
    /// Watches these rules. All begin healthy; a rule without a sample becomes unknown after a while.
    ///
    /// # Errors
    /// All broken rules of the settings and of the watches together; two watches with one key are one, the later.
    pub fn new(watches: Vec<Watch>, settings: Settings) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        problems.absorb("alerts", settings.validate());
        let mut alerts = BTreeMap::new();
        for Watch { system, rule } in watches {
            let key = AlertKey::of(&system, &rule);
            problems.absorb(&key.to_string(), rule.validate());
            alerts.insert(key, Alert::new(rule));
        }
        problems.finish().map(|()| Self { settings, alerts, excused: BTreeMap::new() })
    }

    /// While a system is excused (`pending`, `paused`) its alerts stay as they are and nothing is told of them.
    /// None ends it; the wait for samples begins anew.
    pub fn excuse(&mut self, system: &SourceId, reason: Option<Status>) {
        match reason {
            Some(reason) => self.excused.insert(system.clone(), reason),
            None => self.excused.remove(system),
        };
    }

    /// How an alert stands; none if nothing of that key is watched.
    pub fn status(&self, key: &AlertKey) -> Option<Status> {
        let excuse = self.excused.get(&key.system);
        self.alerts.get(key).map(|alert| *excuse.unwrap_or(&alert.status))
    }

    /// The alerts that are not well, in order of their keys.
    pub fn firing(&self) -> impl Iterator<Item = (&AlertKey, Status)> {
        self.alerts
            .iter()
            .filter(|(_, alert)| alert.incident.is_some())
            .map(|(key, alert)| (key, alert.status))
    }

    /// Takes in what was seen by `now` and says what to tell, in order of the keys.
    pub fn step(&mut self, now: Moment, samples: &[Sample]) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (key, alert) in &mut self.alerts {
            if self.excused.contains_key(&key.system) {
                alert.sampled = Some(now);
                alert.leaning = None;
                continue;
            }
            let mine = samples.iter().filter(|sample| sample.system == key.system);
            for sample in mine {
                let Some(verdict) = alert.rule.judge(&sample.observation, self.settings.margin_percent)
                else {
                    continue;
                };
                alert.take(verdict, sample.observation.reading(), now, &self.settings);
                alert.sampled = Some(now);
            }
            alert.grow_stale(now, &self.settings);
            notices.extend(alert.tell(key, now, self.settings.repeat_min.get()));
        }
        notices
    }
}

impl Alert {
    fn new(rule: Rule) -> Self {
        Self {
            rule,
            status: Status::Healthy,
            reading: Reading::Nothing,
            sampled: None,
            leaning: None,
            incident: None,
            told: None,
        }
    }

    fn take(&mut self, verdict: Verdict, reading: Reading, now: Moment, settings: &Settings) {
        self.reading = reading;
        let (lean, candidate, needed) = if verdict.status.rank() > self.status.rank() {
            (Lean::Up, verdict.status, settings.raise_after)
        } else if verdict.status != Status::Unknown && verdict.at_worst.rank() < self.status.rank() {
            (Lean::Down, verdict.at_worst, settings.clear_after)
        } else {
            self.leaning = None; // in particular: no evidence eases nothing
            return self.note_peak();
        };
        let (count, reached) = match self.leaning {
            Some((before, count, reached)) if before == lean => {
                (count + 1, milder_or_worse(lean, reached, candidate))
            }
            _ => (1, candidate),
        };
        if count < needed && !self.rule.is_fact() {
            self.leaning = Some((lean, count, reached));
        } else {
            self.leaning = None;
            self.status = reached;
            if reached != Status::Healthy && self.incident.is_none() {
                self.incident = Some(Trouble { since: now, peak_status: reached, peak: reading });
            }
        }
        self.note_peak();
    }

    fn note_peak(&mut self) {
        if let Some(trouble) = &mut self.incident {
            if self.status.rank() > trouble.peak_status.rank() {
                trouble.peak_status = self.status;
            }
            if self.reading.magnitude() > trouble.peak.magnitude() {
                trouble.peak = self.reading;
            }
        }
    }

    /// No sample for too long is no evidence; but a job need not run all the time.
    fn grow_stale(&mut self, now: Moment, settings: &Settings) {
        let sampled = *self.sampled.get_or_insert(now);
        let waits = !matches!(self.rule, Rule::JobFailed { .. });
        if waits
            && now.since(sampled) > settings.stale_after.get()
            && self.status.rank() < Status::Unknown.rank()
        {
            let at_once = Settings { raise_after: 1, ..settings.clone() };
            let nothing = Verdict { status: Status::Unknown, at_worst: Status::Unknown };
            self.take(nothing, Reading::Nothing, now, &at_once);
        }
    }

    /// A rise is told at once; all else at most once per `repeat_min`; a lasting one worse than a warning is repeated.
    fn tell(&mut self, key: &AlertKey, now: Moment, repeat_min: Duration) -> Option<Notice> {
        let trouble = self.incident?;
        let told_status = self.told.map_or(Status::Healthy, |(_, status)| status);
        let waited = self.told.is_none_or(|(at, _)| now.since(at) >= repeat_min);
        let turn = match self.status.rank().cmp(&told_status.rank()) {
            std::cmp::Ordering::Greater if told_status == Status::Healthy => Turn::Raised,
            std::cmp::Ordering::Greater => Turn::Worsened,
            _ if !waited => return None,
            std::cmp::Ordering::Less if self.status == Status::Healthy => Turn::Resolved,
            std::cmp::Ordering::Less => Turn::Eased,
            std::cmp::Ordering::Equal if self.status == Status::Healthy => {
                self.incident = None;
                return None;
            }
            std::cmp::Ordering::Equal if self.status.rank() >= Status::Unknown.rank() => Turn::Repeated,
            std::cmp::Ordering::Equal => return None,
        };
        self.told = Some((now, self.status));
        if turn == Turn::Resolved {
            self.incident = None;
        }
        Some(Notice {
            key: key.clone(),
            rule: self.rule.clone(),
            turn,
            status: self.status,
            reading: self.reading,
            time: now.wall(),
            incident: Incident {
                since: trouble.since.wall(),
                duration: now.since(trouble.since).into(),
                peak_status: trouble.peak_status,
                peak: trouble.peak,
            },
        })
    }
}

/// Of several samples on the way up the mildest counts, on the way down the worst.
fn milder_or_worse(lean: Lean, a: Status, b: Status) -> Status {
    let (low, high) = if a.rank() <= b.rank() { (a, b) } else { (b, a) };
    match lean {
        Lean::Up => low,
        Lean::Down => high,
    }
}
