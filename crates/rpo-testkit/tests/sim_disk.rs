//! The simulated disk, when nothing goes wrong, cannot be told from a real one.

use std::io;
use std::path::{Path, PathBuf};

use rpo_core::Disk;
use rpo_core::ports::Access;
use rpo_os::OsDisk;
use rpo_testkit::sim::{FaultPlan, Rng, World};

/// One random call and what a caller learns from it.
fn play(disk: &dyn Disk, root: &Path, rng: &mut Rng) -> String {
    let mut name = || {
        let dir = ["", "d", "e", "d/x"][rng.index(4)];
        root.join(dir).join(["f", "g", "d", "e"][rng.index(4)])
    };
    let (one, two): (PathBuf, PathBuf) = (name(), name());
    let (offset, len, fill) =
        (rng.below(3000), rng.index(2000), b'a' + u8::try_from(rng.below(26)).expect("a letter"));
    let said = |result: io::Result<String>| result.unwrap_or_else(|error| format!("{:?}", error.kind()));
    said(match rng.below(11) {
        0 => disk.create_new(&one).map(|_| "created".into()),
        1 => disk.create_dir(&one).map(|()| "directory".into()),
        2 => disk.link(&one, &two).map(|()| "linked".into()),
        3 => disk.rename(&one, &two).map(|()| "renamed".into()),
        4 => disk.remove(&one).map(|()| "removed".into()),
        5 => disk.list(one.parent().expect("below the root")).map(|mut entries| {
            entries
                .iter_mut()
                .filter(|e| e.kind == rpo_core::ports::FileKind::Directory)
                .for_each(|e| e.len = 0);
            format!("{entries:?}")
        }),
        6 => disk.sync_dir(one.parent().expect("below the root")).map(|()| "synced".into()),
        7 | 8 => disk.open(&one, Access::ReadWrite).and_then(|file| {
            file.write_at(&vec![fill; len], offset)?;
            file.sync()?;
            Ok(file.len()?.to_string())
        }),
        9 => disk.open(&one, Access::Read).and_then(|file| {
            let mut buffer = vec![0; len];
            let count = file.read_at(&mut buffer, offset)?;
            Ok(format!("{:?}", &buffer[..count]))
        }),
        _ => disk.open(&one, Access::Read).and_then(|file| {
            assert!(file.write_at(b"x", 0).is_err(), "opened for reading");
            Ok(file.is_empty()?.to_string())
        }),
    })
}

#[test]
fn a_calm_simulated_disk_answers_as_the_real_one() {
    for seed in 0..60 {
        let scratch = tempfile::tempdir().unwrap();
        let world = World::with_plan(seed, FaultPlan::calm());
        let simulated = world.machine("a").disk();
        let (mut one, mut two) = (Rng::new(seed), Rng::new(seed));
        for n in 0..200 {
            let expected = play(&OsDisk::new(), scratch.path(), &mut one);
            let found = play(&simulated, Path::new("/"), &mut two);
            assert_eq!(found, expected, "seed {seed}, call {n}");
        }
    }
}
