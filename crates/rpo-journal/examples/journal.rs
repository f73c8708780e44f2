//! Records the changes of a small shop, sends them to a search index that keeps the number of the last event it applied,
//! says what is covered, and shows the shop as it was a moment before.
//!
//! `cargo run -p rpo-journal --example journal -- /tmp/shop`

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpo_core::{AckLevel, Bound, SourceId};
use rpo_journal::{
    Asked, Base, Change, ChangeEvent, Fanout, FanoutConfig, FanoutParts, Journal, JournalConfig,
    JournalParts, Operation, Target, TargetError, Transaction,
};
use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};

/// What the shop holds, by table and key.
#[derive(Debug, Default)]
struct Rows(BTreeMap<(String, Vec<u8>), Vec<u8>>);

impl Rows {
    fn apply(&mut self, event: &ChangeEvent) {
        let change = &event.change;
        let row = (change.collection.clone(), change.key.to_vec());
        match (change.operation, &change.after) {
            (Operation::Insert | Operation::Update, Some(after)) => drop(self.0.insert(row, after.to_vec())),
            (Operation::Delete, _) => drop(self.0.remove(&row)),
            (Operation::Truncate, _) => self.0.retain(|(table, _), _| *table != change.collection),
            _ => {}
        }
    }

    fn show(&self, title: &str) {
        println!("{title}");
        for ((table, key), value) in &self.0 {
            let [key, value] = [key, value].map(|bytes| String::from_utf8_lossy(bytes));
            println!("  {table} {key}: {value}");
        }
    }
}

/// A target that can be given an event twice: it remembers the last one.
#[derive(Debug, Default, Clone)]
struct Index(Arc<Mutex<(u64, Rows)>>);

impl Target for Index {
    fn apply(&mut self, batch: &[ChangeEvent]) -> Result<(), TargetError> {
        let mut index =
            self.0.lock().map_err(|_| TargetError::Unrecoverable("the index is broken".into()))?;
        for event in batch.iter().filter(|event| event.id > index.0).collect::<Vec<_>>() {
            index.1.apply(event);
            index.0 = event.id;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir =
        PathBuf::from(std::env::args().nth(1).ok_or("usage: journal DIRECTORY (its parent must exist)")?);
    std::fs::create_dir_all(&dir)?;
    let parts = LogParts::os();
    let mut wal = WalConfig::zero_loss();
    wal.segment_bytes = "1MiB".parse()?;
    let (log, report) = Log::open(&dir.join("log"), wal, parts.clone(), Drive::Thread, OpenAs::Continue)?;
    let stands_on = JournalParts::new(log.clone(), &report, Drive::Thread, parts.clock.clone());
    let told = Box::new(|event: &_| println!("the journal says: {event:?}"));
    let journal = Journal::open(stands_on, JournalConfig::default(), Some(told))?;
    let fanout_parts = FanoutParts {
        disk: parts.disk,
        entropy: parts.entropy,
        dir: dir.join("cursors"),
        drive: Drive::Thread,
    };
    let fanout = Fanout::new(journal.clone(), FanoutConfig::default(), fanout_parts)?;
    let index = Index::default();
    fanout.add("index", Box::new(index.clone()), Asked::Start)?;

    let shop = SourceId::new("shop")?;
    let order = format!("o-{}", journal.next_event());
    let sale = Transaction::of([
        Change::insert(&shop, "orders", order.clone(), "two apples"),
        Change::update(&shop, "stock", "apple", Some("12".into()), "10"),
    ]);
    let sold = journal.record(sale.with_context("alice"), AckLevel::Durable)?;
    println!("events {} and {} are durable at {}", sold.first, sold.last, sold.end);
    let mistake = journal.record(Change::truncate(&shop, "orders"), AckLevel::Durable)?;

    // Somebody wants the shop as it was before the mistake: from nothing, since all is still covered.
    let mut before = Rows::default();
    journal.replay_to(Asked::Event(mistake.first), Bound::Exclusive, &[Base::empty()], |event| {
        before.apply(event);
        Ok(())
    })?;
    before.show("before the mistake:");

    for stopped in fanout.stop(Duration::from_secs(5)) {
        println!(
            "target {}: event {}, drained: {}",
            stopped.status.name, stopped.status.applied, stopped.is_drained
        );
    }
    index.0.lock().map_err(|_| "the index is broken")?.1.show("in the index:");
    println!("covered: {:?}", journal.coverage());
    log.close()?;
    Ok(())
}
