use std::collections::BTreeSet;

use rpo_core::ports::Access;
use rpo_core::{Disk, DiskFile};

use super::super::{Crashed, FaultKind, FaultPlan, Machine, SECTOR_BYTES, World};
use super::{at, calm};

const SEEDS: u64 = 200;

/// A machine with a file whose name is durable and whose bytes are 4 durable sectors of `o`.
fn with_old_file(seed: u64) -> (World, Machine) {
    let (world, machine) = calm(seed);
    let file = machine.disk().create_new(at("/f")).unwrap();
    file.write_at(&[b'o'; 4 * SECTOR_BYTES], 0).unwrap();
    file.sync().unwrap();
    machine.disk().sync_dir(at("/")).unwrap();
    (world, machine)
}

fn open(machine: &Machine) -> std::sync::Arc<dyn DiskFile> {
    machine.disk().open(at("/f"), Access::ReadWrite).unwrap()
}

#[test]
fn written_is_not_durable() {
    let mut sectors_seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let (_, machine) = with_old_file(seed);
        open(&machine).write_at(&[b'n'; 3 * SECTOR_BYTES], 0).unwrap();

        let bytes = machine.power_cut().disk().cached_bytes(at("/f")).unwrap();

        assert_eq!(bytes.len(), 4 * SECTOR_BYTES);
        let kinds: Vec<u8> = bytes
            .chunks(SECTOR_BYTES)
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "seed {seed}: a sector was torn");
                sector[0]
            })
            .collect();
        assert_eq!(kinds[3], b'o', "what was not written does not change");
        sectors_seen.insert(kinds);
    }
    assert_eq!(sectors_seen.len(), 8, "each subset of three sectors survives sometimes: {sectors_seen:?}");
}

#[test]
fn synced_is_durable() {
    for seed in 0..SEEDS {
        let (_, machine) = with_old_file(seed);
        let file = open(&machine);
        file.write_at(&[b'n'; 5 * SECTOR_BYTES + 7], 100).unwrap();
        file.sync().unwrap();
        let before = machine.disk().cached_bytes(at("/f")).unwrap();

        assert_eq!(machine.power_cut().disk().cached_bytes(at("/f")).unwrap(), before, "seed {seed}");
    }
}

#[test]
fn a_new_length_may_survive_without_its_bytes() {
    let (mut old, mut new, mut zeros) = (0, 0, 0);
    for seed in 0..SEEDS {
        let (_, machine) = with_old_file(seed);
        open(&machine).write_at(&[b'n'; 4 * SECTOR_BYTES], 4 * SECTOR_BYTES as u64).unwrap();

        let bytes = machine.power_cut().disk().cached_bytes(at("/f")).unwrap();

        old += u32::from(bytes.len() == 4 * SECTOR_BYTES);
        new += u32::from(bytes.len() == 8 * SECTOR_BYTES);
        zeros += u32::from(bytes[4 * SECTOR_BYTES..].contains(&0));
    }
    assert!(old > 0 && new > 0 && zeros > 0, "{old} {new} {zeros}");
}

#[test]
fn a_name_is_not_durable_without_a_sync_of_its_directory() {
    let mut survivors = 0;
    for seed in 0..SEEDS {
        let (_, machine) = calm(seed);
        let file = machine.disk().create_new(at("/f")).unwrap();
        file.write_at(b"bytes", 0).unwrap();
        file.sync().unwrap();

        let disk = machine.power_cut().disk();

        match disk.cached_bytes(at("/f")) {
            Ok(bytes) => {
                assert_eq!(bytes, b"bytes", "the bytes were synced");
                survivors += 1;
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
        }
    }
    assert!((1..SEEDS).contains(&survivors), "{survivors}");
}

#[test]
fn a_rename_happens_as_a_whole_or_not_at_all() {
    let mut renamed = 0;
    for seed in 0..SEEDS {
        let (_, machine) = with_old_file(seed);
        machine.disk().create_new(at("/g")).unwrap();
        machine.disk().sync_dir(at("/")).unwrap();
        machine.disk().rename(at("/f"), at("/g")).unwrap();

        let disk = machine.power_cut().disk();

        let old = disk.cached_bytes(at("/f")).is_ok();
        let new = disk.cached_bytes(at("/g")).unwrap().len() == 4 * SECTOR_BYTES;
        assert_ne!(old, new, "seed {seed}: one file, one name");
        renamed += u64::from(new);
    }
    assert!((1..SEEDS).contains(&renamed), "{renamed}");
}

#[test]
fn a_directory_without_a_durable_name_takes_its_content_with_it() {
    let mut lost = 0;
    for seed in 0..SEEDS {
        let (_, machine) = calm(seed);
        machine.disk().create_dir(at("/d")).unwrap();
        machine.disk().create_new(at("/d/f")).unwrap();
        machine.disk().sync_dir(at("/d")).unwrap();

        let disk = machine.power_cut().disk();

        match disk.list(at("/d")) {
            Ok(entries) => assert_eq!(entries.len(), 1),
            Err(_) => lost += 1,
        }
    }
    assert!((1..SEEDS).contains(&lost), "{lost}");
}

#[test]
fn a_failed_sync_is_told_once_and_then_hidden() {
    for seed in 0..SEEDS {
        let (world, machine) = with_old_file(seed);
        let file = open(&machine);
        file.write_at(&[b'n'; SECTOR_BYTES], 0).unwrap();
        world.arm(FaultKind::SyncError, 0);

        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(5));

        assert!(file.sync().is_ok(), "the second sync has nothing left to do");
        let new_process = machine.kill();
        assert_eq!(
            new_process.disk().cached_bytes(at("/f")).unwrap()[0],
            b'n',
            "reads still show the new bytes"
        );
        open(&new_process).sync().unwrap();
        assert_eq!(
            new_process.power_cut().disk().cached_bytes(at("/f")).unwrap()[0],
            b'o',
            "a power cut loses them"
        );
    }
}

