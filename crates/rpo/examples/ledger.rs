//! A small bank that loses nothing it was told to keep: how a program embeds `rpo`.
//!
//! Every transfer is one commit of a write-ahead log. The log is shipped to copies elsewhere, the bank's state is
//! checkpointed into them, and the manager says at every moment how much would be lost if this place vanished now. The
//! program can be killed at any moment and started again; if its directory is gone, any copy brings it back.
//!
//! ```text
//! export RPO_PASSPHRASE=…
//! cargo run -p rpo --example ledger -- run --dir /tmp/bank --copy here=file:///tmp/eu@eu --copy far=file:///tmp/us@us
//! cargo run -p rpo --example ledger -- restore --from file:///tmp/us --target latest --into /tmp/then.json
//! cargo run -p rpo --example ledger -- run --takeover --dir /tmp/bank2 --copy far=file:///tmp/us@us
//! ```
//!
//! - `ledger/bank.rs` is the program itself: it knows nothing of `rpo`.
//! - `ledger/state.rs` is all that it has to bring along: a `Source` (its state, for checkpoints) and a `Restorer` (its
//!   state back, from a checkpoint and the log).
//! - `ledger/interface.rs` holds its arguments and what it prints.
//! - This file wires them: see [`Ledger::open`] first, then [`Ledger::transfer`]; [`open_log`] is what a new writer does.
#![allow(unreachable_pub)] // this file is also a module of the `rpo` command, for its demo

#[path = "ledger/bank.rs"]
mod bank;
#[path = "ledger/interface.rs"]
mod interface;
#[path = "ledger/state.rs"]
mod state;

use std::io::BufRead as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rpo::checkpoint::{Cancel, CheckpointOptions, Checkpointer, NoProgress};
use rpo::config::{Config, CopyConfig, DaemonConfig};
use rpo::core::frame::CommitDraft;
use rpo::core::objective::{AckLevel, Domain, Objective, RpoByDomain};
use rpo::core::target::{Bound, Target};
use rpo::core::window::EpochStart;
use rpo::core::{
    ByteSize, Clock, ErrorKind, LogEntry, PointName, Position, SourceId, StreamId, TransactionId,
};
use rpo::manager::{Here, Manager, ManagerParts, StreamSystem};
use rpo::recovery::{Outcome, Plan, PlanOptions, Recovery};
use rpo::replication::{Archive, Copies, Fork, Start, SyncPolicy, TakeoverOptions, take_over};
use rpo::wal::{Appended, Drive, Log, LogParts, OpenAs, Ticket, WalConfig, WalError, replay_dir};
use rpo::{Site, SiteParts};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use bank::{Bank, OPENING_BALANCE, Transfer};
pub use interface::Arguments;
use interface::{Command, Fact, Random, Restore, Run, tell};
use state::{LedgerRestorer, LedgerSource, Shared, State};

/// What the bank is called in the copies: its log and its checkpoints.
const NAME: &str = "ledger";

/// One transfer in so many waits until it would survive the loss of this whole region; the others until it is on disk here.
const PROTECT_ONE_IN: u64 = 10;

/// Carries a command out.
///
/// # Errors
/// Whatever stopped it.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Run(run) => serve(run).await,
        Command::Restore(restore) => bring_back(restore).await,
        Command::Audit { file } => audit(&file),
    }
}

/// The running bank: its books, the log they are written to, and the manager that gets the log to the copies.
struct Ledger {
    books: Shared,
    log: Log,
    manager: Manager,
    clock: Arc<dyn Clock>,
    name: SourceId,
}

