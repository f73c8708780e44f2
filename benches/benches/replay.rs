//! Opening a log of 32 MiB in records of 1 KiB, and reading it through, from the cache.
#![allow(missing_docs)] // criterion's macros make public functions without docs

use std::path::Path;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rpo_core::Lsn;
use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};

const RECORDS: usize = 32 << 10;

fn open(dir: &Path) -> Log {
    let config = WalConfig::group_commit();
    Log::open(dir, config, LogParts::os(), Drive::Thread, OpenAs::Continue).expect("the log opens").0
}

fn open_and_replay(c: &mut Criterion) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let dir = scratch.path().join("log");
    let log = open(&dir);
    let payload = Bytes::from(vec![0x5a; 1024]);
    for _ in 0..RECORDS {
        log.append(CommitDraft::one(payload.clone()), AckLevel::Buffered).expect("appended");
    }
    log.close().expect("closed");

    let mut group = c.benchmark_group("replay");
    group.sample_size(20).throughput(Throughput::Bytes((RECORDS * 1024) as u64));
    group.bench_function("open and read 32 MiB", |b| {
        b.iter(|| {
            let log = open(&dir);
            assert_eq!(log.replay(Lsn::ZERO).filter(Result::is_ok).count(), RECORDS);
        });
    });
    group.finish();
}

criterion_group!(benches, open_and_replay);
criterion_main!(benches);
