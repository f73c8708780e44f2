//! What is put into the copy of the tree before the first checkpoint, and what is changed before the second.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::Chance;
use super::replica::set_attribute;

/// The directory that is put into the copy.
const PLANTED: &str = "put here by rpo demo";
const ATTRIBUTE: &str = "user.rpo.demo";
const SPARSE_BYTES: u64 = 8 << 20;

/// Puts one of everything into the tree: what the tree itself may lack.
pub(super) fn plant(tree: &Path) -> io::Result<()> {
    let at = tree.join(PLANTED);
    fs::create_dir(&at)?;
    fs::create_dir(at.join("an empty directory"))?;
    for name in [
        "modified",
        "deleted",
        "renamed",
        "made private",
        "linked",
        "with an attribute",
        "turned into a link",
    ] {
        fs::write(at.join(name), format!("{name}: as the first checkpoint sees it\n").repeat(100))?;
    }
    File::create_new(at.join("empty"))?;
    fs::hard_link(at.join("linked"), at.join("linked, its other name"))?;
    symlink("modified", at.join("a symbolic link"))?;
    symlink("nowhere/at all", at.join("a dangling link"))?;
    let sparse = File::create_new(at.join("sparse"))?;
    sparse.set_len(SPARSE_BYTES)?;
    sparse.write_at(b"an island", SPARSE_BYTES / 2)?;
    set_attribute(&at.join("with an attribute"), OsStr::new(ATTRIBUTE), b"first")?;
    odd_name(&at, b"no UTF-8: \xff\xfe")
}

/// Not every file system has names that are not UTF-8.
fn odd_name(at: &Path, name: &[u8]) -> io::Result<()> {
    match fs::write(at.join(OsString::from_vec(name.to_vec())), "an odd name") {
        Err(error)
            if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Changes what was planted, and some files of the tree itself. Returns what was done.
pub(super) fn change(tree: &Path, chance: &mut Chance) -> io::Result<Vec<&'static str>> {
    let at = tree.join(PLANTED);
    append(&at.join("modified"))?;
    fs::remove_file(at.join("deleted"))?;
    fs::rename(at.join("renamed"), at.join("renamed since"))?;
    fs::set_permissions(at.join("made private"), Permissions::from_mode(0o600))?;
    fs::hard_link(at.join("linked"), at.join("linked, a third name"))?;
    set_attribute(&at.join("with an attribute"), OsStr::new(ATTRIBUTE), b"second")?;
    fs::remove_file(at.join("turned into a link"))?;
    symlink("modified", at.join("turned into a link"))?;
    OpenOptions::new().write(true).open(at.join("sparse"))?.write_at(b"another island", SPARSE_BYTES / 4)?;
    fs::remove_dir(at.join("an empty directory"))?;
    fs::create_dir(at.join("a new directory"))?;
    fs::write(at.join("a new directory/a new file"), "new")?;
    odd_name(&at, b"no UTF-8, new: \xc3\x28")?;

    let mut own = plain_files(tree);
    let mut pick = || (!own.is_empty()).then(|| own.swap_remove(chance.below(own.len() as u64) as usize));
    if let Some(file) = pick() {
        append(&file)?;
    }
    if let Some(file) = pick() {
        fs::remove_file(file)?;
    }
    if let Some(file) = pick() {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(" (renamed)");
        fs::rename(&file, file.with_file_name(name))?;
    }
    if let Some(file) = pick() {
        fs::set_permissions(file, Permissions::from_mode(0o640))?;
    }
    Ok(vec![
        "modify",
        "add",
        "delete",
        "rename",
        "chmod",
        "symlink",
        "hard link",
        "sparse write",
        "xattr",
        "non-UTF-8 name",
    ])
}

fn append(file: &Path) -> io::Result<()> {
    OpenOptions::new().append(true).open(file)?.write_all(b"\nchanged by rpo demo\n")
}

/// Files of the tree's own that may be changed: with one name, and writable.
fn plain_files(tree: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut todo = vec![tree.to_owned()];
    while let Some(dir) = todo.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| !path.ends_with(PLANTED)) {
            let Ok(metadata) = path.symlink_metadata() else { continue };
            if metadata.is_dir() {
                todo.push(path);
            } else if metadata.is_file() && metadata.nlink() == 1 && metadata.mode() & 0o200 != 0 {
                files.push(path);
            }
        }
    }
    files
}
