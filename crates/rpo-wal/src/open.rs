//! Opening a log: lock, look, judge, write again what is not proven, then take commits.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rpo_core::frame::EncodedEntry;
use rpo_core::{DiskFile, Epoch, LogId, Lsn, MarkerKind, Position, Timestamp};
use rpo_os::EventCount;

use crate::catalog::Catalog;
use crate::config::WalConfig;
use crate::control::{Control, ControlFile};
use crate::engine::{Counters, Drive, Engine, LogParts, Reached};
use crate::error::WalError;
use crate::feed::Reading;
use crate::flush::{Writer, usable};
use crate::keep::{Keeper, Kept};
use crate::prepare::draw;
use crate::recover::{Findings, Visit, examine};
use crate::report::RecoveryReport;
use crate::scan::Expect;
use crate::segment::{FRAMES_OFFSET, LOCK_NAME, spare_name};
use crate::state::{State, Want};
use crate::survey::{FoundSegment, Spare, Survey, survey};
use crate::sync::{Condvar, Mutex, RwLock, locked};

/// As whom a log is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenAs {
    /// As the writer it had: same epoch. An empty directory begins a log at [`Position::START`].
    Continue,
    /// As a new writer after another one was fenced. The directory is empty, or holds a log that ends exactly at the fork.
    Takeover {
        /// The new epoch.
        epoch: Epoch,
        /// Where the parent's history ends within this one.
        at: Position,
        /// The epoch it takes over from.
        parent: Option<Epoch>,
        /// Commit time of the parent's last commit: nothing is stamped earlier, whatever this machine's clock says.
        not_before: Timestamp,
    },
}

impl OpenAs {
    /// The earliest commit time that may be given out.
    fn floor(self) -> Timestamp {
        match self {
            Self::Continue => Timestamp::from_micros(i64::MIN),
            Self::Takeover { not_before, .. } => not_before,
        }
    }
}

pub(crate) struct Opening<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) config: &'a WalConfig,
    pub(crate) parts: &'a LogParts,
}

