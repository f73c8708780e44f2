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
    let kind = kind(effect, error);
    let said = text(error);
    let message = match advice(store, error) {
        Some(advice) => format!("{said}; next: {advice}"),
        None => said,
    };
    StorageError::failed(store, op, key, kind, message)
}

/// It was never sent, for want of credentials. (OpenDAL has no kind for this; should its text change, we fall back to
/// what is safe.)
fn is_unsigned(error: &opendal::Error) -> bool {
    error.kind() == Theirs::Unexpected && error.message() == "signing http request"
}

/// The server did not answer at all: nobody is there, or it is none that we can talk to.
fn is_unreachable(error: &opendal::Error) -> bool {
    error.kind() == Theirs::Unexpected && error.message() == "send http request"
}

fn kind(effect: Effect, error: &opendal::Error) -> ErrorKind {
    match error.kind() {
        // The store turned it away before doing anything: too many requests, or another conditional write of this key
        // is under way (S3: 409 ConditionalRequestConflict, "retry").
        Theirs::RateLimited | Theirs::Conflict => ErrorKind::Retry,
        Theirs::PermissionDenied => ErrorKind::Permission,
        Theirs::NotFound if effect == Effect::None => ErrorKind::NotFound,
        Theirs::ConfigInvalid | Theirs::IsADirectory | Theirs::NotADirectory | Theirs::IsSameFile => {
            ErrorKind::Invalid
        }
        _ if is_unsigned(error) && error.is_temporary() => ErrorKind::Retry,
        _ if is_unsigned(error) => ErrorKind::Permission,
        _ if effect == Effect::Possible => ErrorKind::Unknown,
        // Also what OpenDAL calls permanent: a cut answer ("reader got too little data") is one of these.
        _ => ErrorKind::Retry,
    }
}

/// What was said, with its innermost cause. Not the context that OpenDAL collects: it holds whole requests and answers.
fn text(error: &opendal::Error) -> String {
    if is_unsigned(error) {
        return match innermost(error).as_str() {
            // There are simply none.
            "failed to load signing credential" => "no credentials were found".to_owned(),
            why => format!("no credentials can be used: {why}"),
        };
    }
    if is_unreachable(error) {
        return format!("the server cannot be reached: {}", innermost(error));
    }
    let said = answered(error.message()).unwrap_or_else(|| error.message().to_owned());
    let mut text = format!("{}: {said}", error.kind());
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn innermost(error: &opendal::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

/// The answer of an S3 server, which OpenDAL gives as `S3Error { code: "…", message: "…", … }`, for people.
fn answered(message: &str) -> Option<String> {
    let fields = message.strip_prefix("S3Error {")?;
    let field = |name: &str| {
        let (_, rest) = fields.split_once(&format!("{name}: \""))?;
        rest.split_once("\",").map(|(value, _)| value.replace("\\\"", "\""))
    };
    let (code, said) = (field("code")?, field("message").unwrap_or_default());
    match (code.is_empty(), said.is_empty()) {
        (true, true) => Some("no reason was given".to_owned()),
        (false, true) => Some(code),
        (true, false) => Some(said),
        (false, false) => Some(format!("{said} ({code})")),
    }
}

/// What to do next, where that can be said. The environment variables are those that `register` names.
fn advice(store: &str, error: &opendal::Error) -> Option<&'static str> {
    let scheme = store.split(':').next().unwrap_or_default();
    if is_unreachable(error) {
        return Some("check `endpoint` in the URL, and the network");
    }
    if is_unsigned(error) {
        return match scheme {
            "s3" => Some(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile (AWS_PROFILE, or profile=NAME in the URL)",
            ),
            "gcs" => Some("set GOOGLE_APPLICATION_CREDENTIALS to the file with the credentials"),
            "azblob" => Some(
                "set AZURE_STORAGE_ACCOUNT_KEY, and AZURE_STORAGE_ACCOUNT_NAME if the URL has no account=",
            ),
            _ => None,
        };
    }
    match error.kind() {
        Theirs::PermissionDenied if scheme == "s3" => Some(
            "see that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are the right ones, and may list, read and write there",
        ),
        Theirs::PermissionDenied => {
            Some("see that the credentials are the right ones, and may list, read and write there")
        }
        _ if error.message().contains("\"NoSuchBucket\"") => {
            Some("make the bucket, or mend its name in the URL")
        }
        _ => None,
    }
}
