//! Every seek answers what reading the whole log would, whatever became of the seals.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rpo_core::ports::{Access, DiskEntry, DiskLock};
use rpo_core::time::ClockAnomaly;
use rpo_core::{
    Bound, CheckpointId, DiskFile, ErrorKind, MarkerKind, PointName, Position, Sequence, TransactionId,
};

use super::*;
use crate::LogPoint;
use crate::seal::{self, Seal};

/// Numbers from a seed.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..9).for_each(|_| assert!(rng.below(2) < 2));
        rng
    }
}

fn name(number: u64) -> PointName {
    PointName::new(format!("point-{number}")).unwrap()
}

fn checkpoint(number: u64) -> CheckpointId {
    format!("docs@{number}").parse().unwrap()
}

/// One thing that a program does with its log.
fn act(site: &Site, log: &Log, rng: &mut Rng) {
    let transaction = |rng: &mut Rng| (rng.below(3) > 0).then(|| TransactionId(rng.below(60)));
    let draft = |rng: &mut Rng| CommitDraft {
        transaction: transaction(rng),
        ..CommitDraft::one(payload(rng.below(900)).repeat(1 + rng.below(12) as usize))
    };
    match rng.below(24) {
        0 => drop(log.tag(name(rng.below(8))).unwrap()),
        1 => drop(log.mark(&MarkerKind::Checkpoint(checkpoint(1 + rng.below(9)))).unwrap()),
        2 => drop(log.heartbeat().unwrap()),
        3 => site.clock.advance(Duration::from_secs(rng.below(5))),
        4 => {
            let (by, now) = (Duration::from_millis(rng.below(9_000)), site.clock.wall());
            let to = if rng.below(2) == 0 { now.saturating_add(by) } else { now.saturating_sub(by) };
            site.clock.step_wall(to);
        }
        5..8 => {
            for _ in 0..2 + rng.below(4) {
                drop(log.submit(draft(rng)));
            }
            log.sync().unwrap();
        }
        8 => settle(log),
        _ => {
            if rng.below(2) == 0 {
                site.clock.advance(Duration::from_millis(rng.below(700)));
            }
            log.append(draft(rng), AckLevel::Durable).unwrap();
        }
    }
}

/// What reading everything says.
struct Whole {
    entries: Vec<LogEntry>,
    start: Position,
    end: Position,
}

impl Whole {
    fn read(log: &Log) -> Self {
        let entries = log.replay(log.start().lsn).collect::<Result<_, _>>().unwrap();
        Self { entries, start: log.start(), end: log.durable() }
    }

    fn time(&self, fits: impl Fn(Timestamp) -> bool) -> Option<Position> {
        self.entries.iter().rfind(|entry| fits(entry.time())).map(LogEntry::position)
    }

    fn sequence(&self, wanted: u64) -> Option<Position> {
        if self.start.sequence == Some(Sequence::new(wanted)) {
            return Some(self.start);
        }
        let ends = |e: &&LogEntry| matches!(e, LogEntry::Commit(c) if c.sequence.get() == wanted);
        self.entries.iter().find(ends).map(LogEntry::position)
    }

    fn boundary(&self, wanted: Lsn) -> Position {
        let boundaries = std::iter::once(self.start).chain(self.entries.iter().map(LogEntry::position));
        let epoch = self.start.epoch;
        let found = boundaries.into_iter().find(|at| at.lsn >= wanted).unwrap();
        Position { epoch: found.epoch.max(epoch), ..found }
    }

    fn transaction(&self, id: u64) -> Option<Position> {
        let is_it =
            |e: &&LogEntry| matches!(e, LogEntry::Commit(c) if c.transaction == Some(TransactionId(id)));
        self.entries.iter().find(is_it).map(LogEntry::position)
    }

    fn markers<T>(&self, pick: impl Fn(&MarkerKind) -> Option<T>) -> Vec<LogPoint<T>> {
        let of = |entry: &LogEntry| {
            let LogEntry::Marker(marker) = entry else { return None };
            pick(&marker.kind).map(|what| LogPoint { what, position: entry.position(), time: entry.time() })
        };
        self.entries.iter().filter_map(of).collect()
    }

