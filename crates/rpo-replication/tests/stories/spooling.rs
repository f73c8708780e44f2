//! Stories of the spool: what a copy has seen survives any crash of the disk below, and nothing else is shipped.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::{fs, io};

use crate::support::{Break, Site, numbered};
use rpo_core::ErrorKind;
use rpo_core::ports::{Access, Disk, DiskEntry, DiskFile, DiskLock};
use rpo_os::OsDisk;
use rpo_replication::{Health, LogShipper, ReplicationError, ShipperParts, Start};

/// A disk that fails from the call with a certain number on.
#[derive(Debug)]
struct FailingDisk(OsDisk, Arc<AtomicI64>);

#[derive(Debug)]
struct FailingFile(Arc<dyn DiskFile>, Arc<AtomicI64>);

fn count(left: &AtomicI64) -> io::Result<()> {
    if left.fetch_sub(1, Ordering::SeqCst) <= 0 { Err(io::Error::other("broken on purpose")) } else { Ok(()) }
}

impl Disk for FailingDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(path, access)
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        count(&self.1)?;
        Ok(Arc::new(FailingFile(self.0.create_new(path)?, Arc::clone(&self.1))))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        count(&self.1)?;
        self.0.sync_dir(dir)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        count(&self.1)?;
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        self.0.list(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.0.lock(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        self.0.free_bytes(dir)
    }
}

impl DiskFile for FailingFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        count(&self.1)?;
        self.0.write_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn sync(&self) -> io::Result<()> {
        count(&self.1)?;
        self.0.sync()
    }
}

fn shipper_on(site: &Site, disk: Arc<dyn Disk>) -> Result<LogShipper, ReplicationError> {
    let parts = ShipperParts {
        source: site.log.clone(),
        copies: site.copies(),
        disk,
        clock: site.clock.clone(),
        entropy: site.entropy.clone(),
    };
    LogShipper::open(parts, site.stream.clone(), site.spool.path(), site.config.clone(), Start::Continue)
}

fn batches(site: &Site) -> Vec<PathBuf> {
    let dir = site.spool.path().join("orders/00000001");
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "batch"));
    paths.sort();
    paths
}

#[tokio::test]
async fn a_disk_that_fails_at_any_write_ships_nothing_it_has_not_kept() {
    let left = Arc::new(AtomicI64::new(i64::MAX));
    let writes = {
        let site = Site::new(&["eu"], "none").await.small_batches();
        site.log.commits(numbered(0..6));
        let mut shipper = shipper_on(&site, Arc::new(FailingDisk(OsDisk::new(), Arc::clone(&left)))).unwrap();
        left.store(1_000_000, Ordering::SeqCst);
        shipper.step().await.unwrap();
        1_000_000 - left.load(Ordering::SeqCst)
    };
    assert!(writes >= 15, "{writes}");
    for at in 0..writes {
        let site = Site::new(&["eu"], "none").await.small_batches();
        site.log.commits(numbered(0..6));
        left.store(i64::MAX, Ordering::SeqCst);
        let mut broken = shipper_on(&site, Arc::new(FailingDisk(OsDisk::new(), Arc::clone(&left)))).unwrap();
        left.store(at, Ordering::SeqCst);
        let error = broken.step().await.unwrap_err();
        assert!(matches!(error, ReplicationError::Spool { .. }), "write {at}: {error}");
        let shipped = site.stores[0].keys("logs/").await;
        drop(broken);

        let mut second = site.shipper();
        second.step().await.unwrap();

        let after = site.stores[0].keys("logs/").await;
        assert!(after.starts_with(&shipped) && second.is_caught_up(), "write {at}");
        assert_eq!(site.read(&[0]).await.unwrap(), numbered(0..6), "write {at}");
    }
}

#[tokio::test]
async fn after_a_failed_sync_the_spool_takes_nothing_until_it_is_opened_again() {
    let site = Site::new(&["eu"], "none").await;
    let left = Arc::new(AtomicI64::new(i64::MAX));
    let mut shipper = shipper_on(&site, Arc::new(FailingDisk(OsDisk::new(), Arc::clone(&left)))).unwrap();
    shipper.step().await.unwrap();
    site.log.commit("one");
    left.store(2, Ordering::SeqCst); // create and write work, the sync does not
    shipper.step().await.unwrap_err();
    left.store(i64::MAX, Ordering::SeqCst);

    let error = shipper.step().await.unwrap_err();

    assert!(error.to_string().contains("spool: write"), "{error}");
    assert!(site.stores[0].keys("logs/").await.is_empty());
    drop(shipper);
    site.shipper().step().await.unwrap();
    assert_eq!(site.read(&[0]).await.unwrap(), ["one"]);
}

#[tokio::test]
async fn a_damaged_or_missing_spool_file_is_named() {
    let site = Site::new(&["eu"], "none").await.small_batches();
    let mut shipper = site.shipper();
    shipper.step().await.unwrap();
    site.stores[0].set(Break::Down);
    site.log.commits(numbered(0..8));
    shipper.step().await.unwrap();
    drop(shipper);
    let files = batches(&site);
    assert!(files.len() > 2);
    let whole = fs::read(&files[1]).unwrap();

    let mut rotten = whole.clone();
    rotten[150] ^= 1;
    fs::write(&files[1], rotten).unwrap();
    let error = shipper_on(&site, Arc::new(OsDisk::new())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("0000000000000002.batch"), "{error}");

    fs::write(&files[1], whole).unwrap();
    site.stores[0].set(Break::Nothing);
    site.shipper().step().await.unwrap();
    assert_eq!(site.read(&[0]).await.unwrap(), numbered(0..8));
}

