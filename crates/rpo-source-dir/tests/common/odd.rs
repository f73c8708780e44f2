//! The odd tree: one of everything that has broken a backup program before.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags, fallocate,
    lsetxattr, mkdirat, openat, utimensat,
};

/// Builds the tree below `root`, which is made. Must run as root; says on standard error what the file system cannot do.
pub fn build(root: &Path) {
    assert!(
        rustix::process::geteuid().is_root(),
        "the odd tree has owners and attributes that only root may set"
    );
    fs::create_dir(root).unwrap();
    names(root);
    links(root);
    contents(root);
    deep(root, 20, 255);
    attributes(root);
    directories(root);
    times(root); // last: they are what is easily changed
}

fn names(root: &Path) {
    let dir = root.join("names");
    fs::create_dir(&dir).unwrap();
    let long = vec![b'n'; 255];
    let odd: [&[u8]; 14] = [
        b"\xff",
        b"\xfe\xff.bin",
        b"new\nline",
        b"quote\"'`",
        b"back\\slash",
        &long,
        "e\u{301}".as_bytes(),
        "\u{e9}".as_bytes(),
        b"Case",
        b"case",
        b" ",
        b"-rf",
        b"a.b",
        b"a-b",
    ];
    for name in odd {
        fs::write(dir.join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::create_dir(dir.join("a")).unwrap(); // sorts before `a-b` and `a.b`, with what is in it
    fs::write(dir.join("a/z"), "z").unwrap();
}

fn links(root: &Path) {
    let dir = root.join("links");
    fs::create_dir_all(dir.join("sub")).unwrap();
    for pair in ["A", "B"] {
        fs::write(dir.join(pair), pair).unwrap();
        fs::hard_link(dir.join(pair), dir.join(pair.to_lowercase())).unwrap();
    }
    fs::hard_link(dir.join("A"), dir.join("sub/third")).unwrap();
    symlink(OsStr::from_bytes(b"no\xff\ntext"), dir.join("to-bytes")).unwrap();
    symlink("/etc/passwd", dir.join("absolute")).unwrap();
    symlink("../..", dir.join("upwards")).unwrap();
    symlink("loop", dir.join("loop")).unwrap();
    symlink("x".repeat(4000), dir.join("long")).unwrap();
    symlink("A", dir.join("linked")).unwrap();
    fs::hard_link(dir.join("linked"), dir.join("linked-again")).unwrap();
    lchown(dir.join("to-bytes"), Some(12), Some(34)).unwrap();
}

fn contents(root: &Path) {
    let dir = root.join("contents");
    fs::create_dir(&dir).unwrap();
    let file = |name: &str, len: u64, runs: &[(u64, usize)]| {
        let file = File::create(dir.join(name)).unwrap();
        file.set_len(len).unwrap();
        for (at, bytes) in runs {
            file.write_all_at(&noise(*bytes), *at).unwrap();
        }
        file
    };
    file("empty", 0, &[]);
    file("one-byte", 1, &[(0, 1)]);
    file("hole-first", 300_000, &[(200_000, 100_000)]);
    file("hole-last", 300_000, &[(0, 70_000)]);
    file("hole-only", 1 << 20, &[]);
    file("holes", 4 << 20, &[(65_536, 4096), (1 << 20, 123_456), ((4 << 20) - 1, 1)]);
    fs::write(dir.join("allocated-zeros"), vec![0; 1 << 20]).unwrap();
    fs::write(dir.join("big"), noise(3_000_001)).unwrap();
    let reserved = file("reserved", 100, &[(0, 100)]);
    fallocate(&reserved, FallocateFlags::KEEP_SIZE, 0, 1 << 20).unwrap(); // blocks beyond the end
    for i in 0..300 {
        fs::write(dir.join(format!("small-{i}")), noise(i)).unwrap();
    }
}

fn attributes(root: &Path) {
    let dir = root.join("attributes");
    fs::create_dir(&dir).unwrap();
    let file = |name: &str, mode: u32, owner: (u32, u32)| {
        let at = dir.join(name);
        fs::write(&at, name).unwrap();
        lchown(&at, Some(owner.0), Some(owner.1)).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
        at
    };
    file("set-user-id", 0o4755, (65_534, 65_534));
    file("set-group-id", 0o2711, (7, 8));
    file("nobody-may", 0o000, (0, 0));
    file("read-only", 0o444, (1000, 1000));
    file("last-user", 0o640, (u32::MAX - 1, u32::MAX - 1));
    let set = |at: &Path, name: &str, value: &[u8]| match lsetxattr(at, name, value, XattrFlags::empty()) {
        Ok(()) => {}
        Err(error) => eprintln!("not here: {name} of {} bytes: {error}", value.len()),
    };
    let many = file("xattrs", 0o600, (1, 2));
    set(&many, "user.z", b"last");
    set(&many, "user.a", b"\0binary\xff");
    set(&many, "user.empty", b"");
    set(&many, "trusted.t", b"t");
    set(&file("xattr-large", 0o600, (0, 0)), "user.large", &noise(3_000));
    set(&file("xattr-huge", 0o600, (0, 0)), "user.huge", &noise(64 << 10));
    let capable = file("capable", 0o755, (3, 4));
    // struct vfs_cap_data, revision 2, effective, CAP_NET_BIND_SERVICE
    let capability: Vec<u8> =
        [0x0200_0001_u32, 1 << 10, 0, 0, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
    set(&capable, "security.capability", &capability);
    let listed = file("access-list", 0o640, (0, 0));
    set(&listed, "system.posix_acl_access", &access_list(1234));
    set(&listed, "user.with-acl", b"1");
    symlink("xattrs", dir.join("link")).unwrap();
    set(&dir.join("link"), "trusted.on-link", b"yes");
    fs::create_dir(dir.join("inherit")).unwrap();
    set(&dir.join("inherit"), "system.posix_acl_default", &access_list(4321));
    fs::write(dir.join("inherit/child"), "inherits").unwrap();
    set(root, "user.on-root", b"root");
}

/// `u::rw-, u:<user>:r--, g::r--, m::r--, o::---` as the kernel takes it.
fn access_list(user: u32) -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 4, user), (4, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 0, u32::MAX)];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&perm.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

fn directories(root: &Path) {
    let dir = root.join("directories");
    for (name, mode) in
        [("empty", 0o755), ("read-only", 0o555), ("shut", 0o000), ("sticky", 0o1777), ("group", 0o2775)]
    {
        fs::create_dir_all(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("child"), name).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::remove_file(dir.join("empty/child")).unwrap();
    lchown(dir.join("group"), Some(5), Some(6)).unwrap();
    fs::set_permissions(dir.join("group"), fs::Permissions::from_mode(0o2775)).unwrap();
}

fn times(root: &Path) {
    let dir = root.join("times");
    fs::create_dir(&dir).unwrap();
    let moments: [(&str, i64, i64); 7] = [
        ("before-1970", -1, 999_999_999),
        ("1901", -2_147_483_648, 0),
        ("1970", 0, 0),
        ("nanoseconds", 1_234_567_890, 123_456_789),
        ("2038", 2_147_483_647, 1),
        ("after-2038", 2_147_483_648, 7),
        ("2200", 7_258_118_400, 999_999_999),
    ];
    for (name, seconds, nanos) in moments {
        fs::write(dir.join(name), name).unwrap();
        set_mtime(&dir.join(name), seconds, nanos);
    }
    symlink("1970", dir.join("link")).unwrap();
    set_mtime(&dir.join("link"), -86_400, 5);
    set_mtime(&dir, -2, 3);
    set_mtime(root, 1_000_000_000, 1);
}

/// Sets the modification time of a name that is not followed.
pub fn set_mtime(at: &Path, seconds: i64, nanos: i64) {
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access, last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos } };
    utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// `levels` directories in one another, with names of `name_len` bytes, and a file in the last.
pub fn deep(root: &Path, levels: usize, name_len: usize) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at: OwnedFd = openat(CWD, root, flags, Mode::empty()).unwrap();
    let name = "d".repeat(name_len);
    for _ in 0..levels {
        mkdirat(at.as_fd(), &name, Mode::RWXU).unwrap();
        at = openat(at.as_fd(), &name, flags, Mode::empty()).unwrap();
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = File::from(openat(at.as_fd(), "bottom", flags, Mode::RUSR | Mode::WUSR).unwrap());
    file.write_all_at(b"at the bottom", 0).unwrap();
}

/// Bytes that look random and are always the same.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ len as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}