#[test]
fn a_failed_sync_of_a_directory_is_told_once_and_then_hidden() {
    let file_after = |seed, changed_again: bool| {
        let (world, machine) = calm(seed);
        machine.disk().create_new(at("/f")).unwrap();
        world.arm(FaultKind::SyncDirError, 0);
        assert_eq!(machine.disk().sync_dir(at("/")).unwrap_err().raw_os_error(), Some(5));
        if changed_again {
            machine.disk().create_new(at("/g")).unwrap();
        }
        machine.disk().sync_dir(at("/")).unwrap();
        machine.power_cut().disk().list(at("/")).unwrap().iter().any(|entry| entry.name == "f")
    };
    assert!((0..SEEDS).all(|seed| !file_after(seed, false)), "a second sync has nothing left to do");
    assert!((0..SEEDS).all(|seed| file_after(seed, true)), "a changed directory is written as a whole");
}

#[test]
fn pages_given_up_by_a_failed_sync_may_leave_the_cache() {
    let world = World::with_plan(1, FaultPlan::calm().with(FaultKind::Evict, 1000));
    let machine = world.machine("a");
    let file = machine.disk().create_new(at("/f")).unwrap();
    file.write_at(b"new", 0).unwrap();
    world.arm(FaultKind::SyncError, 0);
    file.sync().unwrap_err();

    assert_eq!(machine.kill().disk().cached_bytes(at("/f")).unwrap(), [0; 3]);
}

#[test]
fn writing_a_page_again_makes_all_of_it_dirty() {
    let (world, machine) = with_old_file(3);
    let file = open(&machine);
    file.write_at(&[b'n'; SECTOR_BYTES], 0).unwrap();
    world.arm(FaultKind::SyncError, 0);
    file.sync().unwrap_err();

    file.write_at(&[b'm'; SECTOR_BYTES], SECTOR_BYTES as u64).unwrap();
    file.sync().unwrap();

    assert_eq!(machine.disk().durable_bytes(at("/f")).unwrap()[0], b'n');
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let (_, machine) = with_old_file(1);
    machine.disk().set_capacity(Some(5 * SECTOR_BYTES as u64));
    let file = open(&machine);

    assert!(file.write_at(&[b'n'; 4 * SECTOR_BYTES], 0).is_ok(), "overwriting needs no room");
    let error = file.write_at(&[b'x'; 2 * SECTOR_BYTES], 4 * SECTOR_BYTES as u64).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(machine.disk().free_bytes(at("/")).unwrap(), Some(0));

    machine.disk().set_capacity(None);
    assert!(file.write_at(&[b'x'; 2 * SECTOR_BYTES], 4 * SECTOR_BYTES as u64).is_ok());
}

#[test]
fn a_lock_ends_with_its_guard_or_its_process() {
    let (_, machine) = calm(1);
    let first = machine.disk().lock(at("/lock")).unwrap();
    assert_eq!(machine.disk().lock(at("/lock")).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);

    let machine = machine.kill();
    let second = machine.disk().lock(at("/lock")).unwrap();
    drop(first); // the guard of the dead process unlocks nothing
    assert!(machine.disk().lock(at("/lock")).is_err());
    drop(second);
    assert!(machine.disk().lock(at("/lock")).is_ok());
}

#[test]
fn what_a_dead_process_holds_is_dead() {
    let (_, machine) = with_old_file(1);
    let file = open(&machine);
    let disk = machine.disk();

    machine.kill();

    assert!(Crashed::is(&file.write_at(b"x", 0).unwrap_err()));
    assert!(Crashed::is(&disk.list(at("/")).unwrap_err()));
}

#[test]
fn rot_is_seen_now_and_after_a_power_cut() {
    let (_, machine) = with_old_file(1);
    machine.disk().rot(at("/f"), 9, 0b100).unwrap();

    assert_eq!(machine.disk().cached_bytes(at("/f")).unwrap()[9], b'o' ^ 0b100);
    assert_eq!(machine.power_cut().disk().cached_bytes(at("/f")).unwrap()[9], b'o' ^ 0b100);
}
