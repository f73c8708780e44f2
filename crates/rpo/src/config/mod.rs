//! `rpo.toml`: what is protected, where its copies are, and what was promised about it.
//!
//! One file; unknown keys are errors that name the nearest known one; all broken rules are reported at once.

mod check;
mod load;
mod promise;
mod secret;
mod template;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rpo_core::objective::{Domain, Objective};
use rpo_core::{CopyName, HumanDuration, SourceId};
use serde::{Deserialize, Serialize};

use crate::Error;

pub use check::Warning;
pub use load::ConfigFileError;
pub use promise::{Promise, Verdict};
pub use template::{Protect, template};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// How the repository is locked.
    #[serde(default)]
    pub repository: RepositoryConfig,
    /// What runs here.
    #[serde(default)]
    pub daemon: DaemonConfig,
    /// The copies of the repository; one of them is home.
    #[serde(rename = "copy", default)]
    pub copies: Vec<CopyConfig>,
    /// What is protected.
    #[serde(rename = "system", default)]
    pub systems: Vec<SystemConfig>,
}

/// How the repository is locked. Exactly one way; secrets themselves never stand in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RepositoryConfig {
    /// A file whose first line is the passphrase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
    /// A program that prints the passphrase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase_command: Option<Vec<String>>,
    /// An environment variable that holds the passphrase. Default: `RPO_PASSPHRASE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase_env: Option<String>,
    /// A file of 32 random bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// `none` leaves everything readable to whoever can read the store. There is no other value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
}

/// The only choice about encryption is to do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// Objects keep their envelope and checksums but are readable to anyone.
    None,
}

/// What runs here, and where "here" is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DaemonConfig {
    /// Where the daemon keeps what it must not forget: reports, spools, the last evidence.
    pub state_dir: PathBuf,
    /// Name of this machine: copies labelled with it are lost together with it.
    pub machine: String,
    /// Name of this site: copies labelled with it are lost together with it.
    pub region: String,
    /// How often positions are compared and judged.
    pub sample_every: HumanDuration,
    /// How often each copy is looked through for every object it claims to have. Costs a listing of its packs.
    pub audit_every: HumanDuration,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        Self {
            state_dir: "rpo-state".into(),
            machine: "this-machine".into(),
            region: "here".into(),
            sample_every: HumanDuration::from_secs(5),
            audit_every: HumanDuration::from_secs(15 * 60),
        }
    }
}

/// What a copy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Checkpoints are created here.
    Home,
    /// Replays what home got.
    Mirror,
}

/// One copy of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CopyConfig {
    /// Its name.
    pub name: CopyName,
    /// Where it is: `file:///srv/rpo`, `s3://bucket/prefix?region=…`.
    pub url: String,
    /// Home or mirror. If no copy says, the first is home.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The machine it stands on. A `file:` URL without a label is on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The site it stands in. Without a label it is taken to be in this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl CopyConfig {
    /// The directory it is kept in, if its URL names one.
    pub fn directory(&self) -> Option<PathBuf> {
        let url = url::Url::parse(&self.url).ok().filter(|url| url.scheme() == "file")?;
        url.to_file_path().ok()
    }

    /// The URL of a directory; none if the path is not absolute.
    pub fn url_of(directory: &Path) -> Option<String> {
        url::Url::from_file_path(directory).ok().map(String::from)
    }
}

/// One protected thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SystemConfig {
    /// Its name.
    pub name: SourceId,
    /// What it is.
    pub source: SourceConfig,
    /// What was promised about it: `{ level = "high" }`, `{ tier = 2 }`, `{ rpo = { machine = "10m", region = "1h" } }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// When checkpoints are taken.
    #[serde(default)]
    pub checkpoint: CheckpointConfig,
}

/// What a protected thing is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum SourceConfig {
    /// A directory tree.
    Directory {
        /// Where it is.
        path: PathBuf,
        /// Paths below it that are left out, relative to it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        exclude: Vec<PathBuf>,
        /// Leave out what is mounted below it.
        #[serde(default)]
        one_file_system: bool,
    },
}

/// When checkpoints are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Time from the start of one to the start of the next. Default: half of the tightest promise, at most 5 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<HumanDuration>,
    /// A full one at least this often; the others are incremental.
    pub full_every: HumanDuration,
    /// `none`, `low`, `medium`, `high`, or a level of zstd.
    pub compression: rpo_checkpoint::Compression,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: None,
            full_every: HumanDuration::from_secs(7 * 86_400),
            compression: rpo_checkpoint::Compression::default(),
        }
    }
}