    fn points(&self) -> Vec<LogPoint<PointName>> {
        self.markers(|kind| match kind {
            MarkerKind::RestorePoint(name) => Some(name.clone()),
            _ => None,
        })
    }

    fn anomalies(&self) -> Vec<LogPoint<ClockAnomaly>> {
        self.markers(|kind| match kind {
            MarkerKind::ClockAnomaly(anomaly) => Some(*anomaly),
            _ => None,
        })
    }
}

/// The first difference between what seeks say and what reading everything says.
fn difference(log: &Log, rng: &mut Rng) -> Option<String> {
    let whole = Whole::read(log);
    let mut times: Vec<_> = whole.entries.iter().map(LogEntry::time).collect();
    times.dedup();
    let differs = |what: String, found: String, expected: String| {
        (found != expected).then(|| format!("{what}: found {found}, is {expected}"))
    };
    let micro = Duration::from_micros(1);
    for time in times.iter().flat_map(|t| [t.saturating_sub(micro), *t, t.saturating_add(micro)]) {
        let found = [
            log.seek_time(time),
            log.seek_time_bound(time, Bound::Inclusive),
            log.seek_time_bound(time, Bound::Exclusive),
        ]
        .map(|found| found.map_err(|e| e.to_string()));
        let (upto, below) = (whole.time(|t| t <= time), whole.time(|t| t < time));
        let expected = [upto, upto, below].map(Ok::<_, String>);
        let different = differs(format!("time {time}"), format!("{found:?}"), format!("{expected:?}"));
        if different.is_some() {
            return different;
        }
    }
    let last = whole.end.sequence.unwrap().get();
    for wanted in (0..=last + 2).filter(|n| n % 3 == 0 || last < 40 || *n + 3 > last) {
        let found = log.seek_sequence(Sequence::new(wanted));
        assert_eq!(found.unwrap(), whole.sequence(wanted), "sequence {wanted}");
    }
    let span = whole.end.lsn.bytes_since(whole.start.lsn);
    let picked = (0..60).map(|_| whole.start.lsn.get() + rng.below(span + 1));
    let ends = whole.entries.iter().step_by(5).map(|entry| entry.position().lsn.get());
    for wanted in picked.chain(ends).map(Lsn::new) {
        assert_eq!(log.seek_lsn(wanted).unwrap(), whole.boundary(wanted), "lsn {wanted}");
    }
    for id in 0..64 {
        let found = log.find_transaction(TransactionId(id)).unwrap();
        assert_eq!(found, whole.transaction(id), "transaction {id}");
    }
    let points = whole.points();
    for number in 0..9 {
        let expected = points.iter().find(|p| p.what == name(number)).map(|p| p.position);
        let found = log.find_point(&name(number)).unwrap();
        let different = differs(format!("point {number}"), format!("{found:?}"), format!("{expected:?}"));
        if different.is_some() {
            return different;
        }
    }
    assert_eq!(log.points().unwrap(), points);
    let checkpoints = whole.markers(|kind| match kind {
        MarkerKind::Checkpoint(id) => Some(id.clone()),
        _ => None,
    });
    assert_eq!(log.checkpoints().unwrap(), checkpoints);
    assert_eq!(log.clock_anomalies().unwrap(), whole.anomalies());
    None
}

#[track_caller]
fn same(log: &Log, rng: &mut Rng, when: &str) {
    assert_eq!(difference(log, rng), None, "{when}");
}

fn seals(site: &Site) -> Vec<PathBuf> {
    let names = site.disk.names().into_iter().filter(|name| name.ends_with(".seal"));
    names.map(|name| Path::new(DIR).join(name)).collect()
}

fn reseal(site: &Site, path: &Path, change: impl FnOnce(&mut Seal)) {
    site.disk.tamper(path, |bytes| {
        let mut seal = Seal::decode(bytes).unwrap();
        change(&mut seal);
        *bytes = seal.encode().unwrap();
    });
}

