//! The bank under load: killed, its directory and its first copy deleted, and restored from the second copy alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rpo::core::Timestamp;

use super::check::{Restored, Until, judge_loss, judge_restore, judge_succession};
use super::child::{RunningBank, bank_once};
use super::journal::Journal;
use super::record::Record;
use super::{Chance, Stage};

/// Kills, at most, until one has lost something.
const KILLS_MAX: usize = 5;
/// Longest time for anything the bank is waited for.
const PATIENCE: Duration = Duration::from_secs(40);
/// The point that gets a name.
const TAG: &str = "before-the-audit";

/// Kills banks until one kill lost transfers that were only durable; each is restored to four targets and judged.
pub(super) async fn play(stage: &Stage, record: &mut Record) -> anyhow::Result<()> {
    let mut chance = Chance(stage.seed);
    let (mut kills, mut lost) = (0, 0);
    while lost == 0 && kills < KILLS_MAX {
        kills += 1;
        let site = Places::new(stage, kills)?;
        let promised;
        (lost, promised) = kill_and_restore(stage, &site, kills, &mut chance, record).await?;
        if lost > 0 || kills == KILLS_MAX {
            go_on(stage, &site, promised, record).await?;
        }
    }
    let verdict = match lost {
        0 => Err(format!("{kills} kills lost nothing: this proves nothing")),
        _ => Ok(format!("{lost} transfers lost, none of them protected")),
    };
    record.check("ledger: a kill lost what was only durable", verdict);
    Ok(())
}

/// Where one bank and its copies are.
struct Places {
    root: PathBuf,
    bank: PathBuf,
    near: PathBuf,
    far: PathBuf,
}

impl Places {
    fn new(stage: &Stage, number: usize) -> anyhow::Result<Self> {
        let root = stage.dir.join(format!("ledger-{number}"));
        std::fs::create_dir(&root)?;
        Ok(Self { bank: root.join("bank"), near: root.join("region-eu"), far: root.join("region-us"), root })
    }

