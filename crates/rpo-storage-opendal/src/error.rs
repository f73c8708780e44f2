//! From OpenDAL's errors to ours: what to do next, and no more of the text than can be shown.

use opendal::ErrorKind as Theirs;
use rpo_core::ErrorKind;
use rpo_storage::{Key, StorageError};

/// Whether a call that failed can have changed the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only looks.
    None,
    /// It may have happened although it failed.
    Possible,
}

/// A failed operation on one object.
pub(crate) fn of_object(
    store: &str,
    op: &'static str,
    key: &Key,
    effect: Effect,
    error: &opendal::Error,
) -> StorageError {
    match (error.kind(), effect) {
        (Theirs::NotFound, Effect::None) => {
            StorageError::NotFound { store: store.to_owned(), key: key.clone() }
        }
        (Theirs::ConditionNotMatch | Theirs::AlreadyExists, Effect::Possible) => {
            StorageError::AlreadyExists { store: store.to_owned(), key: key.clone() }
        }
        _ => of_call(store, op, key.as_str(), effect, error),
    }
}

/// A failed operation.
pub(crate) fn of_call(
    store: &str,
    op: &'static str,
    key: &str,
    effect: Effect,
    error: &opendal::Error,
) -> StorageError {
    if error.kind() == Theirs::Unsupported {
        return StorageError::Unsupported {
            store: store.to_owned(),
            what: format!("{op} {key} ({})", error.message()),
        };
    }
    StorageError::failed(store, op, key, kind(effect, error), text(error))
}

fn kind(effect: Effect, error: &opendal::Error) -> ErrorKind {
    match error.kind() {
        // The store turned it away before doing anything: too many requests, or another conditional write of this key
        // is under way (S3: 409 ConditionalRequestConflict, "retry").
        Theirs::RateLimited | Theirs::Conflict => ErrorKind::Retry,
        Theirs::PermissionDenied => ErrorKind::Refused,
        Theirs::NotFound if effect == Effect::None => ErrorKind::NotFound,
        Theirs::ConfigInvalid | Theirs::IsADirectory | Theirs::NotADirectory | Theirs::IsSameFile => {
            ErrorKind::Invalid
        }
        // It was never sent. (OpenDAL has no kind for this; should its text change, we fall back to what is safe.)
        Theirs::Unexpected if error.message() == "signing http request" => {
            if error.is_temporary() {
                ErrorKind::Retry
            } else {
                ErrorKind::Refused
            }
        }
        _ if effect == Effect::Possible => ErrorKind::Unknown,
        // Also what OpenDAL calls permanent: a cut answer ("reader got too little data") is one of these.
        _ => ErrorKind::Retry,
    }
}

/// Kind, message and causes. Not the context that OpenDAL collects: it holds whole requests and answers.
fn text(error: &opendal::Error) -> String {
    let mut text = format!("{}: {}", error.kind(), error.message());
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