/// What may become of a seal.
fn spoil(site: &Site, rng: &mut Rng) {
    let all = seals(site);
    let whole: Vec<_> = all.iter().map(|path| site.disk.bytes(path)).collect();
    for path in &all {
        let other = whole[rng.below(all.len() as u64) as usize].clone();
        match rng.below(7) {
            0 => site.disk.remove(path).unwrap(),
            1 => site.disk.tamper(path, |bytes| {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
            }),
            2 => site.disk.tamper(path, |bytes| bytes.truncate(rng.below(bytes.len() as u64) as usize)),
            3 => site.disk.tamper(path, |bytes| *bytes = other),
            4 => site.disk.tamper(path, |bytes| bytes.fill(0)),
            // Whole, of this segment, and lying: the frames say otherwise.
            5 => reseal(site, path, lie_about_times),
            _ => {}
        }
    }
}

/// All marks claim the earliest time, so that a seek for it would begin too far on.
fn lie_about_times(seal: &mut Seal) {
    let by = Duration::from_secs(100);
    seal.first_time = seal.first_time.saturating_sub(by);
    for mark in &mut seal.marks {
        mark.place.time = mark.place.time.saturating_sub(by);
    }
    for note in &mut seal.notes {
        note.frame.time = note.frame.time.max(seal.first_time);
    }
}

#[test]
fn every_seek_answers_what_reading_the_whole_log_would() {
    let (mut sealed, mut refused, mut released) = (0, 0, 0);
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let site = Site::new();
        let mut log = site.open();
        for _ in 0..60 + rng.below(200) {
            act(&site, &log, &mut rng);
        }
        same(&log, &mut rng, &format!("seed {seed}, as it was written"));
        settle(&log);
        sealed += log.seals().made;
        same(&log, &mut rng, &format!("seed {seed}, sealed"));
        for round in 0..3 {
            drop(log);
            spoil(&site, &mut rng);
            log = site.open();
            same(&log, &mut rng, &format!("seed {seed}, spoiled {round}"));
            settle(&log);
            refused += log.seals().refused;
            assert_eq!(log.seals().damaged, [], "seed {seed}");
            same(&log, &mut rng, &format!("seed {seed}, mended {round}"));
        }
        let somewhere = log.start().lsn.get() + rng.below(log.durable().lsn.bytes_since(log.start().lsn));
        released += log.release(Lsn::new(somewhere)).unwrap();
        same(&log, &mut rng, &format!("seed {seed}, released"));
        drop(log);
        same(&site.open(), &mut rng, &format!("seed {seed}, released and opened"));
    }
    assert!(sealed > 30 && refused > 20 && released > 6, "{sealed} {refused} {released}");
}

/// A sealed log of several segments with a point in each.
fn sealed() -> (Site, Log) {
    let site = Site::new();
    let log = site.open();
    for n in 0..300 {
        if n % 40 == 0 {
            log.tag(name(n / 40)).unwrap();
        }
        site.clock.advance(Duration::from_millis(250));
        log.append(
            CommitDraft { transaction: Some(TransactionId(n)), ..CommitDraft::one(payload(n)) },
            AckLevel::Durable,
        )
        .unwrap();
    }
    settle(&log);
    assert!(log.seals().made >= 3, "{:?}", log.seals());
    (site, log)
}

#[test]
fn seals_are_there_after_reopening_and_are_not_made_again() {
    let (site, log) = sealed();
    let made = log.seals().made;
    drop(log);
    let log = site.open();
    assert_eq!(log.seals().loaded, made);
    settle(&log);
    assert!(log.seals().made <= 1, "at most the segment that opening finished: {:?}", log.seals());
    assert_eq!(log.seals().refused, 0);
}

