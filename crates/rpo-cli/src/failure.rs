//! How a failure is told: one line on stderr with what, where and what to do next, and an exit code.

use std::io;
use std::process::ExitCode;

use rpo::core::ErrorKind;
use rpo::recovery::RecoveryError;

use crate::commands::Refused;
use crate::output::{Output, complain};
use crate::{exit, text};

/// Tells what failed: one line for people, one JSON line for programs, both on stderr.
pub(crate) fn tell(output: Output, error: &anyhow::Error) -> ExitCode {
    let (code, kind) = code_of(error);
    let mut message = message_of(error);
    if let Some(next) = next_of(code, kind).filter(|_| !message.contains("next: ")) {
        message += &format!("; next: {next}");
    }
    if output.json {
        let line =
            serde_json::json!({ "message-type": "error", "code": code, "kind": kind, "message": message });
        complain(&line.to_string());
    } else if code == exit::INTERRUPTED {
        complain(&message); // what was asked for is no error
    } else {
        complain(&format!("error: {message}"));
    }
    ExitCode::from(code)
}

/// An error with what helps against it, where only the command knows that.
#[derive(Debug, thiserror::Error)]
#[error("{source}; next: {next}")]
pub(crate) struct Advised {
    pub(crate) source: rpo::Error,
    pub(crate) next: String,
}

/// The error and its causes on one line, each said once: many errors name their cause themselves, and some repeat what
/// stands above them.
pub(crate) fn message_of(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain().map(ToString::to_string) {
        let goes_on = cause.strip_prefix(&message).is_some_and(|rest| rest.starts_with(": "));
        if message.is_empty() || goes_on {
            message = cause;
        } else if !message.contains(&cause) {
            message += &format!(": {cause}");
        }
    }
    text::line(&message).into_owned()
}

/// What helps against errors of that code, where the error does not say so itself.
fn next_of(code: u8, kind: Option<ErrorKind>) -> Option<&'static str> {
    match code {
        _ if kind == Some(ErrorKind::NoSpace) => Some(
            "no room there: make some, then the same command again; nothing half-made counts, nothing is lost",
        ),
        exit::KEY => Some(
            "see where [repository] takes the passphrase or key from (if it names nothing: the environment variable \
             RPO_PASSPHRASE)",
        ),
        exit::CONFIG => Some("mend the file, then rpo check"),
        exit::PERMISSION => Some(
            "see who may read and write there (and whether it is mounted read-only): run as that user, or let this one",
        ),
        exit::DAMAGED => Some("rpo verify --read-data names what is damaged"),
        exit::INTERRUPTED => Some("the same command again; what was complete before is as it was"),
        _ => None,
    }
}

fn code_of(error: &anyhow::Error) -> (u8, Option<ErrorKind>) {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<rpo::Error>() {
            let code = match error {
                _ if error.is_config() => exit::CONFIG,
                rpo::Error::Recovery(error) if matches!(**error, RecoveryError::Refused(_)) => {
                    exit::NOT_RESTORABLE
                }
                _ => exit::of_kind(error.kind()),
            };
            return (code, Some(error.kind()));
        }
        if let Some(error) = cause.downcast_ref::<rpo::config::ConfigFileError>() {
            let code =
                if error.kind() == ErrorKind::Invalid { exit::CONFIG } else { exit::of_kind(error.kind()) };
            return (code, Some(error.kind()));
        }
        if let Some(refused) = cause.downcast_ref::<Refused>() {
            return (refused.code, None);
        }
        // Of a file that a command handles itself: only what the caller can act on has a code of its own.
        if let Some(kind) = cause.downcast_ref::<io::Error>().map(ErrorKind::of_io)
            && matches!(kind, ErrorKind::Permission | ErrorKind::NoSpace)
        {
            return (exit::of_kind(kind), Some(kind));
        }
    }
    (exit::FAILED, None)
}

/// Whether a disk was full.
pub(crate) fn lacks_room(error: &anyhow::Error) -> bool {
    code_of(error).1 == Some(ErrorKind::NoSpace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once_wherever_it_stands() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let named =
            anyhow::Error::from(rpo::Error::State { path: "/s".into(), op: "open", source: denied() });
        assert_eq!(message_of(&named), "/s: open failed: permission denied");
        assert_eq!(message_of(&named.context("/s")), "/s: open failed: permission denied");
        let plain = anyhow::Error::from(denied()).context("a\u{1b}b cannot be written");
        assert_eq!(message_of(&plain), "a\\u{1b}b cannot be written: permission denied");
    }

    #[test]
    fn what_may_not_be_written_has_a_code_of_its_own_whoever_says_so() {
        let denied = anyhow::Error::from(io::Error::from(io::ErrorKind::PermissionDenied)).context("x");
        let full = anyhow::Error::from(io::Error::from(io::ErrorKind::StorageFull)).context("x");
        let other = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(code_of(&denied).0, exit::PERMISSION);
        assert_eq!((code_of(&full).0, lacks_room(&full)), (exit::FAILED, true));
        assert_eq!(code_of(&other), (exit::FAILED, None));
    }
}