impl Ledger {
    /// Opens the copies, then the log, then the books as the log tells them, then begins to protect them.
    async fn open(run: &Run) -> anyhow::Result<Self> {
        let (name, stream) = (SourceId::new(NAME)?, StreamId::new(NAME)?);
        std::fs::create_dir_all(&run.dir).with_context(|| run.dir.display().to_string())?;

        // The copies: created where they are missing, locked with the passphrase in RPO_PASSPHRASE.
        let here = run.copies[0].region.clone().unwrap_or_default();
        let daemon = DaemonConfig { region: here.clone(), ..DaemonConfig::default() };
        let machine = daemon.machine.clone();
        let config = Config { copies: run.copies.clone(), daemon, ..Config::default() };
        let parts = SiteParts::os();
        Site::create(&config, &parts).await?;
        let site = Site::open(config, parts.clone()).await?;

        let (books, log, start) = open_log(run, &site, &stream).await?;

        // The manager: ships the log, checkpoints the books, measures what would be lost.
        let taken_over = matches!(start, Start::After(_));
        tell(&Fact::Opened { epoch: log.head().epoch, position: books.position, taken_over })?;
        let books = Shared::new(books);
        let most = RpoByDomain { machine: Some(run.rpo), region: Some(run.rpo), ..RpoByDomain::default() };
        let system = StreamSystem {
            name: name.clone(),
            log: log.clone(),
            start,
            epochs: epochs(&site, &stream).await?,
            stream,
            state: Some(Arc::new(LedgerSource::new(books.clone(), log.clone()))),
            checkpointer: Checkpointer::new(site.home()?.clone(), CheckpointOptions::default()),
            checkpoint_every: run.checkpoint_every.get(),
            ship_every: None, // follows the objective
            objective: Some(Objective::custom(most)),
        };
        let clock = parts.clock;
        let manager_parts = ManagerParts {
            clock: clock.clone(),
            entropy: parts.entropy,
            disk: parts.disk,
            state_dir: run.dir.join("rpo"),
            sample_every: run.report_every.get(),
        };
        let here = Here { machine, region: here };
        let manager = Manager::builder(manager_parts, here, site.specs()).stream(system).start().await?;
        Ok(Self { books, log, manager, clock, name })
    }