#[test]
fn a_seal_of_other_bytes_is_refused_and_made_again() {
    let (site, log) = sealed();
    drop(log);
    let all = seals(&site);
    let first = site.disk.bytes(&all[0]);
    for path in &all[1..] {
        site.disk.tamper(path, |bytes| bytes.clone_from(&first));
    }
    let log = site.open();
    assert_eq!((log.seals().loaded, log.seals().refused), (1, all.len() as u64 - 1));
    settle(&log);
    same(&log, &mut Rng::new(1), "made again");
    for path in &all {
        let name = path.file_name().unwrap().to_str().unwrap();
        let seal = Seal::decode(&site.disk.bytes(path)).unwrap();
        assert!(name.starts_with(&format!("{:016x}-", seal.base_lsn.get())), "{name}");
    }
}

#[test]
fn a_seal_goes_with_its_segment_and_one_left_alone_is_removed() {
    let (site, log) = sealed();
    let before = seals(&site);
    let stray = site.disk.bytes(&before[0]);
    let gone = log.release(log.durable().lsn).unwrap();
    assert!(gone >= 3);
    assert_eq!(seals(&site).len(), before.len() - gone);
    drop(log);
    let file = site.disk.create_new(&before[0]).unwrap();
    file.write_at(&stray, 0).unwrap();
    let log = site.open();
    assert!(!seals(&site).contains(&before[0]));
    same(&log, &mut Rng::new(1), "released");
}

#[test]
fn a_release_cut_short_at_any_removal_leaves_no_seal_without_its_segment() {
    let (site, log) = sealed();
    let old = site.disk.copy();
    log.release(log.durable().lsn).unwrap();
    drop(log);
    let control = site.disk.bytes(&Path::new(DIR).join("control"));
    let site = Site { disk: Arc::new(old), ..Site::new() };
    site.disk.tamper(&Path::new(DIR).join("control"), |b| *b = control);
    drop(site.open());
    let segments: Vec<_> =
        site.disk.names().into_iter().filter_map(|n| n.strip_suffix(".rwal").map(str::to_owned)).collect();
    for path in seals(&site) {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(segments.contains(&stem), "{stem}");
    }
}

