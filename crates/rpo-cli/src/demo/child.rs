//! The bank as a child process: heard line by line, told what to do, and killed; it never outlives the demo.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rpo::core::{Clock, Timestamp};

use super::Stage;
use super::journal::Journal;

/// How often a child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A process that is killed and waited for, whatever happens.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// This program as the bank.
fn bank(stage: &Stage, arguments: &[String]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("this program cannot find itself")?);
    command.arg("--quiet").arg("demo-ledger").args(arguments).env("RPO_PASSPHRASE", &stage.passphrase);
    Ok(command)
}

/// A bank that is open and books.
pub(super) struct RunningBank {
    process: Guarded,
    commands: ChildStdin,
    journal: Arc<Mutex<Journal>>,
    reader: JoinHandle<()>,
    complaints: PathBuf,
    clock: Arc<dyn Clock>,
}

impl RunningBank {
    /// Starts it and takes down what it says; `complaints` gets its stderr.
    pub(super) fn start(stage: &Stage, arguments: &[String], complaints: PathBuf) -> anyhow::Result<Self> {
        let mut command = bank(stage, arguments)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&complaints)?);
        let mut process = Guarded(command.spawn().context("the bank cannot be started")?);
        let commands = process.0.stdin.take().context("the bank has no stdin")?;
        let mut lines = BufReader::new(process.0.stdout.take().context("the bank has no stdout")?);
        let journal = Arc::<Mutex<Journal>>::default();
        let (taken, clock) = (journal.clone(), stage.parts.clock.clone());
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
                let heard = clock.wall();
                taken.lock().unwrap_or_else(PoisonError::into_inner).hear(line.trim_end(), heard);
                line.clear();
            }
        });
        Ok(Self { process, commands, journal, reader, complaints, clock: stage.parts.clock.clone() })
    }

    /// Tells it something.
    pub(super) fn tell(&mut self, command: &str) -> anyhow::Result<()> {
        writeln!(self.commands, "{command}").context("the bank does not listen")
    }

    /// Waits until `ready` says something of what was heard so far.
    pub(super) async fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        ready: impl Fn(&Journal) -> Option<T>,
    ) -> anyhow::Result<T> {
        let begin = self.clock.monotonic();
        loop {
            if let Some(found) = ready(&self.journal.lock().unwrap_or_else(PoisonError::into_inner)) {
                return Ok(found);
            }
            if let Some(status) = self.process.0.try_wait()? {
                bail!("the bank ended ({status}) before {what}: {}", last_words(&self.complaints));
            }
            if self.clock.monotonic().since(begin) > limit {
                bail!("{what}: not after {} s; {}", limit.as_secs(), last_words(&self.complaints));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Kills it as a power cut would. Returns all that it had said, and when it was certainly dead.
    pub(super) fn kill(mut self) -> anyhow::Result<(Journal, Timestamp)> {
        if let Some(status) = self.process.0.try_wait()? {
            bail!("the bank had ended by itself ({status}): {}", last_words(&self.complaints));
        }
        self.process.0.kill().context("the bank cannot be killed")?; // SIGKILL
        self.process.0.wait()?;
        let killed_at = self.clock.wall();
        Ok((self.all_heard()?, killed_at))
    }

    /// Lets it stop in order.
    pub(super) async fn stop(mut self, limit: Duration) -> anyhow::Result<Journal> {
        self.tell("stop")?;
        self.until("it stopped", limit, |journal| journal.stopped.then_some(())).await?;
        self.process.0.wait()?; // it has nothing left to do but to end
        self.all_heard()
    }

    fn all_heard(self) -> anyhow::Result<Journal> {
        let Self { reader, journal, .. } = self;
        reader.join().map_err(|_| anyhow::anyhow!("the journal could not be written to its end"))?;
        Ok(std::mem::take(&mut journal.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Has the bank do one thing; returns what it printed.
pub(super) async fn bank_once(
    stage: &Stage,
    arguments: &[String],
    limit: Duration,
) -> anyhow::Result<String> {
    let (said, complaints) = (stage.dir.join("bank-once.out"), stage.dir.join("bank-once.err"));
    let mut command = bank(stage, arguments)?;
    command.stdin(Stdio::null()).stdout(File::create(&said)?).stderr(File::create(&complaints)?);
    let mut process = Guarded(command.spawn().context("the bank cannot be started")?);
    let begin = stage.parts.clock.monotonic();
    let status = loop {
        if let Some(status) = process.0.try_wait()? {
            break status;
        }
        if stage.parts.clock.monotonic().since(begin) > limit {
            bail!("not over after {} s; {}", limit.as_secs(), last_words(&complaints));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    if !status.success() {
        bail!("{status}: {}", last_words(&complaints));
    }
    Ok(std::fs::read_to_string(&said)?)
}

fn last_words(complaints: &Path) -> String {
    let text = std::fs::read_to_string(complaints).unwrap_or_default();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        "it said nothing".to_owned()
    } else {
        lines[lines.len().saturating_sub(5)..].join(" / ")
    }
}
