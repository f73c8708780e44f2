//! What can be asked for when restoring, and what can be promised: targets and restore points.
//!
//! Words only: how a target resolves to a point is decided in `rpo-recovery`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{CheckpointId, ErrorKind, Lsn, PointName, Position, Sequence, Timestamp, TransactionId};

/// What somebody wants restored. Written `latest`, `checkpoint:docs@12`, `time:2026-03-01T14:06:23Z`, `lsn:4096`,
/// `seq:500`, `txn:77`, `tag:before-upgrade`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// The newest state that can be proved.
    Latest,
    /// The state a checkpoint holds, without replaying anything.
    Checkpoint(CheckpointId),
    /// The commits up to this commit time.
    Time(Timestamp),
    /// The commits that lie wholly before (or at) this position.
    Lsn(Lsn),
    /// The first so many commits.
    Sequence(Sequence),
    /// The commits up to the one that carries this transaction number.
    Transaction(TransactionId),
    /// The moment somebody named.
    Named(PointName),
}

/// Whether the commit a target names is part of what is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// It is.
    #[default]
    Inclusive,
    /// It is not: restore what was just before.
    Exclusive,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Inclusive => "inclusive",
            Self::Exclusive => "exclusive",
        })
    }
}

/// A text that is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no target: {reason}")]
pub struct TargetError {
    text: String,
    reason: String,
}

impl TargetError {
    /// Always [`ErrorKind::Invalid`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Checkpoint(id) => write!(f, "checkpoint:{id}"),
            Self::Time(time) => write!(f, "time:{time}"),
            Self::Lsn(lsn) => write!(f, "lsn:{lsn}"),
            Self::Sequence(sequence) => write!(f, "seq:{sequence}"),
            Self::Transaction(id) => write!(f, "txn:{id}"),
            Self::Named(name) => write!(f, "tag:{name}"),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let bad = |reason: String| TargetError { text: text.to_owned(), reason };
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let forms = "use latest, checkpoint:SOURCE@N, time:RFC3339, lsn:N, seq:N, txn:N or tag:NAME";
        let (form, rest) = text.split_once(':').ok_or_else(|| bad(format!("{forms}{}", meant(text))))?;
        match form {
            "checkpoint" if is_number(rest) => Err(bad(format!(
                "the number alone is not enough: write checkpoint:SOURCE@{rest} with the name of what is restored"
            ))),
            "checkpoint" => rest.parse().map(Self::Checkpoint).map_err(|e| bad(e.to_string())),
            "time" => rest.parse().map(Self::Time).map_err(|e| bad(e.to_string())),
            "lsn" => rest.parse().map(Self::Lsn).map_err(|e| bad(e.to_string())),
            "seq" => rest.parse().map(Self::Sequence).map_err(|e| bad(e.to_string())),
            "txn" => {
                rest.parse().map(|n| Self::Transaction(TransactionId(n))).map_err(|_| bad(forms.to_owned()))
            }
            "tag" => rest.parse().map(Self::Named).map_err(|e| bad(e.to_string())),
            _ => Err(bad(forms.to_owned())),
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a text without a form in front was probably meant to be.
fn meant(text: &str) -> String {
    if is_number(text) {
        format!("; did you mean checkpoint:SOURCE@{text}, or seq:{text}?")
    } else if text.parse::<CheckpointId>().is_ok() {
        format!("; did you mean checkpoint:{text}?")
    } else if text.parse::<PointName>().is_ok() {
        format!("; did you mean tag:{text}, a moment of that name?")
    } else {
        String::new()
    }
}

impl TryFrom<String> for Target {
    type Error = TargetError;

    fn try_from(text: String) -> Result<Self, TargetError> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.to_string()
    }
}

/// A state that can be proved restorable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RestorePoint {
    /// Where the history stands there; none for sources without a log.
    pub position: Option<Position>,
    /// Commit time of the last commit in it; for a source without a log, when the scan that saw it began.
    pub time: Timestamp,
    /// The checkpoint whose state it is exactly, if it is one.
    pub checkpoint: Option<CheckpointId>,
    /// The name it was given, if any.
    pub name: Option<PointName>,
    /// The transaction that ends there, if the program numbered it.
    pub transaction: Option<TransactionId>,
}

impl RestorePoint {
    /// The state as of `time`, at `position` of a log if there is one.
    pub fn at(time: Timestamp, position: Option<Position>) -> Self {
        Self { position, time, checkpoint: None, name: None, transaction: None }
    }

    /// The same point, known to be the state of this checkpoint.
    #[must_use]
    pub fn of_checkpoint(self, id: CheckpointId) -> Self {
        Self { checkpoint: Some(id), ..self }
    }

    /// The same point under a name.
    #[must_use]
    pub fn named(self, name: PointName) -> Self {
        Self { name: Some(name), ..self }
    }
}

impl fmt::Display for RestorePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.time)?;
        if let Some(position) = self.position {
            write!(f, " at {position}")?;
        }
        if let Some(id) = &self.checkpoint {
            write!(f, ", checkpoint {id}")?;
        }
        if let Some(name) = &self.name {
            write!(f, ", tag {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_target_reads_back_as_written() {
        for text in ["latest", "checkpoint:docs@12", "lsn:4096", "seq:500", "txn:77", "tag:before-upgrade"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        let time: Target = "time:2026-03-01T14:06:23+01:00".parse().unwrap();
        assert_eq!(time.to_string().parse::<Target>().unwrap(), time);
        assert_eq!("lsn:16/B374D848".parse::<Target>().unwrap(), Target::Lsn(Lsn::new(0x16_B374_D848)));
    }

    #[test]
    fn a_text_that_is_no_target_says_what_would_be() {
        for bad in
            ["", "newest", "lsn:", "lsn:-1", "time:2026-03-01T14:06:23", "checkpoint:docs", "tag:A B", "x:1"]
        {
            let error = bad.parse::<Target>().unwrap_err();
            assert!(error.to_string().contains("is no target"), "{error}");
        }
    }

    #[test]
    fn a_target_without_its_form_says_what_was_probably_meant() {
        for (text, meant) in [
            ("before-upgrade", "did you mean tag:before-upgrade"),
            ("docs@12", "did you mean checkpoint:docs@12?"),
            ("12", "did you mean checkpoint:SOURCE@12, or seq:12?"),
            ("checkpoint:12", "write checkpoint:SOURCE@12"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(meant), "{error}");
        }
    }

    #[test]
    fn targets_travel_as_their_text() {
        let target: Target = "tag:before-upgrade".parse().unwrap();
        let json = serde_json::to_string(&target).unwrap();
        assert_eq!(json, "\"tag:before-upgrade\"");
        assert_eq!(serde_json::from_str::<Target>(&json).unwrap(), target);
        assert_eq!(crate::codec::decode::<Target>(&crate::codec::encode(&target).unwrap()).unwrap(), target);
    }
}
