//! What a configuration must not contradict, and what it should be told about.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use rpo_core::error::Problems;
use rpo_core::objective::Domain;
use rpo_core::{ConfigError, HumanDuration};
use serde::Serialize;

use super::{Config, Role, SourceConfig, SystemConfig};

/// Shortest time between two scans of a directory.
const EVERY_MIN: HumanDuration = HumanDuration::from_secs(1);

/// Something that is allowed and should be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is about.
    pub about: String,
    /// What should be known.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.text)
    }
}

impl Config {
    /// Checks every rule; reports all that are broken.
    ///
    /// # Errors
    /// All broken rules together, each with field, value and what would satisfy it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        self.check_repository(&mut problems);
        self.check_copies(&mut problems);
        let mut names = BTreeSet::new();
        for system in &self.systems {
            let field = format!("system.{}", system.name);
            problems.require(names.insert(&system.name), &field, &system.name, "names of systems are unique");
            self.check_system(system, &field, &mut problems);
        }
        let sample = self.daemon.sample_every;
        problems.require(
            sample.get().as_millis() >= 10,
            "daemon.sample-every",
            sample,
            "at least 10ms: sampling more often costs more than it tells",
        );
        let audit = self.daemon.audit_every;
        problems.require(
            audit.get().as_secs() >= 1,
            "daemon.audit-every",
            audit,
            "at least 1s: each look lists every pack of every copy",
        );
        problems.finish()
    }

    fn check_repository(&self, problems: &mut Problems) {
        let r = &self.repository;
        let ways = [
            r.passphrase_file.is_some(),
            r.passphrase_command.is_some(),
            r.passphrase_env.is_some(),
            r.key_file.is_some(),
            r.encryption.is_some(),
        ];
        let count = ways.iter().filter(|way| **way).count();
        let rule = "name one of passphrase-file, passphrase-command, passphrase-env, key-file, encryption = \"none\"";
        problems.require(count <= 1, "repository", format_args!("{count} ways to unlock"), rule);
        let empty = r.passphrase_command.as_ref().is_some_and(Vec::is_empty);
        problems.require(!empty, "repository.passphrase-command", "[]", "name the program and its arguments");
    }

    fn check_copies(&self, problems: &mut Problems) {
        problems.require(
            !self.copies.is_empty(),
            "copy",
            "none",
            "at least one [[copy]]: where the data is kept",
        );
        let homes = self.copies.iter().filter(|c| c.role == Some(Role::Home)).count();
        let needs_home = homes == 1 || self.copies.iter().all(|c| c.role.is_none());
        problems.require(needs_home, "copy.role", format_args!("{homes} homes"), "exactly one copy is home");
        let (mut names, mut urls) = (BTreeSet::new(), BTreeSet::new());
        for copy in &self.copies {
            let field = format!("copy.{}", copy.name);
            problems.require(names.insert(&copy.name), &field, &copy.name, "names of copies are unique");
            let url = copy.url.trim_end_matches('/');
            let rule = "two copies in one place are one copy: give each a place of its own";
            problems.require(urls.insert(url), &format!("{field}.url"), &copy.url, rule);
            let rule = "nothing is kept in memory once the program ends: name a place that lasts";
            problems.require(!copy.url.starts_with("memory:"), &format!("{field}.url"), &copy.url, rule);
            let wrong = wrong_url(&copy.url);
            problems.require(wrong.is_none(), &format!("{field}.url"), &copy.url, wrong.unwrap_or(""));
        }
    }

    fn check_system(&self, system: &SystemConfig, field: &str, problems: &mut Problems) {
        let SourceConfig::Directory { path, exclude, .. } = &system.source;
        problems.require(
            !path.as_os_str().is_empty(),
            &format!("{field}.source.path"),
            path.display(),
            "name the directory",
        );
        let is_copy = self.copies.iter().any(|copy| copy.directory().as_ref() == Some(path));
        let rule = "a copy is kept in this very directory: it would hold nothing but itself";
        problems.require(!is_copy, &format!("{field}.source.path"), path.display(), rule);
        let relative = |p: &PathBuf| {
            p.is_relative() && p.components().all(|c| matches!(c, std::path::Component::Normal(_)))
        };
        for excluded in exclude.iter().filter(|p| !relative(p)) {
            let rule = "paths below the directory, relative to it, without `..`";
            problems.require(false, &format!("{field}.source.exclude"), excluded.display(), rule);
        }
        if let Some(every) = system.checkpoint.every {
            let field = format!("{field}.checkpoint.every");
            problems.require(every >= EVERY_MIN, &field, every, "at least 1s: each one scans the directory");
        }
        let Some(objective) = &system.objective else { return };
        let field = format!("{field}.objective");
        problems.absorb(&field, objective.validate());
        problems.require(
            objective.tightest() != Some(std::time::Duration::ZERO),
            &format!("{field}.level"),
            objective.level,
            "a directory is looked at now and then, so its changes cannot be held until they are safe: level zero needs a \
             source that acknowledges, such as a program that embeds the log",
        );
        if let Some(most) = objective.tightest().filter(|most| !most.is_zero() && *most < 2 * EVERY_MIN.get())
        {
            let rule = "at least 2s: a directory is scanned at most once a second, and the window reaches back two scans";
            problems.require(false, &format!("{field}.rpo"), HumanDuration::from(most), rule);
        }
        for (domain, limit) in objective.limits().filter(|(_, limit)| !limit.is_zero()) {
            self.check_limit(system, domain, limit.most, &format!("{field}.rpo.{domain}"), problems);
        }
    }

    fn check_limit(
        &self,
        system: &SystemConfig,
        domain: Domain,
        most: HumanDuration,
        field: &str,
        problems: &mut Problems,
    ) {
        let every = system.checkpoint_every();
        let rule = format!(
            "checkpoints every {every} cannot keep this: the window of a directory reaches back to the start of the last \
             protected scan, so set checkpoint.every to at most half of it"
        );
        problems.require(every.get() * 2 <= most.get(), field, most, rule);
        let survivors = self.copies.iter().filter(|c| self.survives(c, domain)).count();
        let rule = match domain {
            Domain::Operator => {
                "not supported yet: it needs a copy that the writer's own credentials cannot delete from"
                    .to_owned()
            }
            _ => format!(
                "no copy survives the loss of this {domain} by what the file says: label one with another {}",
                if domain == Domain::Region { "region" } else { "machine or region" }
            ),
        };
        problems.require(survivors > 0, field, most, rule);
    }

    /// What this machine shows when it is looked at: directories that should be protected and are not there.
    pub fn look(&self) -> Vec<Warning> {
        let missing = |system: &SystemConfig| {
            let SourceConfig::Directory { path, .. } = &system.source;
            let wrong = match std::fs::metadata(path) {
                Ok(found) if found.is_dir() => return None,
                Ok(_) => "is not a directory".to_owned(),
                Err(error) => format!("cannot be looked at: {error}"),
            };
            let text = format!("{} {wrong}: every checkpoint of it will fail", path.display());
            Some(Warning { about: format!("system.{}.source.path", system.name), text })
        };
        self.systems.iter().filter_map(missing).collect()
    }

    /// What is allowed and should be known: independence that is only declared, nothing promised, plain text.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |about: &str, text: String| warnings.push(Warning { about: about.to_owned(), text });
        if self.repository.encryption.is_some() {
            warn("repository.encryption", "everything is readable to whoever can read a copy".to_owned());
        }
        for copy in &self.copies {
            let local = copy.url.starts_with("file:");
            if local && (self.survives(copy, Domain::Machine) || self.survives(copy, Domain::Region)) {
                let text = "its independence is declared, not shown: a directory of this machine is labelled as standing elsewhere";
                warn(&format!("copy.{}", copy.name), text.to_owned());
            }
        }
        for system in &self.systems {
            if system.objective.is_none() {
                let text =
                    "nothing was promised about it: set objective, such as { rpo = { machine = \"10m\" } }";
                warn(&format!("system.{}", system.name), text.to_owned());
            }
        }
        warnings
    }
}

/// What is wrong with the URL of a copy, whatever its scheme; none if nothing is.
fn wrong_url(url: &str) -> Option<&'static str> {
    let parsed = match url::Url::parse(url) {
        Ok(parsed) if url.contains("://") => parsed,
        _ => return Some("a URL such as file:///srv/rpo or s3://bucket/prefix?region=eu-west-1"),
    };
    let has_host = parsed.host_str().is_some_and(|host| !host.is_empty());
    match parsed.scheme() {
        "file" if has_host || parsed.to_file_path().is_err() => {
            Some("a directory is named by an absolute path, with three slashes: file:///srv/rpo")
        }
        "file" if parsed.path() == "/" => {
            Some("the root of a file system is no place for a copy: name a directory")
        }
        "file" | "memory" => None,
        _ if !has_host => Some("the bucket is missing: s3://bucket/prefix?region=eu-west-1"),
        _ => None,
    }
}
