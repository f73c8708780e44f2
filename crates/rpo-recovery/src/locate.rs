//! From what was asked for to a commit boundary: reads the log from the nearest checkpoint before it.

use futures::TryStreamExt as _;
use rpo_core::target::{Bound, RestorePoint, Target};
use rpo_core::{Commit, LogEntry, Lsn, MarkerKind, PointName, Position, Sequence, Timestamp};

use crate::catalogue::{Base, Coverage, History};
use crate::plan::{Located, shown};
use crate::{Catalogue, RecoveryError, Refusal};

/// Finds `target` in the catalogue, reading from `history` what is needed to know the exact commit boundary.
///
/// Inclusive and exclusive: a *time* includes or excludes the commits of exactly that time (should a new writer's clock
/// have been behind the old one's, it ends before the first commit that is too late); a *sequence* n is the first n
/// or the first n − 1 commits; an *LSN* is the commits that end at or before it, or before it; a *transaction* includes or
/// excludes its commit; for a checkpoint and a name both are the same; `latest` names no commit, so there is nothing
/// that could be excluded: that is refused.
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
        Target::Latest if bound == Bound::Exclusive => Err(search.refuse(
            "latest names no commit that could be left out: name a time, a sequence, an LSN or a transaction",
            None,
        )),
        Target::Latest if !catalogue.has_log() => search.newest_state(),
        Target::Latest => search.latest(),
        Target::Time(time) if !catalogue.has_log() => {
            let fits =
                |finished: Timestamp| finished < *time || (bound == Bound::Inclusive && finished == *time);
            let complete = catalogue.bases().iter().filter(|base| fits(base.finished));
            let newest = complete.max_by_key(|base| (base.finished, base.state, base.id.number));
            let none = || search.refuse_time("no checkpoint was complete by then", *time);
            newest.map(|base| Located::Checkpoint(base.id.clone())).ok_or_else(none)
        }
        Target::Time(time) => search.time(*time, bound).await,
        Target::Sequence(_) | Target::Lsn(_) | Target::Transaction(_) if !catalogue.has_log() => {
            Err(search.refuse("it has no log: ask for a checkpoint, a time, a tag or latest", None))
        }
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
pub async fn named_points(
    catalogue: &Catalogue,
    history: &dyn History,
) -> Result<Vec<RestorePoint>, RecoveryError> {
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

/// How many names of moments a refusal tells.
const NAMES_MAX: usize = 20;

struct Search<'a> {
    catalogue: &'a Catalogue,
    history: &'a dyn History,
    text: String,
}