#[tokio::test]
async fn shipped_batches_leave_the_spool_and_the_newest_stays() {
    let site = Site::new(&["eu"], "none").await.small_batches();
    site.log.commits(numbered(0..8));
    site.shipper().step().await.unwrap();
    assert_eq!(batches(&site).len(), 1);
}

#[tokio::test]
async fn a_second_shipper_on_the_same_spool_is_refused() {
    let site = Site::new(&["eu"], "none").await;
    let _first = site.shipper();
    let error = shipper_on(&site, Arc::new(OsDisk::new())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
}

#[tokio::test]
async fn a_spool_file_that_is_gone_and_in_no_copy_is_named_and_never_passed_over() {
    let site = Site::new(&["eu"], "none").await.small_batches();
    let mut shipper = site.shipper();
    shipper.step().await.unwrap();
    site.stores[0].set(Break::Down);
    site.log.commits(numbered(0..8));
    shipper.step().await.unwrap();
    drop(shipper);
    site.stores[0].set(Break::Nothing);

    fs::remove_file(&batches(&site)[1]).unwrap();
    let mut shipper = site.shipper();
    let step = shipper.step().await.unwrap();

    let health = &step.copies[0].log.health;
    assert!(
        matches!(health, Health::Failing { error, .. } if error.contains("the spool has let go of it")),
        "{health:?}"
    );
    assert!(site.stores[0].keys("logs/").await.is_empty());
    assert_eq!(shipper.view().protected(), None);
}

#[tokio::test]
async fn released_files_that_come_back_in_a_crash_are_released_again() {
    let site = Site::new(&["eu"], "none").await.small_batches();
    let mut shipper = site.shipper();
    shipper.step().await.unwrap();
    site.stores[0].set(Break::Down);
    site.log.commits(numbered(0..8));
    shipper.step().await.unwrap();
    let first = batches(&site).remove(0);
    let bytes = fs::read(&first).unwrap();
    site.stores[0].set(Break::Nothing);
    shipper.step().await.unwrap();
    drop(shipper);

    fs::write(&first, bytes).unwrap(); // its removal was not durable, that of the second was
    site.log.commit("more");
    site.shipper().step().await.unwrap();

    assert_eq!(batches(&site).len(), 1);
    assert_eq!(site.read(&[0]).await.unwrap().len(), 9);
}

#[tokio::test]
async fn a_full_spool_refuses_appends_or_holds_them_until_a_copy_takes_batches() {
    for refuse in [true, false] {
        let mut site = Site::new(&["eu"], "any 1 of (eu)").await.small_batches();
        site.config.spool_bytes_max = "8KiB".parse().unwrap();
        site.config.codec = rpo_replication::BatchCodec::None;
        if refuse {
            site.config.spool_full = rpo_replication::SpoolFull::Refuse;
        }
        let mut shipper = site.shipper();
        let view = shipper.view();
        shipper.step().await.unwrap();
        view.admit().await.unwrap();
        site.stores[0].set(Break::Down);
        for _ in 0..4 {
            site.log.commit(&"x".repeat(4000));
        }
        assert!(shipper.step().await.unwrap().blocked);
        assert!(view.spool().full_since.is_some());

        let held = view.clone();
        let waiting = tokio::spawn(async move { held.admit().await });
        tokio::task::yield_now().await;
        assert_eq!(waiting.is_finished(), refuse);
        site.stores[0].set(Break::Nothing);
        while shipper.step().await.unwrap().blocked {}
        match waiting.await.unwrap() {
            Err(error) => assert!(refuse && error.kind() == ErrorKind::Busy, "{error}"),
            Ok(()) => assert!(!refuse),
        }

        view.admit().await.unwrap();
        let stats = view.stats(&crate::support::name("eu")).unwrap();
        assert_eq!((stats.batches, stats.failures), (view.spool().sealed, 1));
        assert!(stats.last_failure.is_some() && view.spool().compression_ratio().unwrap() < 1.0);
        assert_eq!(site.read(&[0]).await.unwrap().len(), 4, "nothing was dropped");
    }
}

#[tokio::test]
async fn nobody_waits_for_room_from_a_shipper_that_is_gone() {
    let mut site = Site::new(&["eu"], "any 1 of (eu)").await.small_batches();
    site.config.spool_bytes_max = "8KiB".parse().unwrap();
    site.config.codec = rpo_replication::BatchCodec::None;
    let mut shipper = site.shipper();
    shipper.step().await.unwrap();
    site.stores[0].set(Break::Down);
    site.log.commits((0..4).map(|_| "x".repeat(4000)));
    shipper.step().await.unwrap();
    let view = shipper.view();
    drop(shipper);

    assert_eq!(view.admit().await.unwrap_err().kind(), ErrorKind::Busy);
}
