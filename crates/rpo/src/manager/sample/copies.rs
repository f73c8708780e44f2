//! Looking at the copies: which checkpoint each holds whole, and how it is doing.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use rpo_core::event::EventKind;
use rpo_core::objective::Domain;
use rpo_core::window::{self, CheckpointCopy, LogRun, Moment};
use rpo_core::{CopyName, ErrorKind};
use rpo_core::{Lsn, Position, SourceId};
use rpo_replication::{CopyState, Health, Role};
use rpo_repository::layout;

use super::super::member::Member;
use super::super::system::{Seen, System};
use super::super::{Shared, lock};
use crate::report::CopyReport;

impl Shared {
    fn survives(&self, member: &Member) -> Vec<Domain> {
        let all = [Domain::Process, Domain::Machine, Domain::Region, Domain::Operator];
        all.into_iter().filter(|domain| self.here.outlives(&member.domain, *domain)).collect()
    }

    pub(super) fn survivors(&self, domain: Domain) -> Vec<CopyName> {
        let all = self.members.iter().filter(|member| self.here.outlives(&member.domain, domain));
        all.map(|member| member.name.clone()).collect()
    }

    pub(super) fn is_declared(&self, by: &[CopyName]) -> bool {
        let mut all = self.members.iter().filter(|member| by.contains(&member.name));
        !by.is_empty() && all.all(|member| member.is_declared())
    }

    /// Asks every copy for the manifest of the newest checkpoint: it is written last. What the last audit found missing
    /// is taken off.
    pub(super) async fn look_at_copies(&self, system: &System) -> Vec<CheckpointCopy> {
        // At the same time: one that does not answer keeps nobody from hearing the others. Boxed, for any thread.
        let looks = self.members.iter().enumerate();
        let looks: Vec<_> =
            looks.map(|(number, member)| self.look_at(system, number, member).boxed()).collect();
        join_all(looks).await;
        let state = lock(&system.state);
        let opened = self.members.iter().enumerate().filter(|(_, member)| member.absent().is_none());
        opened
            .map(|(number, member)| {
                let seen = state.seen.get(&number);
                CheckpointCopy {
                    name: member.name.clone(),
                    survives: self.survives(member),
                    newest: counted(member, &system.name, seen),
                    proven_at: seen.and_then(|seen| seen.at),
                }
            })
            .collect()
    }

