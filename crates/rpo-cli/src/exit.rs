//! Exit codes: one table for all commands, the same as in the book (docs/src/exit-codes.md).

use rpo::core::ErrorKind;
use rpo::core::objective::Status;

pub(crate) const OK: u8 = 0;
pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const PARTIAL: u8 = 3;
pub(crate) const NOT_FOUND: u8 = 10;
pub(crate) const BUSY: u8 = 11;
pub(crate) const KEY: u8 = 12;
pub(crate) const CONFIG: u8 = 13;
pub(crate) const PERMISSION: u8 = 14;
pub(crate) const BREACHED: u8 = 20;
pub(crate) const NOT_RESTORABLE: u8 = 21;
pub(crate) const DAMAGED: u8 = 22;
pub(crate) const UNKNOWN: u8 = 24;
pub(crate) const WARNING: u8 = 25;
pub(crate) const REFUSED: u8 = 30;
pub(crate) const INTERRUPTED: u8 = 130;

/// The code for an error of that kind.
pub(crate) fn of_kind(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::NotFound => NOT_FOUND,
        ErrorKind::Busy | ErrorKind::Fenced => BUSY,
        ErrorKind::Key => KEY,
        ErrorKind::Corrupt => DAMAGED,
        ErrorKind::Permission => PERMISSION,
        ErrorKind::Refused | ErrorKind::Exists => REFUSED,
        ErrorKind::Cancelled => INTERRUPTED,
        _ => FAILED,
    }
}

/// The code of `status --exit-code`.
pub(crate) fn of_status(status: Status) -> u8 {
    match status {
        Status::Healthy | Status::Pending | Status::Paused => OK,
        Status::Warning | Status::Critical => WARNING,
        Status::Breached => BREACHED,
        Status::Unknown => UNKNOWN,
    }
}
