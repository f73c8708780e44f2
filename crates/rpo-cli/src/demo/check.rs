//! The judges: what a restored bank must hold by what was acknowledged, and what was lost by what had been said.
//!
//! Pure, and made without anything of the bank's or the library's own: they read the restored file themselves. A check that
//! nothing could have failed has proved nothing, and fails.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rpo::core::Timestamp;
use serde::Deserialize;

use super::journal::{Ack, Booked, Journal, PROTECTED, Said, Stand, Window};
use super::record::{Check, Loss};

/// Accounts of the bank, and what each began with.
pub(super) const ACCOUNTS: usize = 100;
const OPENING: i64 = 1_000;

/// A restored bank, as its file says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Restored {
    bank: Books,
    position: Stand,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Books {
    balances: Vec<i64>,
    journal: BTreeMap<u64, Booked>,
}

/// What was asked for, in the words of the acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// As much as there is.
    Latest,
    /// Commits up to and with this time.
    Time(Timestamp),
    /// The first so many commits.
    Sequence(u64),
}

impl Until {
    fn holds(self, ack: &Ack) -> bool {
        match self {
            Self::Latest => true,
            Self::Time(time) => ack.time <= time,
            Self::Sequence(sequence) => ack.seq <= sequence,
        }
    }
}

/// Judges the restore called `name`.
pub(super) fn judge_restore(name: &str, until: Until, journal: &Journal, restored: &Restored) -> Vec<Check> {
    let mut checks = vec![
        Check::new(
            format!("{name}: everything {PROTECTED} is there"),
            protected_is_there(until, journal, restored),
        ),
        Check::new(
            format!("{name}: exactly the first n transfers, each as acknowledged"),
            is_prefix(until, journal, restored),
        ),
        Check::new(format!("{name}: money is conserved"), money(restored)),
    ];
    if until != Until::Latest {
        let verdict = nothing_after(until, journal, restored);
        checks.insert(1, Check::new(format!("{name}: nothing later is there"), verdict));
    }
    checks
}

fn protected_is_there(until: Until, journal: &Journal, restored: &Restored) -> Result<String, String> {
    let promised: Vec<_> = journal.protected().filter(|ack| until.holds(ack)).collect();
    let missing = ids(promised.iter().copied().filter(|ack| !restored.has(ack)));
    match (promised.len(), missing.len()) {
        (0, _) => Err("no transfer was acknowledged at that level: this proves nothing".to_owned()),
        (all, 0) => Ok(format!("{all} transfers")),
        (all, lost) => Err(format!("{lost} of {all} are LOST: {}", some(&missing))),
    }
}

fn nothing_after(until: Until, journal: &Journal, restored: &Restored) -> Result<String, String> {
    let later: Vec<_> = journal.acks.iter().filter(|ack| !until.holds(ack)).collect();
    let there = ids(later.iter().copied().filter(|ack| restored.has(ack)));
    match (later.len(), there.len()) {
        (0, _) => Err("nothing was acknowledged later: this proves nothing".to_owned()),
        (all, 0) => Ok(format!("{all} later transfers left out")),
        (all, found) => Err(format!("{found} of {all} later transfers are there: {}", some(&there))),
    }
}

