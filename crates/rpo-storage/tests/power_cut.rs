//! What a local store acknowledged survives a power cut at any step; what it did not acknowledge is whole or absent.

mod common;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use common::key;
use futures::StreamExt as _;
use rpo_core::ports::{Access, Disk, DiskEntry, DiskFile, DiskLock};
use rpo_storage::{ListRequest, LocalStorage, Storage, StorageError};
use rpo_testkit::sim::{FaultPlan, World};

const ROOT: &str = "/srv/backups/store";

/// What was acknowledged; `None` while an operation on the key has not been answered.
#[derive(Debug, Default)]
struct Told {
    objects: BTreeMap<&'static str, Option<Bytes>>,
    deleted: Vec<&'static str>,
}

fn content(name: &str) -> Bytes {
    name.bytes().cycle().take(10_000).collect::<Vec<_>>().into()
}

/// Creates, streams and deletes until the machine stops.
async fn work(store: &dyn Storage, told: &mut Told) -> Result<(), StorageError> {
    for name in ["packs/0f/one", "packs/0f/two", "config/1", "top"] {
        told.objects.insert(name, None);
        store.create(&key(name), content(name)).await?;
        told.objects.insert(name, Some(content(name)));
    }
    let name = "logs/s/1";
    told.objects.insert(name, None);
    let parts: Vec<_> = content(name).chunks(3_000).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    store.create_streaming(&key(name), futures::stream::iter(parts).boxed()).await?;
    told.objects.insert(name, Some(content(name)));
    told.objects.insert("packs/0f/one", None);
    store.delete(&key("packs/0f/one")).await?;
    told.objects.remove("packs/0f/one");
    told.deleted.push("packs/0f/one");
    Ok(())
}

/// Which promise is broken, if one is.
async fn judge(store: &dyn Storage, told: &Told) -> Result<(), String> {
    for (name, expected) in &told.objects {
        match (store.read_all(&key(name), u64::MAX).await, expected) {
            (Ok(found), _) if found == content(name) => {}
            (Ok(found), _) => return Err(format!("{name} is torn: {} bytes", found.len())),
            (Err(StorageError::NotFound { .. }), None) => {}
            (Err(error), _) => return Err(format!("{name} was acknowledged: {error}")),
        }
    }
    for name in &told.deleted {
        if store.stat(&key(name)).await.is_ok() {
            return Err(format!("{name} is back, although its deletion was acknowledged"));
        }
    }
    let listed = store.list(ListRequest::default()).await.map_err(|e| e.to_string())?;
    match listed.objects.iter().find(|o| !told.objects.contains_key(o.key.as_str())) {
        Some(stranger) => Err(format!("{} was never created", stranger.key)),
        None => Ok(()),
    }
}

fn open(world: &World, honest: bool) -> LocalStorage {
    let disk = world.machine("a").disk();
    let disk: Arc<dyn Disk> = if honest { Arc::new(disk) } else { Arc::new(NoDirectorySync(Arc::new(disk))) };
    LocalStorage::open(ROOT, disk).expect("the store opens")
}

/// One run with a power cut at `step`; `Ok(true)` if the work ended before it.
async fn run(seed: u64, step: u64, honest: bool) -> Result<bool, String> {
    let world = World::with_plan(seed, FaultPlan::calm());
    world.machine("a").disk().set_up_dir(Path::new("/srv")).expect("the scene is set");
    world.crash_at(world.steps() + step);
    let mut told = Told::default();
    let done = match LocalStorage::open(ROOT, Arc::new(world.machine("a").disk())) {
        Ok(_) => work(&open(&world, honest), &mut told).await.is_ok(),
        Err(_) => false,
    };
    world.reboot();
    let store = open(&world, true);
    judge(&store, &told).await.map_err(|broken| format!("seed {seed}, cut at step {step}: {broken}"))?;
    let again = store.create(&key("after/wards"), content("x")).await;
    again.map_err(|e| format!("seed {seed}, cut at step {step}: the store cannot go on: {e}"))?;
    Ok(done)
}