    /// Books one transfer and returns when it reached `level`: the promise that a client gets.
    async fn transfer(&self, random: &mut Random, level: AckLevel) -> anyhow::Result<Fact> {
        let (transfer, ticket) = loop {
            match self.accept(random)? {
                Ok(accepted) => break accepted,
                // Certainly not in the log: it waits for room.
                Err(error) if matches!(error.kind(), ErrorKind::Retry | ErrorKind::NoSpace) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        let Appended { lsn, end, time } = self.durable(&ticket).await?;
        if let AckLevel::Protected(domain) = level {
            self.manager.wait_protected(&self.name, end, domain).await?;
        }
        let seq = end.sequence.map_or(0, |sequence| sequence.get());
        let (level, told) = (level.to_string(), self.clock.wall());
        Ok(Fact::Ack { transfer, seq, lsn: lsn.get(), time, level, told })
    }

    /// Books and log are changed under one lock, so that a checkpoint always sees both at the same point.
    fn accept(&self, random: &mut Random) -> anyhow::Result<Result<(Transfer, Ticket), WalError>> {
        self.books.with(|state| {
            let accounts = state.bank.balances().len() as u64;
            let from = random.below(accounts) as u32;
            let to = (u64::from(from) + 1 + random.below(accounts - 1)) % accounts;
            let amount = 1 + random.below(50) as i64;
            let transfer = Transfer { id: state.bank.next_id(), from, to: to as u32, amount };
            state.bank.check(&transfer)?;
            let draft =
                CommitDraft::one(serde_json::to_vec(&transfer)?).with_transaction(TransactionId(transfer.id));
            Ok(match self.log.submit(draft) {
                Ok(ticket) => {
                    state.bank.book(transfer.clone())?;
                    state.position = Some(ticket.end());
                    Ok((transfer, ticket))
                }
                Err(error) => Err(error),
            })
        })
    }

    async fn durable(&self, ticket: &Ticket) -> anyhow::Result<Appended> {
        loop {
            self.log.durable_past(ticket.lsn()).await?;
            if let Some(outcome) = ticket.poll() {
                return Ok(outcome?);
            }
        }
    }
}

/// The books and the log of this directory. With `--takeover` a directory without a log gets one: the stream is taken over
/// from whoever wrote it, which stops them, at the restored state if there is one, else with all that the copies hold.
async fn open_log(run: &Run, site: &Site, stream: &StreamId) -> anyhow::Result<(State, Log, Start)> {
    let (dir, saved) = (run.dir.join("log"), run.dir.join("state.json"));
    let (mut open_as, mut start) = (OpenAs::Continue, Start::Continue);
    let SiteParts { clock, entropy, disk, .. } = site.parts();
    let has_none = matches!(replay_dir(disk, &dir), Err(error) if error.kind() == ErrorKind::NotFound);
    if has_none && run.takeover {
        let restored = saved.exists().then(|| state::load(&saved)).transpose()?;
        let fork = restored.as_ref().and_then(|books| books.position).map_or(Fork::Highest, Fork::At);
        let options = TakeoverOptions { note: "the ledger moved".into(), fork, ..TakeoverOptions::default() };
        let copies = Copies::new(site.specs(), SyncPolicy::default())?;
        let taken = take_over(&copies, stream, &options, &**clock, &**entropy).await?;
        let at = taken.start();
        if restored.is_none() {
            restore(site, &Target::Lsn(at.lsn), Bound::Inclusive, &saved, run.accounts).await?;
        }
        let (epoch, parent, not_before) = (at.epoch, Some(taken.parent.epoch), taken.last_time);
        open_as = OpenAs::Takeover { epoch, at, parent, not_before };
        start = Start::After(Box::new(taken));
    } else if has_none && saved.exists() {
        bail!(
            "{} was restored, and the old writer may live: begin a new epoch with --takeover",
            run.dir.display()
        );
    }
    let new = || State { bank: Bank::open(run.accounts), position: Some(Position::START) };
    let mut books = if saved.exists() { state::load(&saved)? } else { new() };
    let mut config = WalConfig::zero_loss();
    config.segment_bytes = ByteSize::mib(4);
    let (log, _) = Log::open(&dir, config, LogParts::os(), Drive::Thread, open_as)?;
    replay(&mut books, &log)?;
    Ok((books, log, start))
}

/// Books what the log holds after the point where `books` stand.
fn replay(books: &mut State, log: &Log) -> anyhow::Result<()> {
    let (at, start) = (books.position.unwrap_or(Position::START), log.start());
    // After a takeover the log begins at the fork: past the last commit there may be a marker, but no other commit.
    if at.lsn < start.lsn && at.sequence != start.sequence {
        bail!("the books stand at {at}, and the log here begins at {start}");
    }
    for entry in log.replay(at.lsn.max(start.lsn)) {
        if let LogEntry::Commit(commit) = entry? {
            for record in &commit.records {
                books.bank.book(serde_json::from_slice(&record.payload)?)?;
            }
            books.position = Some(commit.position());
        }
    }
    Ok(())
}

/// How the epochs of the stream follow each other, as the copies tell; nothing yet for a new stream.
async fn epochs(site: &Site, stream: &StreamId) -> anyhow::Result<Vec<EpochStart>> {
    match Archive::new(site.specs(), stream.clone())?.coverage().await {
        Ok(coverage) => {
            let legs = coverage.current().legs.iter();
            Ok(legs
                .map(|leg| EpochStart { epoch: leg.epoch, fork: leg.parent.map(|parent| parent.fork) })
                .collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Books under load until told to stop, or until the writer may write no more.
async fn serve(run: Run) -> anyhow::Result<()> {
    let ledger = Arc::new(Ledger::open(&run).await?);
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for number in 0..run.writers {
        let random = Random(run.seed.wrapping_mul(1_000_003).wrapping_add(number.into()));
        tasks.spawn(book(ledger.clone(), random, stopping.clone()));
    }
    tasks.spawn(report(ledger.clone(), stopping.clone()));
    let mut commands = commands();
    loop {
        tokio::select! {
            Some(ended) = tasks.join_next() => ended??, // only an error ends a task before it is told to
            Some(command) = commands.recv() => {
                if command == "stop" {
                    break;
                }
                if let Err(error) = obey(&ledger, &command).await {
                    eprintln!("{error:#}");
                }
            }
        }
    }
    // Whoever still waits for protection gets it: the log is shipped until everybody is served.
    stop.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    ledger.manager.stop().await?;
    let position = ledger.log.head();
    ledger.log.clone().close()?;
    tell(&Fact::Stopped { position })
}

/// Carries out a line of stdin.
async fn obey(ledger: &Ledger, command: &str) -> anyhow::Result<()> {
    let name =
        command.strip_prefix("tag ").with_context(|| format!("`{command}`: write `tag NAME` or `stop`"))?;
    let name = PointName::new(name)?;
    let (log, tag) = (ledger.log.clone(), name.clone());
    let Appended { end, lsn, time } = tokio::task::spawn_blocking(move || log.tag(tag)).await??;
    let seq = end.sequence.map_or(0, |sequence| sequence.get());
    tell(&Fact::Tagged { name, seq, lsn: lsn.get(), time })
}

/// One teller: books, waits for the promise, tells the client, again.
async fn book(
    ledger: Arc<Ledger>,
    mut random: Random,
    stopping: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    while !*stopping.borrow() {
        let important = random.below(PROTECT_ONE_IN) == 0;
        let level = if important { AckLevel::Protected(Domain::Region) } else { AckLevel::Durable };
        tell(&ledger.transfer(&mut random, level).await?)?;
    }
    Ok(())
}

/// Tells every report of the manager.
async fn report(ledger: Arc<Ledger>, mut stopping: watch::Receiver<bool>) -> anyhow::Result<()> {
    let mut reports = ledger.manager.reports();
    loop {
        tokio::select! {
            changed = reports.changed() => changed?,
            _ = stopping.wait_for(|stop| *stop) => return Ok(()),
        }
        let report = reports.borrow_and_update().clone();
        let Some(system) = report.and_then(|report| report.systems.into_iter().next()) else { continue };
        let [machine, region] =
            [Domain::Machine, Domain::Region].map(|domain| system.domain(domain).cloned().map(Box::new));
        tell(&Fact::Report { head: system.head, machine, region })?;
    }
}

/// Lines of stdin. Its end is no command: the bank goes on.
fn commands() -> mpsc::UnboundedReceiver<String> {
    let (send, receive) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if send.send(line.trim().to_owned()).is_err() {
                return;
            }
        }
    });
    receive
}

/// Restores the bank from one copy: nothing else is needed but the passphrase.
async fn bring_back(asked: Restore) -> anyhow::Result<()> {
    let copy = CopyConfig { name: "copy".parse()?, url: asked.from, role: None, machine: None, region: None };
    let config = Config { copies: vec![copy], ..Config::default() };
    let site = Site::open(config, SiteParts::os()).await?;
    let bound = if asked.exclusive { Bound::Exclusive } else { Bound::Inclusive };
    let (plan, outcome) = restore(&site, &asked.target, bound, &asked.into, asked.accounts).await?;
    let (target, reached) = (plan.target, plan.reached);
    tell(&Fact::Restored { target, reached, position: outcome.position, checks: outcome.checks })
}

/// Plans first, then does exactly what was planned; the file is there and whole, or it is not there.
async fn restore(
    site: &Site,
    target: &Target,
    bound: Bound,
    into: &Path,
    accounts: u32,
) -> anyhow::Result<(Plan, Outcome)> {
    let (name, stream) = (SourceId::new(NAME)?, StreamId::new(NAME)?);
    let (_, repository) = site.copy(None)?;
    let recovery = Recovery::load(repository, &name, Some(&stream)).await?;
    let plan = recovery.plan(target, bound, PlanOptions::default()).await?;
    let restorer = Arc::new(LedgerRestorer::new(into, accounts));
    let outcome = recovery.execute(&plan, restorer, &NoProgress, &Cancel::new()).await?;
    Ok((plan, outcome))
}

/// Checks the books of a restored bank.
fn audit(file: &Path) -> anyhow::Result<()> {
    let State { bank, .. } = state::load(file)?;
    let wrong: Vec<_> =
        bank.audit().into_iter().filter_map(|(rule, wrong)| Some(format!("{rule}: {}", wrong?))).collect();
    let ids: Vec<_> = bank.journal().map(|transfer| transfer.id).collect();
    let expected = OPENING_BALANCE * bank.balances().len() as i64;
    let is_wrong = !wrong.is_empty();
    tell(&Fact::Audit {
        transfers: ids.len(),
        balances: bank.balances().iter().sum(),
        expected,
        ids,
        wrong,
    })?;
    if is_wrong { bail!("the books are wrong") } else { Ok(()) }
}

#[derive(Debug, clap::Parser)]
struct Program {
    #[command(flatten)]
    arguments: Arguments,
}

#[allow(dead_code)] // as a module it has no need of it
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run(<Program as clap::Parser>::parse().arguments).await
}
