//! Appends a few orders, names a moment, and reads everything back as a restarted program would.
//!
//! `cargo run -p rpo-wal --example orders -- /tmp/orders`

use std::error::Error;
use std::path::PathBuf;

use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_core::{LogEntry, PointName, TransactionId};
use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let dir =
        PathBuf::from(std::env::args().nth(1).ok_or("usage: orders DIRECTORY (its parent must exist)")?);
    let (log, report) =
        Log::open(&dir, WalConfig::zero_loss(), LogParts::os(), Drive::Thread, OpenAs::Continue)?;
    println!("{} commits were there, the log ends at {}", report.commits, report.end);

    let first = report.end.sequence.map_or(1, |s| s.get() + 1);
    for number in first..first + 3 {
        // One commit of two records: a reader sees both or none.
        let records = [format!("order {number}"), format!("stock -{number}")].map(Into::into);
        let draft =
            CommitDraft::many(records).with_transaction(TransactionId(number)).with_context("example");
        let appended = log.append(draft, AckLevel::Durable)?;
        println!("order {number} is durable at {}", appended.end);
    }
    log.tag(PointName::new(format!("after-{}", first + 2))?)?;

    for entry in log.replay(log.start().lsn) {
        match entry? {
            LogEntry::Commit(commit) => {
                let texts: Vec<_> =
                    commit.records.iter().map(|r| String::from_utf8_lossy(&r.payload)).collect();
                println!("{} {} {texts:?}", commit.time, commit.sequence);
            }
            LogEntry::Marker(marker) => println!("{} {:?}", marker.time, marker.kind),
        }
    }
    log.close()?;
    Ok(())
}