#[test]
fn rot_in_a_finished_segment_is_found_in_the_background_and_named() {
    let (site, log) = sealed();
    drop(log);
    let all = seals(&site);
    let log = site.open();
    let segment = all[1].with_extension("rwal");
    let victim = Seal::decode(&site.disk.bytes(&all[1])).unwrap();
    log.forget_seals();
    site.disk.tamper(&segment, |bytes| bytes[10_000] ^= 1);

    settle(&log);

    let damaged = log.seals().damaged;
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    assert_eq!(damaged[0].file, segment);
    assert!((victim.base_lsn..victim.end_lsn).contains(&damaged[0].lsn));
    assert!(damaged[0].offset <= 10_000 && damaged[0].what.contains("checksum"), "{damaged:?}");
    append(&log, 1);
    let error = log.replay(victim.base_lsn).find_map(Result::err).expect("a reader is refused there");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(log.find_transaction(TransactionId(299)).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn rot_under_a_good_seal_is_an_error_and_never_an_answer() {
    let (site, log) = sealed();
    let path = &seals(&site)[1];
    let seal = Seal::decode(&site.disk.bytes(path)).unwrap();
    site.disk
        .tamper(&path.with_extension("rwal"), |bytes| bytes[seal.marks[0].place.offset as usize + 20] ^= 1);
    let inside = Sequence::new(seal.base_seq.get() + 1);
    assert_eq!(log.seek_sequence(inside).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(log.seek_time(seal.last_time).unwrap_err().kind(), ErrorKind::Corrupt);
    settle(&log);
    assert_eq!(log.seals().damaged.len(), 1);
}

#[test]
fn a_segment_with_too_many_points_to_list_is_read_for_them() {
    let (site, log) = sealed();
    drop(log);
    for path in seals(&site) {
        reseal(&site, &path, |seal| {
            seal.notes.clear();
            seal.notes_complete = false;
        });
    }
    let log = site.open();
    assert!(log.seals().loaded >= 3 && log.seals().refused == 0);
    same(&log, &mut Rng::new(1), "lists cut short");
    assert_eq!(log.points().unwrap().len(), 8);
}

#[test]
fn a_full_disk_costs_the_seal_and_nothing_else() {
    let site = Site::new();
    let log = site.open();
    for n in 0..1000 {
        settle(&log);
        append(&log, n);
        if n > 0 && log.step() == crate::Step::Kept {
            break; // the first segment is finished, and the second has its name
        }
    }
    assert_eq!(log.step(), crate::Step::Kept, "the next spare is there");
    site.disk.limit(Some(1)); // nothing can be written that makes a file longer
    assert_eq!((log.step(), log.seals().made), (crate::Step::Kept, 1));
    site.disk.limit(None);
    assert!(seals(&site).is_empty());
    same(&log, &mut Rng::new(1), "in memory only");
    append_all(&log, 60..160);
    settle(&log);
    assert!(!seals(&site).is_empty());
    same(&log, &mut Rng::new(1), "with room again");
}

#[test]
fn seeks_beside_a_writer_a_keeper_and_releases_are_right_or_say_released() {
    let mut site = Site::new();
    site.drive = Drive::Thread;
    let log = site.open();
    let told = Mutex::new(Vec::new());
    let (mut found, mut gone) = (0, 0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..3000 {
                let draft =
                    CommitDraft { transaction: Some(TransactionId(n)), ..CommitDraft::one(payload(n)) };
                let appended = log.append(draft, AckLevel::Durable).unwrap();
                told.lock().unwrap().push(appended);
            }
        });
        let mut rng = Rng::new(3);
        while !writer.is_finished() {
            let count = told.lock().unwrap().len() as u64;
            if count == 0 {
                continue;
            }
            let number = rng.below(count);
            let one = told.lock().unwrap()[number as usize];
            let start = log.start().lsn;
            let answers = [
                log.seek_sequence(one.end.sequence.unwrap()),
                log.find_transaction(TransactionId(number)),
                log.seek_lsn(one.lsn).map(Some),
            ];
            for (n, answer) in answers.into_iter().enumerate() {
                let expected = if n == 2 { one.lsn } else { one.end.lsn };
                match answer {
                    Ok(Some(position)) => assert_eq!((position.lsn, n), (expected, n)),
                    Ok(None) => assert!(n < 2 && one.end.lsn <= log.start().lsn),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
                }
            }
            if one.lsn >= start {
                found += 1
            } else {
                gone += 1
            }
            if rng.below(40) == 0 {
                log.release(Lsn::new(one.lsn.get() / 2)).unwrap();
            }
        }
        writer.join().unwrap();
    });
    assert!(found > 20, "{found} found, {gone} gone");
    assert_eq!(log.seals().damaged, []);
    assert!(log.seals().made > 3, "{:?}", log.seals());
    log.close().unwrap();
}

/// Counts the bytes that are read.
#[derive(Debug)]
struct Counting {
    disk: Arc<TestDisk>,
    read: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountingFile(Arc<dyn DiskFile>, Arc<AtomicU64>);

impl DiskFile for CountingFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.0.read_at(buffer, offset)?;
        self.1.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

impl Disk for Counting {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(CountingFile(self.disk.open(path, access)?, Arc::clone(&self.read))))
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(CountingFile(self.disk.create_new(path)?, Arc::clone(&self.read))))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        self.disk.list(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        self.disk.free_bytes(dir)
    }
}