    /// What a copy had and answers not to have is lost at once; what was seen in one that does not answer stands, and ages.
    async fn look_at(&self, system: &System, number: usize, member: &Member) {
        let Some(copy) = member.opened() else { return };
        let (newest, before) = {
            let state = lock(&system.state);
            (state.newest, state.seen.get(&number).cloned().unwrap_or_default())
        };
        let whole = member.audited().and_then(|audited| audited.newest(&system.name));
        let at_home = newest.filter(|_| member.role == Role::Home);
        let had = [before.newest, before.lost, whole, at_home].into_iter().flatten().max();
        let mut candidates: Vec<u64> =
            [newest, before.newest, before.lost, whole].into_iter().flatten().collect();
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        candidates.dedup();
        let mut seen =
            (!candidates.is_empty()).then(|| Seen { at: Some(self.now()), lost: had, ..Seen::default() });
        for candidate in candidates {
            let at = self.now();
            let key = layout::checkpoint(&system.name, candidate);
            let asked = copy.repository.storage().stat(&key);
            let trouble = match tokio::time::timeout(self.patience(), asked).await {
                Ok(Ok(_)) => {
                    let lost = had.filter(|had| *had > candidate);
                    seen = Some(Seen { newest: Some(candidate), at: Some(at), lost, trouble: None });
                    break;
                }
                Ok(Err(error)) if error.kind() == ErrorKind::NotFound => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            seen = Some(Seen { trouble: Some(trouble), ..before.clone() });
            break;
        }
        let Some(mut seen) = seen else { return };
        if seen.newest.is_none() && seen.lost.is_none() && seen.trouble.is_none() {
            seen.at = before.at; // it never had any
        }
        self.note_loss(system, member, &before, &seen);
        lock(&system.state).seen.insert(number, seen);
    }

    /// Tells of what is new, and has the copy looked through where that changes what counts in it.
    fn note_loss(&self, system: &System, member: &Member, before: &Seen, seen: &Seen) {
        if let Some(lost) = seen.lost.filter(|_| seen.lost != before.lost) {
            let reason = missing(&system.name, lost, seen.newest);
            tracing::error!(copy = %member.name, system = %system.name, %reason, "this copy has lost what it had");
            let kind = EventKind::ReplicationValidationFailed { copy: member.name.clone(), reason };
            self.teller.tell(Some(&system.name), kind);
            member.alarm();
        }
        // In a damaged copy a checkpoint counts once it was looked at.
        if seen.newest > before.newest && member.audited().is_some_and(|audited| !audited.is_sound()) {
            member.alarm();
        }
    }

    /// How long a copy may take to answer a question about evidence.
    fn patience(&self) -> Duration {
        self.parts.sample_every.clamp(Duration::from_secs(1), Duration::from_secs(10))
    }

    /// What is said of each copy of a system without a log.
    pub(super) fn copy_reports(&self, system: &System, now: Moment) -> Vec<CopyReport> {
        let state = lock(&system.state);
        let report = |(number, member): (usize, &std::sync::Arc<Member>)| {
            let seen = state.seen.get(&number).filter(|_| member.absent().is_none());
            CopyReport {
                name: member.name.clone(),
                role: member.role.to_string(),
                health: health(member, &system.name, seen),
                log: None,
                lag_bytes: None,
                lag_commits: None,
                checkpoint: counted(member, &system.name, seen),
                evidence_age: seen.and_then(|seen| seen.at).map(|at| now.since(at).into()),
            }
        };
        self.members.iter().enumerate().map(report).collect()
    }

    /// What is said of the copies that a log is not shipped to: they were absent when it began.
    pub(super) fn not_shipped(&self, states: &[CopyState]) -> impl Iterator<Item = CopyReport> {
        let others =
            self.members.iter().filter(|member| states.iter().all(|state| state.name != member.name));
        others.map(|member| CopyReport {
            name: member.name.clone(),
            role: member.role.to_string(),
            health: member.absent().map_or_else(
                || {
                    "failing: it is back, and the log is shipped there only after a restart of this program"
                        .to_owned()
                },
                |why| format!("failing: {why}"),
            ),
            log: None,
            lag_bytes: None,
            lag_commits: None,
            checkpoint: None,
            evidence_age: None,
        })
    }

    /// How a copy that a log is shipped to is doing.
    pub(super) fn log_health(&self, system: &System, state: &CopyState) -> String {
        let member = self.members.iter().find(|member| member.name == state.name);
        let damage = member.and_then(|member| member.audited()?.damage(&system.name));
        damage.unwrap_or_else(|| match &state.log.health {
            Health::Unknown => "not heard of yet".to_owned(),
            Health::Good => "good".to_owned(),
            Health::Failing { error, .. } => format!("failing: {error}"),
            Health::Paused => "paused".to_owned(),
            Health::Fenced => "fenced".to_owned(),
        })
    }

    /// What a copy holds of the log, in the words of the window's arithmetic.
    pub(super) fn held_by(&self, state: &CopyState) -> Option<window::CopyState> {
        let member = self.members.iter().find(|member| member.name == state.name)?;
        let run = state.log.position.map(|to| LogRun { from: Lsn::ZERO, to });
        Some(window::CopyState {
            name: state.name.clone(),
            survives: self.survives(member),
            bases: vec![Position::START],
            log: run.into_iter().collect(),
            proven_at: state.log.evidence.map(|e| Moment::new(e.wall, e.steady)),
        })
    }
}

/// The newest checkpoint that counts as whole: nothing before a copy was looked through, no more than that left.
fn counted(member: &Member, source: &SourceId, seen: Option<&Seen>) -> Option<u64> {
    member.audited()?.counts(source, seen?.newest)
}

/// What is said of a copy that answers not to have what it had.
fn missing(source: &SourceId, lost: u64, left: Option<u64>) -> String {
    let left = left.map_or_else(String::new, |left| format!("; {source}@{left} is"));
    format!("missing: {source}@{lost} was there and is not any more{left}")
}

/// `good`, or what is wrong: the worst first.
fn health(member: &Member, source: &SourceId, seen: Option<&Seen>) -> String {
    let audited = member.audited();
    if let Some(why) = member.absent() {
        return format!("failing: {why}");
    }
    if let Some(seen) = seen
        && let Some(lost) = seen.lost
    {
        return missing(source, lost, seen.newest);
    }
    if let Some(damage) = audited.as_ref().and_then(|audited| audited.damage(source)) {
        return damage;
    }
    if let Some(trouble) = seen.and_then(|seen| seen.trouble.clone()).or_else(|| member.audit_trouble()) {
        return format!("failing: {trouble}");
    }
    let heard = audited.is_some() && seen.is_some_and(|seen| seen.at.is_some());
    if heard { "good" } else { "not heard of yet" }.to_owned()
}