/// Opens the log in `dir`; no thread runs yet. `witness` is what the caller knows to have been durable.
pub(crate) fn open(
    dir: &Path,
    config: WalConfig,
    parts: LogParts,
    drive: Drive,
    open_as: OpenAs,
    witness: Lsn,
    visit: Visit<'_>,
) -> Result<(Arc<Engine>, RecoveryReport), WalError> {
    config.validate()?;
    let opening = Opening { dir, config: &config, parts: &parts };
    opening.make_dir()?;
    let lock = parts.disk.lock(&dir.join(LOCK_NAME)).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => WalError::Busy { dir: dir.to_owned() },
        _ => WalError::io("lock", dir, e),
    })?;
    let mut survey = survey(&*parts.disk, dir)?;
    let fresh = match open_as {
        OpenAs::Takeover { epoch, at, .. } => Position { epoch, ..at },
        OpenAs::Continue => Position::START,
    };
    let reading = Reading::best(drive, survey.segments.iter().map(|s| s.prepared.capacity).sum());
    let mut findings = examine(dir, &mut survey, fresh, witness, reading, visit)?;
    let begin = opening.begins_epoch(&survey, &findings, open_as)?;
    opening.remove_junk(&mut survey);
    opening.move_aside(&std::mem::take(&mut findings.replaced));
    let mut spares = opening.usable_spares(&mut survey)?;
    if survey.control.is_none() {
        opening.sync_parent()?;
    }
    opening.sync_dir()?; // a name seen now may have been made just before a crash
    let (log, mut control) = opening.control(&survey, &findings, open_as)?;
    opening.finish_release(&findings.released, &mut control)?;
    #[cfg(feature = "planted-bugs")]
    crate::planted::spoil(&mut findings);
    let (current, repersisted_bytes) = opening.repersist(&mut findings, log, &mut spares)?;
    let end = position(&findings.end);
    let report = RecoveryReport {
        log,
        fresh: findings.live.is_empty(),
        start: findings.start,
        end,
        segments: findings.live.len() as u64,
        frames: findings.frames,
        commits: findings.commits,
        proven: findings.proven,
        repersisted_bytes,
        tail: findings.tail.clone(),
        notes: std::mem::take(&mut survey.notes),
    };
    let floor = findings.end.time.max(open_as.floor());
    #[cfg(feature = "planted-bugs")]
    let floor = if crate::planted::planted().has(crate::planted::Bug::TimeForgotten) {
        open_as.floor()
    } else {
        floor
    };
    for live in findings.live.iter().filter(|l| l.view.path().extension().is_some_and(|e| e == "tmp")) {
        opening.repersist_header(&*live.view.file, &live.view.path())?;
    }
    let mut state = State::new(end, floor, &config, &*parts.clock);
    if drive != Drive::Thread {
        state.gathering.never_wait(); // whoever steps says when a group goes
    }
    if let Some((epoch, _)) = begin {
        state.epoch = epoch;
    }
    state.witnessed = findings.proven;
    state.spares = spares.into();
    let names = findings.live.iter().filter(|l| l.view.path().extension().is_some_and(|e| e == "tmp"));
    state.to_rename = names.map(|l| Arc::clone(&l.view)).collect();
    let writer = Writer {
        current,
        chain: findings.has_previous.then_some(findings.end.chain),
        time: findings.end.time,
        ordinal: findings.ordinal_max,
        written: end,
        durable: end,
        gathered: Vec::new(),
        buffers: Vec::new(),
    };
    if begin.is_none() {
        state.set_room(writer.room()); // a new epoch begins in a segment of its own
    }
    let views = findings.live.into_iter().map(|l| l.view).chain(findings.copied);
    let catalog = Catalog { start: findings.start, segments: views.collect() };
    let engine = Arc::new(Engine {
        dir: dir.to_owned(),
        config: config.clone(),
        parts: parts.clone(),
        drive,
        state: Mutex::new(state),
        reached: Reached::at(end.lsn),
        done: Default::default(),
        moved: EventCount::new(),
        work: Condvar::new(),
        upkeep: Condvar::new(),
        writer: Mutex::new(writer),
        keeper: Mutex::new(Keeper {
            log,
            control,
            preparing: None,
            tried: None,
            control_failed: false,
            sealing: None,
        }),
        catalog: RwLock::new(catalog),
        listeners: RwLock::default(),
        event_listeners: RwLock::default(),
        lock: Mutex::new(Some(lock)),
        counters: Counters::default(),
        seals: Mutex::default(),
        #[cfg(feature = "planted-bugs")]
        planted: crate::planted::planted(),
    });
    engine.load_seals();
    finish(&engine, begin)?;
    Ok((engine, report))
}

/// Names what is bound, prepares a first spare, and begins the new epoch if there is one.
fn finish(engine: &Arc<Engine>, begin: Option<(Epoch, MarkerKind)>) -> Result<(), WalError> {
    let names = locked(&engine.state).to_rename.len();
    for _ in 0..names {
        engine.keep_once();
    }
    while locked(&engine.state).spares_free() == 0 {
        if !matches!(engine.keep_once(), Kept::Did | Kept::Rest(_)) {
            break; // no room: it opens all the same, and appends say so
        }
    }
    if let Some((_, marker)) = begin {
        let entry = EncodedEntry::marker(&marker).map_err(WalError::Draft)?;
        let accepted = engine.admit(&entry, Want::Durable)?;
        engine.flush_once();
        Engine::outcome(&locked(&engine.state), &accepted).unwrap_or(Err(WalError::NotReady))?;
    }
    Ok(())
}

fn position(at: &Expect) -> Position {
    Position { epoch: at.epoch, lsn: at.lsn, sequence: Some(at.seq) }
}