/// No hole, nothing in another order, nothing invented: the transfers are numbered in the order of the log.
fn is_prefix(until: Until, journal: &Journal, restored: &Restored) -> Result<String, String> {
    let count = restored.bank.journal.len() as u64;
    let dense = restored
        .bank
        .journal
        .iter()
        .zip(1..)
        .all(|((key, booked), number)| *key == number && booked.id == number);
    if !dense {
        return Err(format!("the numbers of its {count} transfers are not 1 to {count}"));
    }
    if restored.position.sequence != count {
        return Err(format!("{count} transfers at sequence {}", restored.position.sequence));
    }
    if let Until::Sequence(wanted) = until
        && wanted != count
    {
        return Err(format!("{count} transfers, asked for {wanted}"));
    }
    // What was asked for and acknowledged at any level is there, unless the copy ended before it.
    let wanted = |ack: &&Ack| if until == Until::Latest { ack.seq <= count } else { until.holds(ack) };
    let missing = ids(journal.acks.iter().filter(wanted).filter(|ack| !restored.has(ack)));
    if !missing.is_empty() {
        return Err(format!("{} acknowledged transfers are missing: {}", missing.len(), some(&missing)));
    }
    let beyond = ids(journal.acks.iter().filter(|ack| ack.seq > count && restored.has(ack)));
    if !beyond.is_empty() {
        return Err(format!("transfers from after sequence {count} are there: {}", some(&beyond)));
    }
    let other =
        |ack: &&Ack| restored.bank.journal.get(&ack.transfer.id).is_some_and(|found| *found != ack.transfer);
    let changed = ids(journal.acks.iter().filter(other));
    if changed.is_empty() {
        Ok(format!("n = {count}"))
    } else {
        Err(format!("not as acknowledged: {}", some(&changed)))
    }
}

fn money(restored: &Restored) -> Result<String, String> {
    let Books { balances, journal } = &restored.bank;
    let (expected, found) = (ACCOUNTS as i64 * OPENING, balances.iter().sum::<i64>());
    if balances.len() != ACCOUNTS || found != expected {
        return Err(format!("{found} in {} accounts, expected {expected} in {ACCOUNTS}", balances.len()));
    }
    let mut recounted = vec![OPENING; ACCOUNTS];
    for Booked { id, from, to, amount } in journal.values() {
        let known = *from < ACCOUNTS && *to < ACCOUNTS;
        if !known {
            return Err(format!("transfer {id} is between accounts that do not exist"));
        }
        recounted[*from] -= amount;
        recounted[*to] += amount;
    }
    let wrong = recounted.iter().zip(balances).filter(|(recounted, found)| recounted != found).count();
    if wrong == 0 {
        Ok(format!("{found} in {ACCOUNTS} accounts"))
    } else {
        Err(format!("{wrong} balances do not follow from the transfers"))
    }
}

/// Holds what kill number `kill`, at `killed_at`, has lost against what every report before it had said.
///
/// For each report: its window plus the time since it is at least the age, at the kill, of the oldest acknowledgement that
/// was lost; and its commits at risk plus what was acknowledged since are at least as many as were lost.
pub(super) fn judge_loss(
    kill: usize,
    journal: &Journal,
    latest: &Restored,
    killed_at: Timestamp,
) -> (Vec<Check>, Option<Loss>) {
    let lost: Vec<_> = journal.acks.iter().filter(|ack| !latest.has(ack)).collect();
    let true_loss = lost.iter().map(|ack| killed_at.since(ack.told)).max().unwrap_or_default();
    let since = |taken: Timestamp| journal.acks.iter().filter(|ack| ack.told >= taken).count();
    let reports: Vec<_> = journal.reports.iter().filter(|report| report.taken_at <= killed_at).collect();
    let name = |what: &str| format!("kill {kill}: {what}");
    let (time, count) = (
        name("no report said less time than was lost"),
        name("no report said fewer transfers than were lost"),
    );
    let Some(last) = reports.last() else {
        let nothing = || Err("there was no report before the kill: this proves nothing".to_owned());
        return (vec![Check::new(time, nothing()), Check::new(count, nothing())], None);
    };
    // Before it knows anything, a report may say so; the last one must say a number.
    let silent = reports.iter().filter(|report| window(report).is_none()).count();
    let held = |wrong: Option<String>, unsaid: &str| {
        wrong.map_or_else(|| Ok(format!("{} reports{unsaid}", reports.len())), Err)
    };
    let said_less = match window(last) {
        None => Some(format!("the last report, of {}, said unknown: this proves nothing", last.taken_at)),
        Some(_) => reports.iter().find_map(|report| enough_time(report, killed_at, true_loss).err()),
    };
    let unsaid =
        if silent == 0 { String::new() } else { format!(", {silent} of them early and without a number") };
    let enough = |report: &&Said| enough_commits(report, since(report.taken_at), lost.len());
    let said_fewer = reports.iter().find_map(|report| enough(report).err());
    let checks = vec![Check::new(time, held(said_less, &unsaid)), Check::new(count, held(said_fewer, ""))];
    let loss = Loss {
        kill,
        acknowledged: journal.acks.len(),
        acknowledged_protected: journal.protected().count(),
        lost: lost.len(),
        lost_seconds: true_loss.as_secs_f64(),
        report_age_seconds: killed_at.since(last.taken_at).as_secs_f64(),
        window_seconds: window(last).map(|window| window.as_secs_f64()),
        commits_at_risk: last.commits_at_risk,
        acknowledged_since: since(last.taken_at),
        reports: reports.len(),
        declared: last.declared,
    };
    (checks, Some(loss))
}

