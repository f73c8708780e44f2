//! A process that is bounded in time: started in a group of its own, its output collected, killed when it hangs.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Longest time any victim may take; longer is a hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Place {
    /// The victim's program.
    pub victim: PathBuf,
    /// The shim to preload.
    pub shim: PathBuf,
    /// A directory for logs; what fails stays below it.
    pub scratch: PathBuf,
    /// The planted bug the victim gets.
    pub plant: Option<String>,
}

/// How a child ended, and what it said.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// It did not end in time; where its threads waited.
    pub hung: Option<String>,
}

/// A child under way.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    out: JoinHandle<String>,
    err: JoinHandle<String>,
}

pub(crate) fn spawn(command: Command) -> anyhow::Result<Running> {
    spawn_heard(command, |_| ())
}

/// Starts a child, and tells `hear` each line of its output as soon as it is there.
pub(crate) fn spawn_heard(
    mut command: Command,
    mut hear: impl FnMut(&str) + Send + 'static,
) -> anyhow::Result<Running> {
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = started.spawn().with_context(|| format!("{command:?} did not start"))?;
    let mut out = BufReader::new(child.stdout.take().context("piped")?);
    let mut err = child.stderr.take().context("piped")?;
    let out = std::thread::spawn(move || {
        let (mut all, mut line) = (String::new(), Vec::new());
        while matches!(out.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line);
            hear(text.trim_end_matches('\n'));
            all.push_str(&text);
            line.clear();
        }
        all
    });
    let err = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = err.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    Ok(Running { child, out, err })
}

impl Running {
    pub(crate) fn kill(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }

    pub(crate) fn finish(mut self) -> anyhow::Result<Run> {
        let began = Instant::now();
        let mut hung = None;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if began.elapsed() > PATIENCE && hung.is_none() {
                hung = Some(where_it_waits(self.child.id()));
                self.kill();
            }
            std::thread::sleep(Duration::from_micros(500));
        };
        Ok(Run {
            out: self.out.join().unwrap_or_default(),
            err: self.err.join().unwrap_or_default(),
            code: status.code(),
            signal: status.signal(),
            hung,
        })
    }
}

fn where_it_waits(pid: u32) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let one = |dir: PathBuf| {
        let names = ["comm", "wchan", "syscall"].map(|name| read(dir.join(name)));
        names.join(" ")
    };
    tasks.map(|task| one(task.path())).collect::<Vec<_>>().join("; ")
}

impl Place {
    /// The victim in `mode` on `dir`.
    pub(crate) fn victim(&self, mode: &str, dir: &Path, life: u64, rest: &[u64]) -> Command {
        self.wrapped(&[], mode, dir, life, rest)
    }

    /// The victim below another program, such as strace.
    pub(crate) fn wrapped(
        &self,
        wrap: &[String],
        mode: &str,
        dir: &Path,
        life: u64,
        rest: &[u64],
    ) -> Command {
        let mut words: Vec<std::ffi::OsString> = wrap.iter().map(Into::into).collect();
        words.push(self.victim.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(mode).arg(dir).arg(life.to_string());
        command.args(rest.iter().map(u64::to_string));
        if let Some(plant) = &self.plant {
            command.env("RPO_TORTURE_PLANT", plant);
        }
        command
    }

    /// The shim's settings for a command.
    pub(crate) fn shimmed(
        &self,
        command: &mut Command,
        dir: &Path,
        mode: &str,
        at: u64,
        seed: u64,
        count: &Path,
    ) {
        command.env("LD_PRELOAD", &self.shim).env("RPO_FI_DIR", dir).env("RPO_FI_MODE", mode);
        command
            .env("RPO_FI_AT", at.to_string())
            .env("RPO_FI_SEED", seed.to_string())
            .env("RPO_FI_COUNT", count);
    }
}
