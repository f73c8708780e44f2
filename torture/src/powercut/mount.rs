//! Loop devices and mounts that go away whatever happens, and what is needed to have them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::child::spawn;

/// Runs a program of the system within the bounds of every child.
fn system(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    let run = spawn(command)?.finish()?;
    match (run.code, run.hung) {
        (Some(0), _) => Ok(run.out.trim().to_owned()),
        (_, Some(place)) => bail!("{program} {arguments:?} did not end: {place}"),
        _ => bail!("{program} {arguments:?}: {}", run.err.trim()),
    }
}

/// Why this machine cannot run the rig.
pub(crate) fn lacking() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("mounting needs root".to_owned());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open(device) {
            return Some(format!("{device}: {error}"));
        }
    }
    let tools = ["losetup", "mkfs.ext4", "mount", "umount"];
    let missing = |tool: &&&str| Command::new(tool).arg("-V").output().is_err();
    tools.iter().find(missing).map(|tool| format!("{tool} is not installed"))
}

/// Unmounts and detaches what runs left behind that were killed themselves. `scratch` is DIR/PID.
pub(crate) fn clear_leftovers(scratch: &Path) -> anyhow::Result<()> {
    let Some(all) = scratch.parent() else { return Ok(()) };
    let dead = |path: &str| {
        let below = Path::new(path).strip_prefix(all).ok();
        let pid = below.and_then(|rest| rest.components().next());
        pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    for path in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).filter(|path| dead(path)) {
        system("umount", &["-l", path])?;
    }
    let loops = system("losetup", &["-n", "-O", "NAME,BACK-FILE"])?;
    for (name, file) in loops.lines().filter_map(|line| line.split_once(char::is_whitespace)) {
        if dead(file.trim()) {
            system("losetup", &["-d", name])?;
        }
    }
    Ok(())
}

/// A loop device; detached when dropped.
#[derive(Debug)]
pub(super) struct Loop(String);

impl Loop {
    pub(super) fn on(file: &Path) -> anyhow::Result<Self> {
        let device = system("losetup", &["-f", "--show", &file.to_string_lossy()])?;
        Ok(Self(device))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Err(error) = system("losetup", &["-d", &self.0]) {
            eprintln!("{} stays attached: {error:#}", self.0);
        }
    }
}

/// Makes an ext4 as the tools make it, but wholly: nothing is left to be initialised later.
pub(super) fn make_ext4(device: &Loop) -> anyhow::Result<()> {
    let later = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
    system("mkfs.ext4", &["-q", "-F", "-b", "4096", "-E", later, &device.0]).map(drop)
}

/// Carries everything to the device.
pub(super) fn sync(dir: &Path) -> anyhow::Result<()> {
    system("sync", &["-f", &dir.to_string_lossy()]).map(drop)
}

/// A mounted file system; unmounted when dropped, at the latest when nobody uses it any more.
#[derive(Debug)]
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// ext4 on `device`; recovers it.
    pub(super) fn new(device: &Loop, at: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(at)?;
        system("mount", &["-t", "ext4", "-o", "noatime", &device.0, &at.to_string_lossy()])?;
        Ok(Self(at.to_owned()))
    }

    /// The ext4 in the file `image`, on a loop device that goes with it; recovers it.
    pub(super) fn image(image: &Path, at: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(at)?;
        let [image, to] = [image, at].map(Path::to_string_lossy);
        system("mount", &["-t", "ext4", "-o", "loop,noatime", &image, &to])?;
        Ok(Self(at.to_owned()))
    }

    /// A file system in memory of so many bytes.
    pub(crate) fn small(at: &Path, bytes: u64) -> anyhow::Result<Self> {
        std::fs::create_dir_all(at)?;
        let size = format!("size={bytes}");
        system("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &at.to_string_lossy()]).context("tmpfs")?;
        Ok(Self(at.to_owned()))
    }

    /// Changes how much it holds.
    pub(crate) fn resize(&self, bytes: u64) -> anyhow::Result<()> {
        let size = format!("remount,size={bytes}");
        system("mount", &["-o", &size, &self.0.to_string_lossy()]).map(drop)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let path = self.0.to_string_lossy();
        let gone = system("umount", &[&path]).or_else(|_| system("umount", &["-l", &path]));
        if let Err(error) = gone {
            eprintln!("{path} stays mounted: {error:#}");
        }
    }
}
