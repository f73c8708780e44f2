//! The presets: one per level, per stage of a program's life, and per tier; every number of them is here.

use std::time::Duration;

use super::{BusinessTier, Objective, RecoveryTier, RpoByDomain, RpoLevel, SlaTier, Stage, Threshold};
use crate::HumanDuration;

const fn seconds(seconds: u64) -> HumanDuration {
    HumanDuration::from_secs(seconds)
}

const fn millis(millis: u64) -> HumanDuration {
    HumanDuration::from_millis(millis)
}

const HOUR: u64 = 3_600;

impl Objective {
    /// Nothing acknowledged is ever lost with a machine or a site: acknowledge only what is protected.
    pub fn zero() -> Self {
        Self {
            level: RpoLevel::Zero,
            sync_interval: HumanDuration::ZERO,
            strict: true,
            ..Self::watched(HumanDuration::ZERO, seconds(30), HumanDuration::ZERO, seconds(1))
        }
    }

    /// At most one second: shipped several times a second.
    pub fn minimal() -> Self {
        let marks = Self::watched(seconds(1), seconds(30), millis(200), seconds(1));
        Self { level: RpoLevel::Minimal, alert_at: Threshold::Percent(60), strict: true, ..marks }
    }

    /// At most five seconds; alert at 3 s, critical at 4 s.
    pub fn low() -> Self {
        let marks = Self::watched(seconds(5), seconds(30), seconds(1), seconds(5));
        Self { level: RpoLevel::Low, alert_at: Threshold::Percent(60), strict: true, ..marks }
    }

    /// At most thirty seconds.
    pub fn medium() -> Self {
        Self { level: RpoLevel::Medium, ..Self::watched(seconds(30), seconds(120), seconds(5), seconds(5)) }
    }

    /// At most five minutes.
    pub fn high() -> Self {
        let calm = Self::watched(seconds(300), seconds(900), seconds(30), seconds(30));
        Self { level: RpoLevel::High, emergency: false, ..calm }
    }

    /// Any other limits. Intervals follow the tightest: sync at a fifth, look at a quarter (at most every 30 s),
    /// checkpoint at four fifths (at least 30 s, so that the backup itself fits before the limit).
    pub fn custom(rpo: RpoByDomain) -> Self {
        let tightest = rpo.iter().map(|(_, most)| most).min().unwrap_or(Duration::ZERO);
        let checkpoint = (tightest / 5 * 4).max(Duration::from_secs(30));
        let monitor = match tightest {
            Duration::ZERO => Duration::from_secs(1),
            some => (some / 4).clamp(Duration::from_millis(1), Duration::from_secs(30)),
        };
        let base = Self::watched(seconds(0), checkpoint.into(), (tightest / 5).into(), monitor.into());
        Self { rpo, emergency: false, ..base }
    }

    /// The preset of a level; none for `custom`, which has no number of its own.
    pub fn preset(level: RpoLevel) -> Option<Self> {
        match level {
            RpoLevel::Zero => Some(Self::zero()),
            RpoLevel::Minimal => Some(Self::minimal()),
            RpoLevel::Low => Some(Self::low()),
            RpoLevel::Medium => Some(Self::medium()),
            RpoLevel::High => Some(Self::high()),
            RpoLevel::Custom => None,
        }
    }

    /// What fits a stage of a program's life.
    pub fn stage(stage: Stage) -> Self {
        match stage {
            Stage::Production => Self { rto: Some(seconds(HOUR)), ..Self::low() },
            Stage::Development => Self { strict: false, ..Self::high() },
            Stage::Test => Self {
                checkpoint_interval: seconds(1),
                sync_interval: millis(10),
                monitor_interval: millis(50),
                strict: false,
                ..Self::minimal()
            },
        }
    }

    /// The most that anything of this business tier may lose: the upper end of the tier's band.
    pub fn business(tier: BusinessTier) -> Self {
        let (_, most) = tier.band();
        match tier {
            BusinessTier::One => Self::minimal(),
            BusinessTier::Two | BusinessTier::Three | BusinessTier::Four => Self::of(most),
        }
    }

    /// What an SLA tier promises.
    pub fn sla(tier: SlaTier) -> Self {
        let strict = tier == SlaTier::Critical;
        Self { rto: Some(tier.rto().into()), strict, emergency: strict, ..Self::of(tier.rpo()) }
    }

    /// What a recovery tier promises.
    pub fn recovery(tier: RecoveryTier) -> Self {
        let emergency = tier == RecoveryTier::Critical;
        Self { rto: Some(tier.rto().into()), emergency, ..Self::of(tier.rpo()) }
    }

    /// The same objective with other limits; intervals too slow for them are tightened.
    #[must_use]
    pub fn with_rpo(self, rpo: RpoByDomain) -> Self {
        let fitting = Self::custom(rpo);
        Self {
            rpo,
            sync_interval: self.sync_interval.min(fitting.sync_interval),
            monitor_interval: self.monitor_interval.min(fitting.monitor_interval),
            ..self
        }
    }

    fn of(most: Duration) -> Self {
        Self::custom(RpoByDomain::machine_and_region(most))
    }

    fn watched(
        most: HumanDuration,
        checkpoint: HumanDuration,
        sync: HumanDuration,
        monitor: HumanDuration,
    ) -> Self {
        Self {
            level: RpoLevel::Custom,
            rpo: RpoByDomain::machine_and_region(most),
            rto: None,
            checkpoint_interval: checkpoint,
            sync_interval: sync,
            monitor_interval: monitor,
            alert_at: Threshold::Percent(50),
            critical_at: Threshold::Percent(80),
            strict: false,
            emergency: true,
        }
    }
}
