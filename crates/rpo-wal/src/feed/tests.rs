use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

use rpo_core::frame::{CommitDraft, EntryRef};
use rpo_core::objective::AckLevel;
use rpo_core::ports::{Access, DiskEntry, DiskLock};
use rpo_core::{Disk, HumanDuration, Position};

use super::*;
use crate::recover::examine;
use crate::survey::survey;
use crate::tests::disk::{SECTOR, TestDisk};
use crate::tests::{DIR, Site, settle, small};

/// Small enough that a log of some hundred kilobytes takes many turns.
const SIZES: Sizes = Sizes { piece: 8 << 10, buffer: 16 << 10, budget: 64 << 10 };

/// Watches who reads what, and fails where it is told to.
#[derive(Debug, Default)]
struct Watch {
    /// Bytes of frames that were read.
    bytes: u64,
    /// Reads by the helper.
    helped: u64,
    /// Reads of frames by the thread that opens take so long, so that the helper gets its share.
    slow: Duration,
    /// The file and the byte that can't be read.
    broken: Option<(PathBuf, u64)>,
    panics: bool,
    files: Vec<Weak<WatchedFile>>,
}

type Shared = Arc<Mutex<Watch>>;

#[derive(Debug)]
struct Watched {
    disk: Arc<TestDisk>,
    watch: Shared,
}

#[derive(Debug)]
struct WatchedFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    watch: Shared,
}

impl Disk for Watched {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, access)?;
        let file = Arc::new(WatchedFile { file, path: path.to_owned(), watch: Arc::clone(&self.watch) });
        locked(&self.watch).files.push(Arc::downgrade(&file));
        Ok(file)
    }
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create_new(path)
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
    fn free_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        self.disk.free_bytes(path)
    }
}

impl DiskFile for WatchedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let helper = thread::current().name() == Some("rpo-wal-ahead");
        let frames = offset >= FRAMES_OFFSET;
        let mut watch = locked(&self.watch);
        let slow = watch.slow;
        watch.helped += u64::from(helper);
        if let Some((path, byte)) = &watch.broken
            && *path == self.path
            && (offset..offset + buffer.len() as u64).contains(byte)
        {
            return Err(io::Error::other("injected failure of a read"));
        }
        if helper {
            assert!(!watch.panics, "the helper panics");
        }
        drop(watch);
        if frames && !helper {
            thread::sleep(slow);
        }
        let read = self.file.read_at(buffer, offset)?;
        if frames {
            locked(&self.watch).bytes += read as u64;
        }
        Ok(read)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// Segments of 128 KiB with commits of these lengths, one frame each; killed.
fn log_of(lens: impl IntoIterator<Item = usize>) -> Site {
    let mut config = small();
    config.segment_bytes = "128KiB".parse().unwrap();
    config.pending_bytes_max = "256KiB".parse().unwrap();
    config.heartbeat_after = HumanDuration::ZERO;
    let site = Site::with(config);
    let log = site.open();
    for (number, len) in lens.into_iter().enumerate() {
        let payload: Vec<u8> = (0..len).map(|at| ((at * 7 + number) % 250) as u8 + 1).collect();
        log.append(CommitDraft::one(payload), AckLevel::Durable).unwrap();
    }
    settle(&log);
    drop(log);
    site
}

/// Small frames, frames of several pieces, and some that are larger than a buffer.
fn mixed() -> Site {
    log_of((0..160).map(|n| match n % 16 {
        5 => 9_000 + n * 13,
        9 => 15_000,
        13 => 40_000 + n,
        _ => 100 + n * 17,
    }))
}

fn copy(site: &Site) -> Site {
    let mut copy = Site::with(small());
    copy.disk = Arc::new(site.disk.copy());
    copy
}

fn segments(site: &Site) -> Vec<PathBuf> {
    let names: Vec<_> = site.disk.names().into_iter().filter(|name| name.ends_with(".rwal")).collect();
    assert!(names.len() >= 3, "{names:?}");
    names.into_iter().map(|name| Path::new(DIR).join(name)).collect()
}

