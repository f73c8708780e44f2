//! From what was asked for to a commit boundary: reads the log from the nearest checkpoint before it.

use futures::TryStreamExt as _;
use rpo_core::target::{Bound, RestorePoint, Target};
use rpo_core::{Commit, LogEntry, Lsn, MarkerKind, PointName, Position, Sequence, Timestamp};

use crate::catalogue::{Base, Coverage, History};
use crate::plan::{Located, shown};
use crate::{Catalogue, RecoveryError, Refusal};

/// Finds `target` in the catalogue, reading from `history` what is needed to know the exact commit boundary.
///
/// Inclusive and exclusive: a *time* includes or excludes the commits of exactly that time; a *sequence* n is the first n
/// or the first n − 1 commits; an *LSN* is the commits that end at or before it, or before it; a *transaction* includes or
/// excludes its commit; for a checkpoint and a name both are the same.
///
/// # Errors
/// [`Refusal`] if it cannot be restored, with the nearest points that can; or the archive could not be read.
pub async fn locate(
    catalogue: &Catalogue,
    history: &dyn History,
    target: &Target,
    bound: Bound,
) -> Result<Located, RecoveryError> {
    let search = Search { catalogue, history, text: shown(target, bound) };
    match target {
        Target::Checkpoint(id) => Ok(Located::Checkpoint(id.clone())),
        Target::Latest if !catalogue.has_log() => search.newest_checkpoint(|_| true, "there is no checkpoint"),
        Target::Latest => search.latest().await,
        Target::Time(time) if !catalogue.has_log() => {
            let fits = |finished: Timestamp| finished < *time || (bound == Bound::Inclusive && finished == *time);
            search.newest_checkpoint(fits, "no checkpoint was complete by then").map_err(|error| match error {
                RecoveryError::Refused(refusal) => catalogue.refuse_time(&search.text, refusal.reason, *time).into(),
                other => other,
            })
        }
        Target::Time(time) => search.time(*time, bound).await,
        Target::Sequence(sequence) => search.sequence(sequence.get(), bound).await,
        Target::Lsn(lsn) => search.lsn(*lsn, bound).await,
        Target::Transaction(id) => {
            let wanted = *id;
            search.commit(|commit| commit.transaction == Some(wanted), bound).await
        }
        Target::Named(name) => search.named(name).await,
    }
}

/// Every name given to a moment in the archived log, oldest first.
///
/// # Errors
/// The archive could not be read.
pub async fn named_points(catalogue: &Catalogue, history: &dyn History) -> Result<Vec<RestorePoint>, RecoveryError> {
    let mut points = Vec::new();
    for stretch in catalogue.coverage() {
        let mut entries = history.entries(stretch.from.lsn, stretch.to.lsn).await?;
        while let Some(entry) = entries.try_next().await? {
            if let LogEntry::Marker(marker) = &entry
                && let MarkerKind::RestorePoint(name) = &marker.kind
            {
                points.push(RestorePoint::at(marker.time, Some(marker.position())).named(name.clone()));
            }
        }
    }
    Ok(points)
}

struct Search<'a> {
    catalogue: &'a Catalogue,
    history: &'a dyn History,
    text: String,
}

