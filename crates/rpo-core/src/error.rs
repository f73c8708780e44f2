//! What an error means for the caller: kinds that are actions, and the list of a configuration's broken rules.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What to do about an error. Every error type of the family has `kind()`; programs match on this, people read the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// It certainly did not happen: the same call may be made again.
    Retry,
    /// It may have happened: look first, then decide.
    Unknown,
    /// A newer epoch owns the stream: stop.
    Fenced,
    /// Someone else holds it now: wait, or stop the other.
    Busy,
    /// Stored bytes are not what was written: retrying cannot help, repair or restore.
    Corrupt,
    /// What was asked for is not there.
    NotFound,
    /// It is there already, and stays as it is.
    Exists,
    /// The call or its input is wrong: mend it.
    Invalid,
    /// The key or passphrase does not open this.
    Key,
    /// No room: nothing was half written; make room, and it goes on.
    NoSpace,
    /// Refused by policy or for safety: the text says what would allow it.
    Refused,
    /// Not built, or not possible here.
    Unsupported,
    /// Stopped because somebody asked for it.
    Cancelled,
    /// The system or the store does not let us: other rights or other credentials are needed.
    Permission,
}

impl ErrorKind {
    /// The kind of a plain I/O error, before anything more is known about the operation.
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        match error.kind() {
            Io::NotFound => Self::NotFound,
            Io::AlreadyExists => Self::Exists,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => Self::NoSpace,
            Io::WouldBlock | Io::ResourceBusy => Self::Busy,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => Self::Permission,
            Io::InvalidInput | Io::NotADirectory | Io::IsADirectory | Io::DirectoryNotEmpty => Self::Invalid,
            Io::Unsupported => Self::Unsupported,
            _ => Self::Unknown,
        }
    }
}

/// One broken rule of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Path of the field, as written in the file: `system.payments.objective.rpo`.
    pub field: String,
    /// The value found.
    pub value: String,
    /// The rule it breaks, and what would satisfy it.
    pub rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.field, self.value, self.rule)
    }
}

/// All broken rules of a configuration together; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// All broken rules, in the order found.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Always [`ErrorKind::Invalid`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for problem in &self.problems {
            write!(f, "{separator}{problem}")?;
            separator = "; ";
        }
        Ok(())
    }
}

/// Collects broken rules, so that all are reported at once.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// No rule is broken yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that `field` breaks `rule`, unless `holds`.
    pub fn require(&mut self, holds: bool, field: &str, value: impl fmt::Display, rule: impl fmt::Display) {
        if !holds {
            self.0.push(Problem {
                field: field.to_owned(),
                value: value.to_string(),
                rule: rule.to_string(),
            });
        }
    }

    /// Takes over the broken rules of a part, with `prefix.` before their fields.
    pub fn absorb(&mut self, prefix: &str, part: Result<(), ConfigError>) {
        if let Err(error) = part {
            let named = |p: Problem| Problem { field: format!("{prefix}.{}", p.field), ..p };
            self.0.extend(error.problems.into_iter().map(named));
        }
    }

    /// `Ok` if no rule was broken.
    ///
    /// # Errors
    /// All broken rules together.
    pub fn finish(self) -> Result<(), ConfigError> {
        if self.0.is_empty() { Ok(()) } else { Err(ConfigError { problems: self.0 }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_broken_rules_are_reported_together() {
        let mut problems = Problems::new();
        problems.require(1 > 2, "a", 1, "at least 2");
        problems.require(true, "b", 1, "never shown");
        let mut part = Problems::new();
        part.require(false, "c", "x", "a number");
        problems.absorb("inner", part.finish());

        let error = problems.finish().unwrap_err();

        assert_eq!(error.to_string(), "a = 1: at least 2; inner.c = x: a number");
    }
}
