//! Which copies must hold a commit before it counts as protected: `any 2 of (eu, us, standby-1)`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use rpo_core::{CopyName, ErrorKind};
use serde::{Deserialize, Serialize};

/// How many of which copies a commit must reach; the words are PostgreSQL's `synchronous_standby_names`.
///
/// `none` is asynchronous: nobody waits, and a commit is protected once one copy holds it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SyncPolicy {
    /// Nobody waits for a copy; one copy protects.
    #[default]
    None,
    /// Any `needed` of `copies`.
    Any {
        /// How many, from 1 to the number of copies.
        needed: usize,
        /// Which, in the order written; each once.
        copies: Vec<CopyName>,
    },
}

/// A text that is no sync policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no sync policy: {why}; write `any 2 of (eu, us, standby-1)` or `none`")]
pub struct PolicyError {
    text: String,
    why: String,
}

impl PolicyError {
    /// Always [`ErrorKind::Invalid`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

impl SyncPolicy {
    /// Any `needed` of `copies`.
    ///
    /// # Errors
    /// No copies, one named twice, or a number that is not between 1 and theirs.
    pub fn any(needed: usize, copies: Vec<CopyName>) -> Result<Self, PolicyError> {
        let policy = Self::Any { needed, copies };
        match policy.problem() {
            None => Ok(policy),
            Some(why) => Err(PolicyError { text: policy.to_string(), why }),
        }
    }

    fn problem(&self) -> Option<String> {
        let Self::Any { needed, copies } = self else { return None };
        let mut seen = BTreeSet::new();
        if copies.is_empty() {
            Some("it names no copy".to_owned())
        } else if *needed == 0 || *needed > copies.len() {
            Some(format!("{needed} of {} copies cannot be asked for", copies.len()))
        } else {
            copies.iter().find(|name| !seen.insert(*name)).map(|name| format!("copy {name} is named twice"))
        }
    }

    /// Copies needed (k); 1 without a policy.
    pub fn needed(&self) -> usize {
        match self {
            Self::None => 1,
            Self::Any { needed, .. } => *needed,
        }
    }

    /// Whether `copy` counts; without a policy every copy does.
    pub fn counts(&self, copy: &CopyName) -> bool {
        match self {
            Self::None => true,
            Self::Any { copies, .. } => copies.contains(copy),
        }
    }

    /// In how many of the `counted` copies (n, those that [`counts`](Self::counts) and are not declared lost) a fence must
    /// stand so that a writer can no longer reach its k: n − k + 1, at least 1.
    pub fn fence_quorum(&self, counted: usize) -> usize {
        (counted + 1).saturating_sub(self.needed()).max(1)
    }
}

impl fmt::Display for SyncPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Any { needed, copies } => {
                let names: Vec<&str> = copies.iter().map(CopyName::as_str).collect();
                write!(f, "any {needed} of ({})", names.join(", "))
            }
        }
    }
}

impl FromStr for SyncPolicy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let bad = |why: String| PolicyError { text: text.to_owned(), why };
        let trimmed = text.trim();
        if trimmed.eq_ignore_ascii_case("none") {
            return Ok(Self::None);
        }
        let (head, list) =
            trimmed.split_once('(').ok_or_else(|| bad("the list of copies is missing".to_owned()))?;
        let list =
            list.strip_suffix(')').ok_or_else(|| bad("the list of copies is not closed".to_owned()))?;
        let words: Vec<String> = head.split_whitespace().map(str::to_ascii_lowercase).collect();
        let needed = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["any", number, "of"] => {
                number.parse().map_err(|_| bad(format!("`{number}` is no number of copies")))?
            }
            _ => return Err(bad("it does not begin with `any N of`".to_owned())),
        };
        let name = |part: &str| CopyName::new(part.trim()).map_err(|error| bad(error.to_string()));
        let copies = list.split(',').map(name).collect::<Result<Vec<_>, _>>()?;
        let policy = Self::Any { needed, copies };
        policy.problem().map_or(Ok(policy), |why| Err(bad(why)))
    }
}

impl TryFrom<String> for SyncPolicy {
    type Error = PolicyError;

    fn try_from(text: String) -> Result<Self, PolicyError> {
        text.parse()
    }
}

impl From<SyncPolicy> for String {
    fn from(policy: SyncPolicy) -> String {
        policy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_reads_back_as_written() {
        for text in ["none", "any 2 of (eu, us, standby-1)", "any 1 of (eu)"] {
            assert_eq!(text.parse::<SyncPolicy>().unwrap().to_string(), text);
        }
        assert_eq!(" ANY 2 of(eu,us) ".parse::<SyncPolicy>().unwrap().to_string(), "any 2 of (eu, us)");
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_a_reason() {
        for (text, reason) in [
            ("any 3 of (eu, us)", "3 of 2 copies"),
            ("any 0 of (eu)", "0 of 1 copies"),
            ("any 1 of ()", "no copy name"),
            ("any 2 of (eu, eu)", "named twice"),
            ("any two of (eu, us)", "no number"),
            ("all", "list of copies is missing"),
            ("any 1 of (eu", "not closed"),
            ("first 1 of (eu)", "does not begin"),
        ] {
            let error = text.parse::<SyncPolicy>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_fence_leaves_the_old_writer_fewer_copies_than_it_needs() {
        for n in 1..=5_usize {
            for k in 1..=n {
                let copies = (0..n).map(|i| CopyName::new(format!("c{i}")).unwrap()).collect();
                let policy = SyncPolicy::any(k, copies).unwrap();
                let quorum = policy.fence_quorum(n);
                assert!(n - quorum < k, "{n} copies, {k} needed: {quorum} fences leave enough");
                assert!(
                    n - (quorum - 1) >= k,
                    "{n} copies, {k} needed: {quorum} fences are more than it takes"
                );
            }
        }
        assert_eq!(SyncPolicy::None.fence_quorum(3), 3);
    }
}
