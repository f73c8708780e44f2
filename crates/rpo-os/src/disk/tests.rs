use super::*;

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.err().expect("must fail").kind()
}

#[test]
fn bytes_are_read_where_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::new();
    let file = disk.create_new(&dir.path().join("a")).unwrap();
    file.write_at(b"xyz", 5).unwrap();

    let mut buffer = [9; 16];

    assert_eq!(file.read_at(&mut buffer, 3).unwrap(), 5, "as far as the file reaches");
    assert_eq!(&buffer[..5], b"\0\0xyz");
    assert_eq!(file.len().unwrap(), 8);
    assert_eq!(file.read_at(&mut buffer, 8).unwrap(), 0);
    file.sync().unwrap();
    disk.sync_dir(dir.path()).unwrap();
}

#[test]
fn names_are_never_taken_over_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::new();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    disk.create_new(&a).unwrap().write_at(b"a", 0).unwrap();
    disk.create_new(&b).unwrap();

    assert_eq!(kind(disk.create_new(&a)), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.link(&a, &b)), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.create_dir(&a)), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.open(&dir.path().join("none"), Access::Read)), io::ErrorKind::NotFound);
    assert_eq!(kind(disk.remove(&dir.path().join("none"))), io::ErrorKind::NotFound);

    disk.rename(&a, &b).unwrap(); // renaming is the one that replaces
    assert_eq!(disk.open(&b, Access::Read).unwrap().len().unwrap(), 1);
    assert!(disk.open(&b, Access::Read).unwrap().write_at(b"x", 0).is_err(), "opened for reading only");
}

#[test]
fn a_listing_is_sorted_by_bytes_and_tells_files_from_directories() {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::new();
    for name in ["b", "B", "a-", "a"] {
        disk.create_new(&dir.path().join(name)).unwrap();
    }
    disk.create_dir(&dir.path().join("c")).unwrap();

    let listed = disk.list(dir.path()).unwrap();

    let names: Vec<_> = listed.iter().map(|e| e.name.to_str().unwrap()).collect();
    assert_eq!(names, ["B", "a", "a-", "b", "c"]);
    assert_eq!(listed[4].kind, FileKind::Directory);
    assert_eq!(kind(disk.list(&dir.path().join("none"))), io::ErrorKind::NotFound);
    assert!(disk.open(&dir.path().join("c"), Access::Read).is_err());
}

#[test]
fn a_second_lock_is_refused_until_the_first_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::new();
    let path = dir.path().join("lock");
    let first = disk.lock(&path).unwrap();

    assert_eq!(kind(disk.lock(&path)), io::ErrorKind::WouldBlock);

    drop(first);
    disk.lock(&path).unwrap();
}

#[test]
fn what_is_created_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::new();
    let [file, folder] = ["f", "d"].map(|name| dir.path().join(name));
    disk.create_new(&file).unwrap();
    disk.create_dir(&folder).unwrap();

    for path in [file, folder] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0);
    }
    assert!(disk.free_bytes(dir.path()).unwrap().is_some_and(|free| free > 0));
}