impl Opening<'_> {
    pub(crate) fn io(&self, op: &'static str) -> impl Fn(io::Error) -> WalError {
        let path = self.dir.to_owned();
        move |e| WalError::io(op, path.clone(), e)
    }

    pub(crate) fn sync_dir(&self) -> Result<(), WalError> {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::planted().has(crate::planted::Bug::NoDirSync) {
            return Ok(());
        }
        self.parts.disk.sync_dir(self.dir).map_err(self.io("sync of the directory"))
    }

    fn make_dir(&self) -> Result<(), WalError> {
        match self.parts.disk.create_dir(self.dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(self.io("create directory")(e)),
            _ => Ok(()),
        }
    }

    /// Makes the directory's own name durable. Once there is a control file, that has been done.
    fn sync_parent(&self) -> Result<(), WalError> {
        let parent = self.dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.change_parent()?;
        self.parts.disk.sync_dir(parent).map_err(|e| {
            self.put_aside();
            WalError::io("sync of the directory", parent, e)
        })
    }

    /// Changes the directory above, so that its sync writes all of it: whoever made our directory may have been killed after a
    /// failed sync, and then its name can be seen while a sync alone would not write it.
    fn change_parent(&self) -> Result<(), WalError> {
        let Some(name) = self.dir.file_name() else { return Ok(()) };
        let mut probe = name.to_owned();
        probe.push(format!(".probe-{:016x}", draw(self.parts).map_err(self.io("draw of a name"))?));
        let probe = self.dir.with_file_name(probe);
        if self.parts.disk.create_new(&probe).is_ok() {
            let _ = self.parts.disk.remove(&probe); // who may not write there did not make our directory
        }
        Ok(())
    }

    /// After a failed sync its name can be seen, and no later sync would make it durable: if there is nothing in it but our
    /// lock, the next opening is to make a new one.
    fn put_aside(&self) {
        let ours = |name: &std::ffi::OsStr| name == LOCK_NAME;
        let empty = self.parts.disk.list(self.dir).is_ok_and(|names| names.iter().all(|e| ours(&e.name)));
        if let (true, Some(name), Ok(number)) = (empty, self.dir.file_name(), draw(self.parts)) {
            let mut aside = name.to_owned();
            aside.push(format!(".discarded-{number:016x}"));
            let _ = self.parts.disk.rename(self.dir, &self.dir.with_file_name(aside)); // a mount point stays: so be it
        }
    }

    /// The epoch that this opening begins, with its marker; none if it goes on with the old one.
    fn begins_epoch(
        &self,
        survey: &Survey,
        findings: &Findings,
        open_as: OpenAs,
    ) -> Result<Option<(Epoch, MarkerKind)>, WalError> {
        let end = position(&findings.end);
        let OpenAs::Takeover { epoch, at, parent, .. } = open_as else {
            // A takeover that was interrupted before its first frame left its intent in the control file.
            let intent = survey.control.filter(|c| findings.live.is_empty() && c.start.epoch != Epoch::FIRST);
            return Ok(intent.map(|c| {
                let marker = MarkerKind::EpochStart { parent: c.parent, fork: c.start.lsn };
                (c.start.epoch, marker)
            }));
        };
        let refuse = |why: String| Err(WalError::Takeover { dir: self.dir.to_owned(), epoch, why });
        let begin = Some((epoch, MarkerKind::EpochStart { parent, fork: at.lsn }));
        if findings.live.is_empty() {
            return match survey.control {
                Some(c) if (c.start.lsn, c.start.epoch) != (at.lsn, epoch) => {
                    refuse(format!("a log was begun here at {}: use an empty directory", c.start))
                }
                _ => Ok(begin),
            };
        }
        if end.epoch > epoch {
            return Err(WalError::Fenced { dir: self.dir.to_owned(), asked: epoch, found: end.epoch });
        }
        if end.epoch == epoch {
            let first = findings.live.iter().find(|l| l.found.bound.epoch == epoch);
            return match first.map(|l| l.found.bound.base_lsn) {
                Some(base) if base != at.lsn && findings.start.lsn < base => {
                    refuse(format!("epoch {epoch} began here at lsn {base}, not {}", at.lsn))
                }
                _ => Ok(None), // done before: go on
            };
        }
        if (end.lsn, end.sequence) != (at.lsn, at.sequence) {
            return refuse(format!(
                "the log here ends at {end}, the fork is at {at}: use an empty directory"
            ));
        }
        Ok(begin)
    }

    fn control(
        &self,
        survey: &Survey,
        findings: &Findings,
        open_as: OpenAs,
    ) -> Result<(LogId, ControlFile), WalError> {
        if let Some(last) = survey.control {
            let mut file = ControlFile::reopen(&*self.parts.disk, self.dir, last)?;
            let closed = last.closed;
            #[cfg(feature = "planted-bugs")]
            let closed = closed && !crate::planted::planted().has(crate::planted::Bug::ClosedFlagKept);
            if closed {
                file.update(|_| ())?; // from here on it is open, whatever happens
            }
            return Ok((last.log, file));
        }
        let log = match survey.log() {
            Some(log) => log,
            None => {
                let mut id = [0; 16];
                self.parts.entropy.fill(&mut id).map_err(self.io("draw of a log id"))?;
                LogId::from_bytes(id)
            }
        };
        let parent = match open_as {
            OpenAs::Takeover { parent, .. } => parent,
            OpenAs::Continue => None,
        };
        let first = Control {
            counter: 1,
            log,
            start: findings.start,
            parent,
            durable: findings.proven.max(findings.start.lsn),
            closed: false,
        };
        let control = ControlFile::create(&*self.parts.disk, self.dir, first, || self.sync_dir())?;
        Ok((log, control))
    }

    /// Removes what never held anything acknowledged: half-made spares.
    fn remove_junk(&self, survey: &mut Survey) {
        for path in survey.junk.drain(..) {
            if let Err(error) = self.parts.disk.remove(&path) {
                tracing::warn!(path = %path.display(), %error, "a half-made spare could not be removed");
            }
        }
    }

    /// Segments that a later one has replaced as a whole stay as evidence, under a name that is not read again.
    pub(crate) fn move_aside(&self, replaced: &[FoundSegment]) {
        for segment in replaced {
            let to = self.dir.join(segment.bound.cut_name());
            if let Err(error) = self.parts.disk.rename(&segment.path, &to) {
                tracing::warn!(path = %segment.path.display(), %error, "a replaced segment could not be moved aside");
            }
        }
    }

    /// Finishes a release that was interrupted: the caller had decided, and the control file says so. It says it again first:
    /// it may have been read from memory only, left there by a process that was killed or whose sync failed, and a power
    /// cut must not bring back a start whose segments are gone.
    fn finish_release(&self, released: &[FoundSegment], control: &mut ControlFile) -> Result<(), WalError> {
        if !released.is_empty() {
            control.update(|_| ())?;
        }
        for segment in released {
            if let Err(error) = self.parts.disk.remove(&segment.path) {
                tracing::warn!(path = %segment.path.display(), %error, "a released segment could not be removed");
            }
        }
        Ok(())
    }

    /// Spares of the right size, under new names: after a failed sync of the directory the old ones can be seen, and a
    /// later sync would not make them durable.
    /// Makes a binding durable before its file gets the name of a segment: it may have been read from memory only, left
    /// there by a process that was killed or whose write failed, and a name without a binding can't be opened. Written
    /// again rather than synced alone: after a failed write the system may hold these bytes for clean.
    fn repersist_header(&self, file: &dyn DiskFile, path: &Path) -> Result<(), WalError> {
        let mut header = vec![0; FRAMES_OFFSET as usize];
        let read = file.read_at(&mut header, 0).map_err(|e| WalError::io("read", path, e))?;
        file.write_at(&header[..read], 0).map_err(|e| WalError::io("write", path, e))?;
        file.sync().map_err(|e| WalError::io("sync", path, e))
    }

    fn usable_spares(&self, survey: &mut Survey) -> Result<Vec<Spare>, WalError> {
        let (mut usable, other) = std::mem::take(&mut survey.spares)
            .into_iter()
            .partition::<Vec<_>, _>(|spare| usable(spare.prepared.capacity, self.config));
        survey.junk.extend(other.into_iter().map(|spare| spare.path));
        self.remove_junk(survey); // of another size: segment-bytes was changed
        for spare in &mut usable {
            // Whoever prepared it may have been killed before its sync: what is read here may be in memory only, and a
            // power cut after the first frame could then take the prepared block away from under a binding.
            spare.file.sync().map_err(self.io("sync of a spare"))?;
            let path = self.dir.join(spare_name(draw(self.parts).map_err(self.io("draw of a name"))?));
            self.parts.disk.rename(&spare.path, &path).map_err(self.io("rename of a spare"))?;
            spare.path = path;
        }
        Ok(usable)
    }
}
