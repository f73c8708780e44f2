//! What a configuration really promises, in plain words.

use rpo_core::HumanDuration;
use rpo_core::objective::Domain;
use serde::Serialize;

use super::{Config, SystemConfig};

/// What happens to one system when one domain is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Promise {
    /// The system.
    pub system: String,
    /// What is lost.
    pub domain: Domain,
    /// The row of the guarantees table that this configuration buys.
    pub verdict: Verdict,
    /// The agreed ceiling, if one was set.
    pub ceiling: Option<HumanDuration>,
    /// The copies that survive, by what the file declares.
    pub survivors: Vec<String>,
    /// The same for people.
    pub text: String,
}

/// One cell of the guarantees table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing that was captured is lost.
    Survives,
    /// At most the ceiling is lost, and a longer window is reported while it lasts.
    BoundedLoss,
    /// Some is lost, and nothing was promised about how much.
    Unbounded,
    /// Everything is lost.
    AllLost,
    /// Not claimed by this version.
    NotClaimed,
}

impl Config {
    /// What this configuration promises, for each system and failure domain.
    pub fn promises(&self) -> Vec<Promise> {
        let domains = [Domain::Process, Domain::Machine, Domain::Region, Domain::Operator];
        self.systems.iter().flat_map(|s| domains.map(|d| self.promise(s, d))).collect()
    }

    fn promise(&self, system: &SystemConfig, domain: Domain) -> Promise {
        let survivors: Vec<_> =
            self.copies.iter().filter(|c| self.survives(c, domain)).map(|c| c.name.to_string()).collect();
        let ceiling = system.ceiling(domain);
        let every = system.checkpoint_every();
        let (verdict, text) = match (domain, ceiling, survivors.is_empty()) {
            (Domain::Process, ..) => (
                Verdict::Survives,
                "if rpo is killed, nothing is lost: the directory itself is untouched, and a half-made checkpoint does not count".to_owned(),
            ),
            (Domain::Operator, ..) => (
                Verdict::NotClaimed,
                "deletion or encryption by someone who holds this machine's credentials is not covered: no copy is locked against its own writer".to_owned(),
            ),
            (_, _, true) => (Verdict::AllLost, format!("if this {domain} is lost, everything is lost: no copy is elsewhere")),
            (_, Some(ceiling), false) => (
                Verdict::BoundedLoss,
                format!(
                    "if this {domain} is lost, at most the last {ceiling} of changes are lost (checkpoints every {every}), restored from {}; a longer window is reported as a breach",
                    survivors.join(" or ")
                ),
            ),
            (_, None, false) => (
                Verdict::Unbounded,
                format!(
                    "if this {domain} is lost, changes since the last checkpoint are lost (every {every}), restored from {}; no ceiling was agreed",
                    survivors.join(" or ")
                ),
            ),
        };
        Promise { system: system.name.to_string(), domain, verdict, ceiling, survivors, text }
    }
}