#[test]
fn a_seek_in_twenty_sealed_segments_reads_one_stretch_between_marks() {
    let mut config = small();
    config.segment_bytes = "256KiB".parse().unwrap();
    let site = Site::with(config);
    let read = Arc::new(AtomicU64::new(0));
    let disk = Arc::new(Counting { disk: Arc::clone(&site.disk), read: Arc::clone(&read) });
    let parts = LogParts { disk, ..site.parts() };
    let open = || {
        Log::open(Path::new(DIR), site.config.clone(), parts.clone(), Drive::Manual, OpenAs::Continue)
            .unwrap()
            .0
    };
    let log = open();
    let mut told = Vec::new();
    let mut n = 0;
    while log.seals().made < 20 {
        site.clock.advance(Duration::from_millis(1));
        let draft = CommitDraft { transaction: Some(TransactionId(n)), ..CommitDraft::one("x".repeat(1000)) };
        told.push(log.append(draft, AckLevel::Durable).unwrap());
        if n % 500 == 250 {
            log.tag(name(n)).unwrap();
        }
        settle(&log);
        n += 1;
    }
    let check = |log: &Log, most: u64, when: &str| {
        let sealed = log.seek_lsn(told[0].lsn).is_ok().then(|| n - 300).unwrap();
        let mut worst = 0;
        let mut cost = |seek: &dyn Fn() -> Position, expected: Position| {
            read.store(0, Ordering::Relaxed);
            assert_eq!(seek(), expected, "{when}");
            worst = worst.max(read.load(Ordering::Relaxed));
        };
        for one in (0..sealed).step_by(97).map(|n| n as usize) {
            let Appended { lsn, end, time } = told[one];
            cost(&|| log.seek_time(time).unwrap().unwrap(), end);
            cost(&|| log.seek_sequence(end.sequence.unwrap()).unwrap().unwrap(), end);
            cost(&|| log.find_transaction(TransactionId(one as u64)).unwrap().unwrap(), end);
            cost(
                &|| Position { sequence: end.sequence, ..log.seek_lsn(Lsn::new(lsn.get() + 1)).unwrap() },
                end,
            );
        }
        read.store(0, Ordering::Relaxed);
        assert!(log.find_point(&name(250)).unwrap().is_some());
        worst = worst.max(read.load(Ordering::Relaxed));
        println!("{when}: at most {worst} bytes");
        assert!(worst <= most, "{when}: {worst} bytes");
    };
    let budget = seal::MARK_BYTES + 2 * 4096;
    check(&log, budget, "while it is written");
    drop(log);
    let log = open();
    settle(&log);
    check(&log, budget, "after reopening");
    drop(log);
    seals(&site).iter().for_each(|path| site.disk.remove(path).unwrap());
    check(&open(), u64::MAX, "without seals");
}

#[cfg(feature = "planted-bugs")]
mod planted {
    use super::*;
    use crate::planted::{Bug, clear, set};

    fn with(bug: Bug, spoil: impl Fn(&Site)) -> Option<String> {
        let (site, log) = sealed();
        drop(log);
        spoil(&site);
        set(bug);
        let log = site.open();
        clear();
        difference(&log, &mut Rng::new(1))
    }

    #[test]
    fn a_seal_used_without_a_look_at_its_frame_is_caught() {
        let lie = |site: &Site| seals(site).iter().for_each(|path| reseal(site, path, lie_about_times));
        let found = with(Bug::SealTrusted, lie);
        assert!(found.as_ref().is_some_and(|text| text.starts_with("time")), "{found:?}");
    }

    #[test]
    fn a_seal_taken_for_that_of_another_segment_is_caught() {
        let swap = |site: &Site| {
            let all = seals(site);
            let first = site.disk.bytes(&all[0]);
            all[1..].iter().for_each(|path| site.disk.tamper(path, |bytes| bytes.clone_from(&first)));
        };
        let (site, log) = sealed();
        let true_place = log.find_transaction(TransactionId(200)).unwrap();
        drop(log);
        swap(&site);
        set(Bug::SealOfAnother);
        let log = site.open();
        clear();
        assert!(true_place.is_some());
        assert_ne!(log.find_transaction(TransactionId(200)).unwrap(), true_place);
        drop(log);
        assert_eq!(site.open().find_transaction(TransactionId(200)).unwrap(), true_place, "without the bug");
    }

    #[test]
    fn a_time_sought_with_less_instead_of_at_most_is_caught() {
        let found = with(Bug::TimeOffByOne, |_| ());
        assert!(found.as_ref().is_some_and(|text| text.starts_with("time")), "{found:?}");
    }
}