/// Everything that recovery finds, as text; with the bytes that were read when the first entry was seen and no more came.
fn look(site: &Site, reading: Reading, watch: Watch, visit: &mut dyn FnMut(&Shared)) -> (String, Shared) {
    let watch = Arc::new(Mutex::new(watch));
    let disk = Watched { disk: Arc::clone(&site.disk), watch: Arc::clone(&watch) };
    let mut text = String::new();
    let mut lsns = BTreeSet::new();
    let mut see = |entry: EntryRef<'_>| {
        visit(&watch);
        lsns.insert(entry.lsn());
        writeln!(text, "{entry:?}").unwrap();
    };
    let mut found = survey(&disk, Path::new(DIR)).unwrap();
    let findings = examine(Path::new(DIR), &mut found, Position::START, Lsn::ZERO, reading, &mut see);
    match findings {
        Ok(f) => {
            let rest = (f.start, f.end, f.proven, f.unproven, f.tail, f.frames, f.commits, f.ordinal_max);
            writeln!(text, "{rest:?}").unwrap();
            for live in &f.live {
                let marks: Vec<_> = lsns.iter().map(|lsn| live.view.before_lsn(*lsn)).collect();
                writeln!(text, "{:?} {:?} {marks:?}", live.view.path(), live.view.end()).unwrap();
            }
        }
        Err(error) => writeln!(text, "{:?}: {error}", error.kind()).unwrap(),
    }
    drop(found);
    let open = locked(&watch).files.iter().filter(|file| file.upgrade().is_some()).count();
    assert_eq!(open, 0, "the helper has ended and let go of its files");
    (text, watch)
}

fn calm(broken: Option<(PathBuf, u64)>) -> Watch {
    Watch { broken, slow: Duration::from_micros(300), ..Watch::default() }
}

fn seen_before(found: &str) -> &str {
    found.trim_end().rsplit_once('\n').map_or("", |(seen, _)| seen)
}

/// Opens both ways, several times as threads take turns differently; returns what both found.
fn same(site: &Site, broken: Option<(PathBuf, u64)>) -> String {
    let (direct, _) = look(site, Reading::Direct, calm(broken.clone()), &mut |_| ());
    let mut helped = 0;
    for round in 0..6u64 {
        let mut watch = calm(broken.clone());
        watch.slow = Duration::from_micros(round * 200);
        let (ahead, watch) = look(site, Reading::Ahead(SIZES), watch, &mut |_| ());
        // How much is seen before a read fails depends on how much is read at a time; which error it is does not.
        let same_error = ahead.lines().last() == direct.lines().last();
        let failed = broken.is_some() && same_error && seen_before(&ahead).starts_with(seen_before(&direct));
        assert!(ahead == direct || failed, "round {round}\n--- direct\n{direct}\n--- ahead\n{ahead}");
        helped += locked(&watch).helped;
    }
    let whole = direct.contains("Clean") || direct.contains("Torn"); // else recovery may be through at once
    assert!(helped > 0 || !whole, "the helper has done something");
    direct
}

#[test]
fn clean_logs_are_read_the_same_with_help() {
    for site in [mixed(), log_of((0..600).map(|n| 200 + n)), log_of(std::iter::repeat_n(60_000, 8))] {
        segments(&site);
        let found = same(&site, None);
        assert!(found.contains("Clean"), "{found}");
    }
}

#[test]
fn a_log_with_nothing_in_it_is_read_the_same_with_help() {
    let site = log_of([]);
    let direct = look(&site, Reading::Direct, calm(None), &mut |_| ()).0;
    let ahead = look(&site, Reading::Ahead(SIZES), calm(None), &mut |_| ()).0;
    assert_eq!(direct, ahead);
}

#[test]
fn a_torn_tail_is_cut_the_same_with_help() {
    let site = mixed();
    let newest = site.newest_segment();
    let end = site.disk.bytes(&newest).iter().rposition(|b| *b != 0).unwrap();
    let sector = end / SECTOR * SECTOR;
    site.disk.tamper(&newest, |b| b[sector..sector + SECTOR].fill(0));
    let found = same(&site, None);
    assert!(found.contains("Torn"), "{found}");
}

#[test]
fn rot_anywhere_is_refused_the_same_with_help() {
    let site = mixed();
    for (index, at) in [(0, 8192 + 3), (1, 30_000), (1, 8192 + 70), (2, 64_000), (3, 9_000)] {
        let site = copy(&site);
        site.disk.tamper(&segments(&site)[index], |b| b[at] ^= 4);
        let found = same(&site, None);
        assert!(found.contains("Corrupt: "), "segment {index}, byte {at}: {found}");
    }
}