#[tokio::test]
async fn acknowledged_objects_survive_a_power_cut_at_any_step() {
    for seed in 0..12 {
        for step in 1.. {
            if run(seed, step, true).await.unwrap() {
                assert!(step > 30, "the work has more steps than {step}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn without_the_sync_of_directories_the_same_story_loses_objects() {
    for seed in 0..4 {
        let mut step = 1;
        while let Ok(done) = run(seed, step, false).await {
            assert!(!done, "seed {seed}: a story that cannot tell shows nothing");
            step += 1;
        }
    }
}

#[tokio::test]
async fn what_was_seen_after_a_crash_of_the_process_stays_after_a_power_cut() {
    for seed in 0..12 {
        for step in 1..60 {
            let world = World::with_plan(seed, FaultPlan::calm());
            world.machine("a").disk().set_up_dir(Path::new("/srv")).unwrap();
            world.crash_at(world.steps() + step);
            let _ = work(&open(&world, true), &mut Told::default()).await;

            world.restart(); // the process died, the cache did not
            let store = open(&world, true);
            let mut seen = Vec::new();
            for name in ["packs/0f/two", "config/1", "top", "logs/s/1"] {
                if store.stat(&key(name)).await.is_ok() {
                    seen.push(name);
                }
            }
            world.machine("a").power_cut();

            let store = open(&world, true);
            for name in seen {
                let read = store.read_all(&key(name), u64::MAX).await;
                assert_eq!(read.ok(), Some(content(name)), "seed {seed}, step {step}: {name} was seen");
            }
        }
    }
}

#[tokio::test]
async fn a_failed_sync_of_a_directory_is_told_as_unknown_and_not_taken_back_by_a_look() {
    let world = World::with_plan(3, FaultPlan::calm());
    world.machine("a").disk().set_up_dir(Path::new(ROOT)).unwrap();
    let store = open(&world, true);
    store.create(&key("d/one"), content("one")).await.unwrap();
    world.arm(rpo_testkit::sim::FaultKind::SyncDirError, 0);

    let outcome = store.create(&key("d/two"), content("two")).await.unwrap_err();

    assert_eq!(outcome.kind(), rpo_core::ErrorKind::Unknown, "{outcome}");
    let look = store.stat(&key("d/two")).await.unwrap_err();
    assert_eq!(look.kind(), rpo_core::ErrorKind::Unknown, "{look}");
    let more = store.create(&key("d/three"), content("three")).await.unwrap_err();
    assert_eq!(more.kind(), rpo_core::ErrorKind::Refused, "{more}");
    assert_eq!(store.read_all(&key("d/one"), u64::MAX).await.unwrap(), content("one"), "it stays readable");
}

#[tokio::test]
async fn a_full_disk_is_told_as_that_and_nothing_is_half_there() {
    let world = World::with_plan(3, FaultPlan::calm());
    world.machine("a").disk().set_up_dir(Path::new(ROOT)).unwrap();
    let store = open(&world, true);
    store.create(&key("one"), content("one")).await.unwrap();
    world.machine("a").disk().set_capacity(Some(12_000));

    let outcome = store.create(&key("two"), content("two")).await.unwrap_err();

    assert_eq!(outcome.kind(), rpo_core::ErrorKind::NoSpace, "{outcome}");
    assert!(store.stat(&key("two")).await.is_err());
    world.machine("a").disk().set_capacity(None);
    store.create(&key("two"), content("two")).await.expect("it goes on by itself");
}

/// A disk whose directories are never synced.
#[derive(Debug)]
struct NoDirectorySync(Arc<dyn Disk>);

impl Disk for NoDirectorySync {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(path, access)
    }
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.create_new(path)
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.link(from, to)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
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
    fn device(&self, path: &Path) -> io::Result<Option<String>> {
        self.0.device(path)
    }
}

#[test]
fn the_root_is_where_the_story_says() {
    let world = World::with_plan(1, FaultPlan::calm());
    assert_eq!(open(&world, true).root(), PathBuf::from(ROOT));
}