    fn arguments(&self, seed: u64) -> Vec<String> {
        let mut arguments =
            words(&["run", "--writers", "48", "--rpo", "1200ms", "--checkpoint-every", "700ms"]);
        arguments.extend(["--dir".to_owned(), self.bank.display().to_string()]);
        arguments.extend(["--copy".to_owned(), format!("near={}@eu", url(&self.near))]);
        arguments.extend(["--copy".to_owned(), format!("far={}@us", url(&self.far))]);
        arguments.extend(["--seed".to_owned(), seed.to_string()]);
        arguments
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn url(dir: &Path) -> String {
    format!("file://{}", dir.display())
}

/// Returns how many transfers were lost, and up to which commit everything was protected.
async fn kill_and_restore(
    stage: &Stage,
    site: &Places,
    kill: usize,
    chance: &mut Chance,
    record: &mut Record,
) -> anyhow::Result<(usize, u64)> {
    let name = format!("ledger: kill {kill} under load, two copies in two regions");
    let (journal, killed_at) = record.step(&name, killed(stage, site, chance)).await?;
    anyhow::ensure!(journal.strange.is_empty(), "the bank said something strange: {}", journal.strange[0]);
    for gone in [&site.bank, &site.near] {
        std::fs::remove_dir_all(gone).with_context(|| gone.display().to_string())?;
    }
    let mut lost = 0;
    for (name, target, until) in targets(&journal, chance)? {
        let restored = restore(stage, site, &name, &target, record).await?;
        record.checks(judge_restore(&format!("kill {kill}, {name}"), until, &journal, &restored));
        if until == Until::Latest {
            let (checks, loss) = judge_loss(kill, &journal, &restored, killed_at);
            record.checks(checks);
            lost = loss.as_ref().map_or(0, |loss| loss.lost);
            record.losses(loss);
        }
    }
    Ok((lost, journal.protected().map(|ack| ack.seq).max().unwrap_or_default()))
}

/// Runs a bank, names a moment, lets it go on past that, and kills it at a moment that follows from the seed.
async fn killed(
    stage: &Stage,
    site: &Places,
    chance: &mut Chance,
) -> anyhow::Result<((Journal, Timestamp), String)> {
    let seed = chance.below(u64::MAX);
    let mut bank = RunningBank::start(stage, &site.arguments(seed), site.root.join("bank.err"))?;
    bank.until("it was open", PATIENCE, |journal| journal.opened.as_ref().map(|_| ())).await?;
    tokio::time::sleep(Duration::from_millis(700)).await;
    bank.until("its first transfers", PATIENCE, |journal| (journal.acks.len() >= 50).then_some(())).await?;
    bank.tell(&format!("tag {TAG}"))?;
    let tagged =
        bank.until("the moment was named", PATIENCE, |journal| Some(journal.tags.first()?.seq)).await?;
    let past =
        |journal: &Journal| (journal.protected().filter(|ack| ack.seq > tagged).count() >= 20).then_some(());
    bank.until("transfers after the named moment were protected", PATIENCE, past).await?;
    tokio::time::sleep(Duration::from_millis(500 + chance.below(1_000))).await;
    let (journal, killed_at) = bank.kill()?;
    let detail = format!("{} transfers acknowledged, {} reports", journal.acks.len(), journal.reports.len());
    Ok(((journal, killed_at), detail))
}

/// What to restore: as much as there is, and three points before that, each with acknowledgements on both sides.
fn targets(journal: &Journal, chance: &mut Chance) -> anyhow::Result<Vec<(String, String, Until)>> {
    let tag = journal.tags.first().context("no moment was named")?;
    let known = journal.protected().max_by_key(|ack| ack.seq).context("nothing was protected")?;
    let first = journal.protected().min_by_key(|ack| ack.seq).context("nothing was protected")?;
    // Whatever comes before a protected transfer is in the second copy.
    let between =
        |ack: &&super::journal::Ack| ack.seq > first.seq && ack.time > first.time && ack.time < known.time;
    let candidates: Vec<_> = journal.acks.iter().filter(between).collect();
    anyhow::ensure!(!candidates.is_empty(), "too few transfers to choose a target from");
    let mut pick = || candidates[chance.below(candidates.len() as u64) as usize];
    let (time, sequence) = (pick().time, pick().seq);
    Ok(vec![
        ("latest".to_owned(), "latest".to_owned(), Until::Latest),
        ("a time".to_owned(), format!("time:{time}"), Until::Time(time)),
        ("the tag".to_owned(), format!("tag:{}", tag.name), Until::Sequence(tag.seq)),
        ("a sequence".to_owned(), format!("seq:{sequence}"), Until::Sequence(sequence)),
    ])
}

/// Restores from the second copy alone.
async fn restore(
    stage: &Stage,
    site: &Places,
    name: &str,
    target: &str,
    record: &mut Record,
) -> anyhow::Result<Restored> {
    let file = site.root.join(format!("restored to {name}.json"));
    let mut arguments = words(&["restore", "--target", target, "--from"]);
    arguments.extend([url(&site.far), "--into".to_owned(), file.display().to_string()]);
    let work = async {
        bank_once(stage, &arguments, PATIENCE).await?;
        Ok(((), target.to_owned()))
    };
    record.step(&format!("ledger: restore to {name} from the second copy alone"), work).await?;
    serde_json::from_slice(&std::fs::read(&file)?).with_context(|| file.display().to_string())
}

/// The bank goes on elsewhere: a new writer fences the dead one, takes what the second copy holds, and protects again.
async fn go_on(stage: &Stage, site: &Places, promised: u64, record: &mut Record) -> anyhow::Result<()> {
    let next = Places {
        root: site.root.clone(),
        bank: site.root.join("bank-again"),
        near: site.far.clone(),
        far: site.root.join("region-eu-again"),
    };
    let mut arguments = next.arguments(stage.seed);
    arguments.push("--takeover".to_owned());
    let work = async {
        let mut bank = RunningBank::start(stage, &arguments, site.root.join("bank-again.err"))?;
        let protected = |journal: &Journal| journal.protected().next().map(|_| ());
        bank.until("a transfer was protected again", PATIENCE, protected).await?;
        let journal = bank.stop(PATIENCE).await?;
        let detail = format!("{} transfers acknowledged", journal.acks.len());
        Ok((judge_succession(&journal, promised), detail))
    };
    let verdict = record.step("ledger: it goes on elsewhere, from the second copy", work).await?;
    record.check("ledger: a new writer goes on from all that was protected", verdict);
    Ok(())
}