/// Longest time between two checkpoints of a system that says nothing about it.
const CHECKPOINT_EVERY_MAX: HumanDuration = HumanDuration::from_secs(300);

impl SystemConfig {
    /// Time from the start of one checkpoint to the start of the next. The window of a polled source reaches back to the
    /// start of the last protected scan, so half of the tightest promise is the longest that can keep it.
    pub fn checkpoint_every(&self) -> HumanDuration {
        let half =
            self.objective.as_ref().and_then(Objective::tightest).map(|most| HumanDuration::from(most / 2));
        self.checkpoint
            .every
            .unwrap_or_else(|| half.unwrap_or(CHECKPOINT_EVERY_MAX).min(CHECKPOINT_EVERY_MAX))
    }

    /// The ceiling for `domain`, if one was promised.
    pub fn ceiling(&self, domain: Domain) -> Option<HumanDuration> {
        self.objective.as_ref()?.limit(domain).map(|limit| limit.most)
    }
}

impl Config {
    /// Tells configurations with different copies or systems apart: a short digest of their names and places. What is
    /// promised about them is not in it.
    pub fn identity(&self) -> String {
        let copies: Vec<_> = self.copies.iter().map(|copy| (&copy.name, &copy.url)).collect();
        let systems: Vec<_> = self.systems.iter().map(|system| (&system.name, &system.source)).collect();
        let text = format!("{copies:?} {systems:?}");
        let digest = rpo_crypto::sha256(text.as_bytes());
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The copy that checkpoints are created in.
    pub fn home(&self) -> Option<&CopyConfig> {
        self.copies.iter().find(|c| c.role == Some(Role::Home)).or_else(|| {
            let anybody = self.copies.iter().any(|c| c.role.is_some());
            if anybody { None } else { self.copies.first() }
        })
    }

    /// What `copy` is for.
    pub fn role(&self, copy: &CopyConfig) -> Role {
        if self.home().is_some_and(|home| home.name == copy.name) { Role::Home } else { Role::Mirror }
    }

    /// Whether `copy` is still there when `domain` around this machine is lost, by what the file declares.
    pub fn survives(&self, copy: &CopyConfig, domain: Domain) -> bool {
        let here = &self.daemon;
        let is_file = copy.url.starts_with("file:") || copy.url.starts_with("memory:");
        let elsewhere = copy.region.as_ref().is_some_and(|region| *region != here.region);
        match domain {
            Domain::Process => true,
            Domain::Machine => match &copy.machine {
                Some(machine) => *machine != here.machine,
                None => elsewhere || !is_file,
            },
            Domain::Region => elsewhere,
            Domain::Operator => false, // needs a store that the writer's own credentials cannot delete from
        }
    }

    /// The system of that name.
    pub fn system(&self, name: &SourceId) -> Option<&SystemConfig> {
        self.systems.iter().find(|s| s.name == *name)
    }

    /// The system of that name, where there must be one.
    ///
    /// # Errors
    /// There is none; the error names the nearest and all there are.
    pub fn require_system(&self, name: &SourceId) -> Result<&SystemConfig, Error> {
        self.system(name).ok_or_else(|| {
            let known = nearest_of(name.as_str(), self.systems.iter().map(|s| s.name.as_str()));
            Error::NoSystem { name: name.clone(), known }
        })
    }

    /// The copy of that name, where there must be one.
    ///
    /// # Errors
    /// There is none; the error names the nearest and all there are.
    pub fn require_copy(&self, name: &CopyName) -> Result<&CopyConfig, Error> {
        self.copies.iter().find(|copy| copy.name == *name).ok_or_else(|| {
            let known = nearest_of(name.as_str(), self.copies.iter().map(|copy| copy.name.as_str()));
            Error::NoCopy { name: name.clone(), known }
        })
    }
}

/// All known names, and the one that was probably meant: `docs, photos; did you mean `docs`?`.
fn nearest_of<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    if known.is_empty() {
        return "none".to_owned();
    }
    let listed = known.join(", ");
    match nearest(wrong, known) {
        Some(nearest) => format!("{listed}; did you mean `{nearest}`?"),
        None => listed,
    }
}

/// The known name that `wrong` resembles most, if it resembles any.
fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alike = |name: &str| strsim::jaro_winkler(wrong, name);
    let nearest = known.into_iter().max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    (alike(nearest) > 0.7).then_some(nearest)
}