/// Judges a bank that went on after another: it begins with everything that was promised, up to commit `promised`, as a
/// newer writer, and what it books follows without a gap.
pub(super) fn judge_succession(journal: &Journal, promised: u64) -> Result<String, String> {
    let opened = journal.opened.as_ref().ok_or("it never opened")?;
    let begins = opened.position.sequence;
    if opened.epoch < 2 {
        return Err(format!("it writes as epoch {}, as the dead one did", opened.epoch));
    }
    if begins < promised {
        return Err(format!("it began after commit {begins}, {promised} were protected"));
    }
    let first = journal.acks.iter().map(|ack| ack.seq).min();
    match first {
        Some(first) if first == begins + 1 => Ok(format!(
            "epoch {}, from commit {begins} on: {} more transfers",
            opened.epoch,
            journal.acks.len()
        )),
        Some(first) => Err(format!("it began after commit {begins} and its first is {first}")),
        None => Err("it booked nothing".to_owned()),
    }
}

/// What a report claims as the most that would be lost when it was taken; none if it claims nothing.
fn window(report: &Said) -> Option<Duration> {
    match report.window {
        Window::None => Some(Duration::ZERO),
        Window::Age(age) => Some(age.get()),
        Window::Unknown { bound } => bound.map(|bound| bound.get()),
    }
}

fn enough_time(report: &Said, killed_at: Timestamp, true_loss: Duration) -> Result<(), String> {
    let taken_at = report.taken_at;
    let Some(window) = window(report) else { return Ok(()) }; // it claims nothing
    let since = killed_at.since(taken_at);
    if window + since >= true_loss {
        return Ok(());
    }
    Err(format!("the report of {taken_at} said {window:?}, {since:?} passed, and {true_loss:?} were lost"))
}

fn enough_commits(report: &Said, since: usize, lost: usize) -> Result<(), String> {
    let taken_at = report.taken_at;
    let at_risk = report.commits_at_risk;
    let at_risk = at_risk.ok_or_else(|| format!("the report of {taken_at} did not say how many"))?;
    if at_risk + since as u64 >= lost as u64 {
        return Ok(());
    }
    Err(format!(
        "the report of {taken_at} said {at_risk}, {since} were acknowledged since, and {lost} were lost"
    ))
}

impl Restored {
    fn has(&self, ack: &Ack) -> bool {
        self.bank.journal.contains_key(&ack.transfer.id)
    }
}

fn ids<'a>(acks: impl Iterator<Item = &'a Ack>) -> BTreeSet<u64> {
    acks.map(|ack| ack.transfer.id).collect()
}

/// The first few, for people.
fn some(ids: &BTreeSet<u64>) -> String {
    let shown: Vec<_> = ids.iter().take(5).map(|id| format!("transfer {id}")).collect();
    let more = ids.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
