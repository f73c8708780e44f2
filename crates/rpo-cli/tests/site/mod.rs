//! Scene for the stories: a folder with a directory worth protecting, a configuration, and the real `rpo` binary.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test binary uses some of it; a scene that fails is a failed test

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, io::Write as _};

use serde_json::Value;
use tempfile::TempDir;

/// A folder of its own, where every command runs.
pub struct Site {
    folder: TempDir,
    /// What `RPO_PASSPHRASE` holds; none: it is not set.
    pub passphrase: Option<&'static str>,
}

impl Site {
    /// `docs` with a small tree, and nothing else yet.
    pub fn bare() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap(), passphrase: None };
        site.write("docs/letter.txt", b"dear reader");
        site.write("docs/photos/sea.raw", &noise(1, 300_000));
        site.write("docs/photos/hill.raw", &noise(2, 80_000));
        site
    }

    /// One unencrypted copy at `home`, and `docs` protected by nothing yet: the repository is made, no checkpoint.
    pub fn new() -> Self {
        let site = Self::bare();
        site.configure(ONE_COPY);
        site.ok(["init"]);
        site
    }

    /// As [`new`](Self::new), with a first checkpoint.
    pub fn protected() -> Self {
        let site = Self::new();
        site.ok(["checkpoint"]);
        site
    }

    /// Home and a copy `far`, labelled as standing in another region; 10 minutes promised for machine and region.
    pub fn two_copies() -> Self {
        let site = Self::bare();
        site.configure(TWO_COPIES);
        site.ok(["init"]);
        site
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Writes `rpo.toml`; `FOLDER` in it becomes this folder.
    pub fn configure(&self, text: &str) {
        self.write("rpo.toml", text.replace("FOLDER", self.folder.path().to_str().unwrap()).as_bytes());
    }

    /// Changes `rpo.toml`; what is to be replaced must be there.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("rpo.toml")).unwrap();
        assert!(text.contains(from), "{from} is not in\n{text}");
        fs::write(self.path("rpo.toml"), text.replace(from, to)).unwrap();
    }

    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("rpo"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        for name in ["RPO_CONFIG", "RPO_LOG", "RPO_PASSPHRASE"] {
            command.env_remove(name);
        }
        command.envs(self.passphrase.map(|passphrase| ("RPO_PASSPHRASE", passphrase)));
        command
    }

    /// Runs `rpo` to its end.
    pub fn rpo<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Done {
        let arguments: Vec<OsString> = arguments.into_iter().map(|a| a.as_ref().to_owned()).collect();
        let command = self.command(&arguments);
        Done::of(arguments, command)
    }

    /// Runs `rpo`, which must succeed.
    #[track_caller]
    pub fn ok<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Done {
        self.rpo(arguments).ends_with(0)
    }

    /// Starts `rpo` and lets it run.
    pub fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Restores the newest state into a fresh directory and compares it with `docs`.
    #[track_caller]
    pub fn restores_docs_exactly(&self) {
        self.restores("latest", &self.tree("docs"), &[]);
    }

    /// Restores `target` with `more` arguments into a fresh directory and compares it with `expected`.
    #[track_caller]
    pub fn restores(&self, target: &str, expected: &[String], more: &[&str]) {
        let into = tempfile::tempdir_in(self.folder.path()).unwrap();
        let into = into.path().join("restored");
        let mut arguments = vec!["restore", "docs", "--to", target, "--into", into.to_str().unwrap()];
        arguments.extend(more);
        self.ok(arguments);
        assert_eq!(tree(&into), expected, "restored {target} {more:?}");
    }

    /// Everything below a directory: name, mode, content.
    pub fn tree(&self, name: &str) -> Vec<String> {
        tree(&self.path(name))
    }

    /// The objects of a copy below `prefix`, largest first.
    pub fn objects(&self, copy: &str, prefix: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(copy).join(prefix)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path())
                } else {
                    found.push(entry.path())
                }
            }
        }
        found.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
        found
    }

    /// Names in this folder that a restore might have left behind.
    #[track_caller]
    pub fn has_nothing_half_restored(&self, target: &str) {
        assert!(!self.path(target).exists(), "{target} is there");
        let names = fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().file_name());
        let partial: Vec<_> = names.filter(|name| name.to_string_lossy().contains("partial")).collect();
        assert!(partial.is_empty(), "{partial:?}");
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    arguments: Vec<OsString>,
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Done {
    /// Runs `command` to its end.
    pub fn of<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>, mut command: Command) -> Self {
        let output = command.output().unwrap();
        Self {
            arguments: arguments.into_iter().map(|a| a.as_ref().to_owned()).collect(),
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("stdout is text"),
            err: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }

    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The command must end with `code`, and stderr must say each of `texts`.
    #[track_caller]
    pub fn fails(self, code: i32, texts: &[&str]) -> Self {
        let done = self.ends_with(code).says(texts);
        assert_eq!(done.err.matches("error: ").count(), 1, "one error line: {done:#?}");
        done
    }

    /// Stdout or stderr must say each of `texts`.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.out.contains(text) || self.err.contains(text), "`{text}` is not said: {self:#?}");
        }
        self
    }

    /// Stdout, which must be one JSON document of the shape that is documented.
    #[track_caller]
    pub fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"));
        assert_eq!(value["schema-version"], 0, "{self:#?}");
        value
    }
}

/// Bytes that do not compress and are the same each time.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// Everything below a directory, as lines that can be compared: kind, mode, name, content.
pub fn tree(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, meta) = (entry.path(), entry.path().symlink_metadata().unwrap());
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
            let content = match meta.file_type() {
                t if t.is_symlink() => format!("-> {}", fs::read_link(&path).unwrap().display()),
                t if t.is_dir() => "directory".to_owned(),
                _ => fingerprint(&fs::read(&path).unwrap()),
            };
            lines.push(format!("{name} {:o} {} {content}", meta.permissions().mode(), meta.mtime_nsec()));
            if meta.is_dir() {
                folders.push(path);
            }
        }
    }
    lines.sort();
    lines
}

/// FNV-1a: an equality that shares no code with what is tested.
fn fingerprint(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{} bytes {hash:016x}", bytes.len())
}

/// Says on the real stderr, past the capture of the test harness, that a story was not played.
pub fn skipped(story: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {story}: {why}");
}

pub const ONE_COPY: &str = r#"
[repository]
encryption = "none"

[daemon]
state-dir = "state"

[[copy]]
name = "home"
url = "file://FOLDER/home"

[[system]]
name = "docs"
source = { kind = "directory", path = "docs" }
"#;

pub const TWO_COPIES: &str = r#"
[repository]
encryption = "none"

[daemon]
state-dir = "state"
machine = "desk"
region = "eu"
sample-every = "50ms"

[[copy]]
name = "home"
url = "file://FOLDER/home"
role = "home"

[[copy]]
name = "far"
url = "file://FOLDER/far"
role = "mirror"
machine = "rack"
region = "us"

[[system]]
name = "docs"
source = { kind = "directory", path = "docs" }
objective = { rpo = { machine = "10m", region = "10m" } }
"#;