impl Search<'_> {
    fn refuse(&self, reason: impl Into<String>, lsn: Option<Lsn>) -> RecoveryError {
        self.catalogue.refuse(&self.text, reason.into(), lsn).into()
    }

    fn refuse_time(&self, reason: &str, time: Timestamp) -> RecoveryError {
        let refusal: Refusal = self.catalogue.refuse_time(&self.text, reason.to_owned(), time);
        refusal.into()
    }

    /// The checkpoint with the newest state: the wall clock does not decide that.
    fn newest_state(&self) -> Result<Located, RecoveryError> {
        let newest = self.catalogue.bases().iter().max_by_key(|base| (base.state, base.id.number));
        let none = || self.refuse("there is no checkpoint", None);
        newest.map(|base| Located::Checkpoint(base.id.clone())).ok_or_else(none)
    }

    /// The end of the newest restorable stretch, or a checkpoint that the log does not reach.
    fn latest(&self) -> Result<Located, RecoveryError> {
        let stretch = self.catalogue.restorable().pop();
        let placed = self.catalogue.bases().iter().filter(|base| base.position.is_some());
        let base = placed.max_by_key(|base| base.position.map(|p| p.lsn));
        match (stretch, base) {
            (Some(stretch), Some(base)) if base.position.is_some_and(|p| p.lsn > stretch.to.lsn) => {
                Ok(Located::Checkpoint(base.id.clone()))
            }
            (Some(stretch), _) => Ok(boundary(stretch.to, stretch.last_time)),
            (None, Some(base)) => Ok(Located::Checkpoint(base.id.clone())),
            (None, None) => {
                Err(self.refuse("the log connects to no checkpoint and not to its beginning", None))
            }
        }
    }

    /// The last commit at or before `time`. Only the log proves which that is: a writer's commit times never decrease,
    /// while the wall clock that stamped checkpoints may have stepped.
    async fn time(&self, time: Timestamp, bound: Bound) -> Result<Located, RecoveryError> {
        let before = |at: Timestamp| at < time || (includes(bound) && at == time);
        let stretches = self.catalogue.coverage();
        let Some(index) = stretches.iter().rposition(|stretch| before(stretch.first_time)) else {
            return match stretches.first() {
                // The log begins with the stream: nothing came before its first entry.
                Some(first) if first.from.lsn == Lsn::ZERO && first.first_time == time => {
                    Ok(boundary(first.from, first.first_time))
                }
                Some(_) => Err(self.refuse_time("it is before everything that is kept", time)),
                None => Err(self.refuse_time("no log of it is in this copy", time)),
            };
        };
        let stretch = &stretches[index];
        let is_newest = index + 1 == stretches.len();
        if is_newest && time > stretch.last_time {
            return Err(self.refuse_time("it is past the end of what the copy holds", time));
        }
        let start = self.start_by_time(stretch, before).await?;
        let found = self.last_while(start, stretch, |entry| before(entry.time())).await?;
        if !is_newest && found.position.is_some_and(|p| p.lsn >= stretch.to.lsn) {
            let gap = self.catalogue.gap_text(stretch.to, stretches[index + 1].from);
            return Err(self.refuse_time(&format!("it is inside {gap}"), time));
        }
        Ok(Located::Boundary(found))
    }

    /// Where to begin to look for a time: the newest checkpoint of which the entry after it proves that it is not past
    /// the target, else the beginning of the stretch.
    async fn start_by_time(
        &self,
        stretch: &Coverage,
        before: impl Fn(Timestamp) -> bool,
    ) -> Result<RestorePoint, RecoveryError> {
        let inside =
            |base: &&Base| base.position.is_some_and(|p| p.lsn > stretch.from.lsn && p.lsn < stretch.to.lsn);
        for base in self.catalogue.bases().iter().rev().filter(inside).filter(|base| before(base.finished)) {
            let Some(position) = base.position else { continue };
            let next = self.history.entries(position.lsn, stretch.to.lsn).await?.try_next().await?;
            let Some(next) = next.filter(|next| before(next.time())) else { continue };
            // Within an epoch nothing before it is later; another writer's clock may have been ahead.
            let others = self.catalogue.ranges().iter().filter(|range| range.epoch < next.position().epoch);
            if others.map(|range| range.last_time).all(&before) {
                return Ok(RestorePoint::at(next.time(), Some(position)));
            }
        }
        Ok(RestorePoint::at(stretch.first_time, Some(stretch.from)))
    }

    /// Where to begin to look in `stretch`: at its newest base that `fits`, else at its beginning.
    fn start(&self, stretch: &Coverage, fits: impl Fn(Position) -> bool) -> RestorePoint {
        let inside = |p: Position| p.lsn >= stretch.from.lsn && p.lsn <= stretch.to.lsn;
        let within = |base: &&Base| base.position.is_some_and(|p| inside(p) && fits(p));
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
    ) -> Result<RestorePoint, RecoveryError> {
        let from = start.position.map_or(stretch.from.lsn, |p| p.lsn);
        let mut found = start;
        let mut entries = self.history.entries(from, stretch.to.lsn).await?;
        while let Some(entry) = entries.try_next().await? {
            if !holds(&entry) {
                break;
            }
            found = RestorePoint::at(entry.time(), Some(entry.position()));
        }
        Ok(found)
    }

    /// The position after exactly `count` commits (or one less).
    async fn sequence(&self, count: u64, bound: Bound) -> Result<Located, RecoveryError> {
        let wanted = if bound == Bound::Inclusive { Some(count) } else { count.checked_sub(1) };
        let wanted =
            wanted.ok_or_else(|| self.refuse("there is nothing before the first commit", Some(Lsn::ZERO)))?;
        let count_of = |position: Position| position.sequence.map(Sequence::get);
        for stretch in self.catalogue.coverage().iter().rev() {
            if !count_of(stretch.from)
                .zip(count_of(stretch.to))
                .is_some_and(|(a, b)| (a..=b).contains(&wanted))
            {
                continue;
            }
            let start = self.start(stretch, |at| count_of(at).is_some_and(|count| count <= wanted));
            if start.position.and_then(count_of) == Some(wanted) {
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
        if let Some(base) = self.base_where(|at| count_of(at) == Some(wanted)) {
            return Ok(Located::Checkpoint(base.id.clone()));
        }
        let end = self.catalogue.end().and_then(|end| end.sequence);
        let reason = match end.filter(|end| end.get() < wanted) {
            Some(end) => format!("only {end} commits are in this copy"),
            None => self.outside(|at| count_of(at).is_some_and(|count| count <= wanted)),
        };
        let is_before = |p: &RestorePoint| p.position.and_then(count_of).is_some_and(|count| count <= wanted);
        Err(self.catalogue.refuse_between(&self.text, reason, is_before).into())
    }

    /// The last commit boundary at or before `lsn`.
    async fn lsn(&self, lsn: Lsn, bound: Bound) -> Result<Located, RecoveryError> {
        let fits = |end: Lsn| end < lsn || (bound == Bound::Inclusive && end == lsn);
        let stretches = self.catalogue.coverage();
        if let Some(stretch) = stretches.iter().find(|s| fits(s.from.lsn) && lsn <= s.to.lsn) {
            let start = self.start(stretch, |at| fits(at.lsn));
            let found = self.last_while(start, stretch, |entry| fits(entry.position().lsn)).await?;
            return Ok(Located::Boundary(found));
        }
        match self.base_where(|at| at.lsn == lsn && fits(at.lsn)) {
            Some(base) => Ok(Located::Checkpoint(base.id.clone())),
            None => Err(self.refuse(self.outside(|at| at.lsn <= lsn), Some(lsn))),
        }
    }

    fn base_where(&self, is_it: impl Fn(Position) -> bool) -> Option<&Base> {
        self.catalogue.bases().iter().rfind(|base| base.position.is_some_and(&is_it))
    }

    /// Why no stretch of the log holds a place; `is_before` tells the positions before it.
    fn outside(&self, is_before: impl Fn(Position) -> bool) -> String {
        let gap = self.catalogue.gaps().into_iter().find(|(from, to)| is_before(*from) && !is_before(*to));
        match (gap, self.catalogue.end()) {
            (Some((from, to)), _) => format!("it is inside {}", self.catalogue.gap_text(from, to)),
            (None, Some(end)) if is_before(end) => {
                format!("it is past the end of what the copy holds, {end}")
            }
            _ => "it is in no stretch of the log that is kept".to_owned(),
        }
    }

    /// The last commit that `is_it`, or the boundary before it.
    async fn commit(&self, is_it: impl Fn(&Commit) -> bool, bound: Bound) -> Result<Located, RecoveryError> {
        for stretch in self.catalogue.coverage().into_iter().rev() {
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
        let mut reason = "no commit in this copy carries that transaction id".to_owned();
        for (from, to) in self.catalogue.gaps() {
            reason.push_str(&format!("; it may be inside {}", self.catalogue.gap_text(from, to)));
        }
        Err(self.refuse(reason, None))
    }

    /// The newest moment of that name.
    async fn named(&self, name: &PointName) -> Result<Located, RecoveryError> {
        if let Some(base) = self.catalogue.bases().iter().rfind(|base| base.names.contains(name)) {
            return Ok(Located::Checkpoint(base.id.clone()));
        }
        let points = named_points(self.catalogue, self.history).await?;
        let Some(found) = points.iter().rfind(|p| p.name.as_ref() == Some(name)) else {
            return Err(self.refuse(self.names(&points), None));
        };
        Ok(Located::Boundary(found.clone()))
    }

    /// Which names there are, the newest first.
    fn names(&self, points: &[RestorePoint]) -> String {
        let bases = self.catalogue.bases().iter().flat_map(|base| &base.names);
        let mut known: Vec<&str> = Vec::new();
        for name in bases.chain(points.iter().filter_map(|p| p.name.as_ref())).map(PointName::as_str).rev() {
            if !known.contains(&name) {
                known.push(name); // a snapshot has the names of its origin
            }
        }
        let named = &known[..known.len().min(NAMES_MAX)];
        match known.len() - named.len() {
            _ if known.is_empty() => "no moment has that name, nor any other".to_owned(),
            0 => format!("no moment has that name; named were: {}", named.join(", ")),
            more => format!("no moment has that name; named were: {}, and {more} more", named.join(", ")),
        }
    }
}

fn boundary(position: Position, time: Timestamp) -> Located {
    Located::Boundary(RestorePoint::at(time, Some(position)))
}

/// Whether a commit of exactly the time asked for is restored.
fn includes(bound: Bound) -> bool {
    #[cfg(feature = "planted-bugs")]
    if crate::planted::is(crate::planted::PlantedBug::TimeLeftOut) {
        return false;
    }
    bound == Bound::Inclusive
}