impl Search<'_> {
    fn refuse(&self, reason: impl Into<String>, lsn: Option<Lsn>) -> RecoveryError {
        self.catalogue.refuse(&self.text, reason.into(), lsn).into()
    }

    fn newest_checkpoint(&self, fits: impl Fn(Timestamp) -> bool, none: &str) -> Result<Located, RecoveryError> {
        let newest = self.catalogue.bases().iter().filter(|base| fits(base.finished)).max_by_key(|base| base.finished);
        newest.map(|base| Located::Checkpoint(base.id.clone())).ok_or_else(|| self.refuse(none, None))
    }

    /// The end of the newest restorable stretch.
    async fn latest(&self) -> Result<Located, RecoveryError> {
        let newest = self.catalogue.restorable().pop();
        let newest = newest.ok_or_else(|| self.refuse("the log connects to no checkpoint and not to its beginning", None))?;
        Ok(boundary(newest.to, newest.last_time))
    }

    /// The last commit at or before `time`; the log must prove that nothing else came before it.
    async fn time(&self, time: Timestamp, bound: Bound) -> Result<Located, RecoveryError> {
        let stretches = self.catalogue.restorable();
        let Some(stretch) = stretches.iter().rfind(|s| s.first_time <= time) else {
            return Err(self.refuse_time("it is before everything that is kept", time));
        };
        if time > stretch.last_time {
            let is_newest = stretches.last().is_some_and(|last| last == stretch);
            let reason = if is_newest { "it is past the end of what the copy holds" } else { "it is inside a gap of the log" };
            return Err(self.refuse_time(reason, time));
        }
        let before = |at: Timestamp| at < time || (bound == Bound::Inclusive && at == time);
        let start = self.start(stretch, |base| before(base.finished));
        self.last_while(start, stretch, |entry| before(entry.time())).await
    }

    /// Where to begin to look in `stretch`: at its newest base that `fits`, else at its beginning.
    fn start(&self, stretch: &Coverage, fits: impl Fn(&Base) -> bool) -> RestorePoint {
        let within = |base: &&Base| {
            base.position.is_some_and(|p| p.lsn >= stretch.from.lsn && p.lsn <= stretch.to.lsn) && fits(base)
        };
        match self.catalogue.bases().iter().rfind(within) {
            Some(base) => RestorePoint::at(base.finished, base.position),
            None => RestorePoint::at(stretch.first_time, Some(stretch.from)),
        }
    }

    /// The last entry after `start` of which, and of all before it, `holds` is true; else `start` itself.
    async fn last_while(
        &self,
        start: RestorePoint,
        stretch: &Coverage,
        holds: impl Fn(&LogEntry) -> bool,
    ) -> Result<Located, RecoveryError> {
        let from = start.position.map_or(stretch.from.lsn, |p| p.lsn);
        let mut found = start;
        let mut entries = self.history.entries(from, stretch.to.lsn).await?;
        while let Some(entry) = entries.try_next().await? {
            if !holds(&entry) {
                break;
            }
            found = RestorePoint::at(entry.time(), Some(entry.position()));
        }
        Ok(Located::Boundary(found))
    }

    fn refuse_time(&self, reason: &str, time: Timestamp) -> RecoveryError {
        let refusal: Refusal = self.catalogue.refuse_time(&self.text, reason.to_owned(), time);
        refusal.into()
    }

    /// The position after exactly `count` commits (or one less).
    async fn sequence(&self, count: u64, bound: Bound) -> Result<Located, RecoveryError> {
        let wanted = match bound {
            Bound::Inclusive => Some(count),
            Bound::Exclusive => count.checked_sub(1),
        };
        let wanted = wanted.ok_or_else(|| self.refuse("there is nothing before the first commit", None))?;
        let count_of = |position: Option<Position>| position.and_then(|p| p.sequence).map(Sequence::get);
        for stretch in self.catalogue.restorable().into_iter().rev() {
            let (from, to) = (count_of(Some(stretch.from)), count_of(Some(stretch.to)));
            if !from.zip(to).is_some_and(|(from, to)| (from..=to).contains(&wanted)) {
                continue;
            }
            let start = self.start(&stretch, |base| count_of(base.position).is_some_and(|count| count <= wanted));
            if count_of(start.position) == Some(wanted) {
                return Ok(Located::Boundary(start));
            }
            let from = start.position.map_or(stretch.from.lsn, |p| p.lsn);
            let mut entries = self.history.entries(from, stretch.to.lsn).await?;
            while let Some(entry) = entries.try_next().await? {
                if let LogEntry::Commit(commit) = &entry
                    && commit.sequence.get() == wanted
                {
                    return Ok(boundary(commit.position(), commit.time));
                }
            }
        }
        let newest = self.catalogue.restorable().last().and_then(|s| s.to.sequence);
        Err(match newest {
            Some(newest) if newest.get() < wanted => self.refuse(format!("only {newest} commits are in this copy"), None),
            _ => self.refuse("it is not in a stretch that can be restored", None),
        })
    }

    /// The last commit boundary at or before `lsn`.
    async fn lsn(&self, lsn: Lsn, bound: Bound) -> Result<Located, RecoveryError> {
        let fits = |end: Lsn| end < lsn || (bound == Bound::Inclusive && end == lsn);
        let stretches = self.catalogue.restorable();
        let stretch = stretches.iter().find(|s| fits(s.from.lsn) && lsn <= s.to.lsn);
        let stretch = stretch.ok_or_else(|| self.refuse("it is not in a stretch of the log that can be restored", Some(lsn)))?;
        let start = self.start(stretch, |base| base.position.is_some_and(|p| fits(p.lsn)));
        self.last_while(start, stretch, |entry| fits(entry.position().lsn)).await
    }

    /// The last commit that `is_it`, or the boundary before it.
    async fn commit(&self, is_it: impl Fn(&Commit) -> bool, bound: Bound) -> Result<Located, RecoveryError> {
        for stretch in self.catalogue.restorable().into_iter().rev() {
            let mut before = RestorePoint::at(stretch.first_time, Some(stretch.from));
            let mut entries = self.history.entries(stretch.from.lsn, stretch.to.lsn).await?;
            while let Some(entry) = entries.try_next().await? {
                let after = RestorePoint::at(entry.time(), Some(entry.position()));
                if let LogEntry::Commit(commit) = &entry
                    && is_it(commit)
                {
                    return Ok(Located::Boundary(if bound == Bound::Inclusive { after } else { before }));
                }
                before = after;
            }
        }
        Err(self.refuse("no commit in a stretch that can be restored carries that transaction id", None))
    }

    /// The newest moment of that name.
    async fn named(&self, name: &PointName) -> Result<Located, RecoveryError> {
        if let Some(base) = self.catalogue.bases().iter().rfind(|base| base.names.contains(name)) {
            return Ok(Located::Checkpoint(base.id.clone()));
        }
        let points = named_points(self.catalogue, self.history).await?;
        let Some(found) = points.iter().rfind(|p| p.name.as_ref() == Some(name)) else {
            let bases = self.catalogue.bases().iter().flat_map(|base| &base.names);
            let known: Vec<_> = points.iter().filter_map(|p| p.name.as_ref()).chain(bases).map(PointName::as_str).collect();
            let known = if known.is_empty() { "no moment was named".to_owned() } else { format!("named were: {}", known.join(", ")) };
            return Err(self.refuse(known, None));
        };
        Ok(Located::Boundary(found.clone()))
    }
}

fn boundary(position: Position, time: Timestamp) -> Located {
    Located::Boundary(RestorePoint::at(time, Some(position)))
}
