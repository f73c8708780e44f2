//! Looking at the copies: which checkpoint each holds whole, and how it is doing.

use std::time::Duration;

use rpo_core::CopyName;
use rpo_core::objective::Domain;
use rpo_core::window::{self, CheckpointCopy, LogRun, Moment};
use rpo_core::{Lsn, Position, SourceId};
use rpo_replication::{CopyState, Health};
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
        for (number, member) in self.members.iter().enumerate() {
            self.look_at(system, number, member).await;
        }
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

    async fn look_at(&self, system: &System, number: usize, member: &Member) {
        let Some(copy) = member.opened() else { return };
        let (newest, known) = {
            let state = lock(&system.state);
            (state.newest, state.seen.get(&number).and_then(|seen| seen.newest))
        };
        let mut learnt = None;
        for candidate in [newest, known].into_iter().flatten() {
            let at = self.now();
            let key = layout::checkpoint(&system.name, candidate);
            let asked = copy.repository.storage().stat(&key);
            match tokio::time::timeout(self.patience(), asked).await {
                Ok(Ok(_)) => {
                    learnt = Some((Some(candidate), Some(at), None));
                    break;
                }
                Ok(Err(error)) if error.kind() == rpo_core::ErrorKind::NotFound => {}
                Ok(Err(error)) => learnt = Some((known, None, Some(error.to_string()))),
                Err(_) => learnt = Some((known, None, Some("no answer in time".to_owned()))),
            }
        }
        let mut state = lock(&system.state);
        let seen = state.seen.entry(number).or_default();
        match learnt {
            Some((newest, at @ Some(_), trouble)) => *seen = Seen { newest, at, trouble },
            Some((_, None, trouble)) => seen.trouble = trouble, // what was seen before stands, and ages
            None => {}
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

/// `good`, or what is wrong: the worst first.
fn health(member: &Member, source: &SourceId, seen: Option<&Seen>) -> String {
    let audited = member.audited();
    if let Some(why) = member.absent() {
        return format!("failing: {why}");
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