#[test]
fn a_segment_that_ends_early_is_missed_the_same_with_help() {
    let site = mixed();
    for from in [8192, 40_000] {
        let site = copy(&site);
        site.disk.tamper(&segments(&site)[1], |b| b[from..].fill(0));
        let found = same(&site, None);
        assert!(found.contains("Corrupt: "), "{found}");
    }
}

#[test]
fn a_stale_frame_of_another_place_is_refused_the_same_with_help() {
    let site = mixed();
    let newest = site.newest_segment();
    let end = site.disk.bytes(&newest).iter().rposition(|b| *b != 0).unwrap() + 1;
    site.disk.tamper(&newest, |b| b.copy_within(8192..end, end.next_multiple_of(8)));
    let found = same(&site, None);
    assert!(found.contains("a valid frame of another LSN"), "{found}");
}

#[test]
fn a_read_error_is_told_and_never_taken_for_the_end() {
    let site = mixed();
    for (index, byte) in [(0, 8192), (1, 50_000), (2, 100_000), (3, 20_000)] {
        let path = segments(&site)[index].clone();
        let found = same(&site, Some((path.clone(), byte)));
        assert!(found.contains("injected failure of a read"), "{found}");
        assert!(found.contains(path.to_str().unwrap()), "{found}");
    }
    let newest = site.newest_segment();
    let found = same(&site, Some((newest, 8192 + 5)));
    assert!(found.contains("injected failure of a read"), "{found}");
}

#[test]
fn a_helper_that_panics_is_done_without() {
    let site = mixed();
    let (direct, _) = look(&site, Reading::Direct, calm(None), &mut |_| ());
    let watch = Watch { panics: true, ..calm(None) };
    let (ahead, watch) = look(&site, Reading::Ahead(SIZES), watch, &mut |_| ());
    assert_eq!(direct, ahead);
    assert!(locked(&watch).helped > 0);
}

#[test]
fn a_visitor_that_panics_leaves_no_thread_behind() {
    let site = mixed();
    let watch: Shared = Arc::default();
    let disk = Watched { disk: Arc::clone(&site.disk), watch: Arc::clone(&watch) };
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut found = survey(&disk, Path::new(DIR)).unwrap();
        let mut visit = |_: EntryRef<'_>| panic!("the visitor panics");
        let reading = Reading::Ahead(SIZES);
        examine(Path::new(DIR), &mut found, Position::START, Lsn::ZERO, reading, &mut visit).map(drop)
    }));
    assert!(caught.is_err());
    assert!(locked(&watch).files.iter().all(|file| file.upgrade().is_none()));
}

#[test]
fn no_more_is_read_ahead_than_the_budget_allows() {
    /// The first visit lasts until nobody has read anything for a while.
    fn read_meanwhile(site: &Site) -> u64 {
        let mut most = None;
        look(site, Reading::Ahead(SIZES), calm(None), &mut |watch| {
            most.get_or_insert_with(|| {
                let (mut seen, mut quiet) = (0, 0);
                while quiet < 20 {
                    thread::sleep(Duration::from_millis(3));
                    let now = locked(watch).bytes;
                    quiet = if now == seen { quiet + 1 } else { 0 };
                    seen = now;
                }
                seen
            });
        });
        most.unwrap()
    }
    let budget = SIZES.budget as u64;
    let read = read_meanwhile(&log_of((0..600).map(|n| 200 + n)));
    assert!(read <= budget, "{read} bytes");
    assert!(read > SIZES.buffer as u64, "{read} bytes: it does read ahead");
    let large = 60_000;
    let read = read_meanwhile(&log_of(std::iter::repeat_n(large, 8)));
    assert!(read <= budget + 2 * (large as u64 + 2 * 4096), "{read} bytes");
}

#[test]
fn a_simulated_log_and_a_small_one_are_read_on_one_thread() {
    assert!(matches!(Reading::best(Drive::Manual, u64::MAX), Reading::Direct));
    assert!(matches!(Reading::best(Drive::Thread, WORTH_BYTES), Reading::Direct));
    let two = thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    for drive in [Drive::Thread, Drive::Loop] {
        assert_eq!(matches!(Reading::best(drive, WORTH_BYTES + 1), Reading::Ahead(_)), two);
    }
}
