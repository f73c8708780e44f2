//! One append that does not wait for the disk: what a commit costs its caller.
#![allow(missing_docs)] // criterion's macros make public functions without docs

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};

fn append_buffered(c: &mut Criterion) {
    let mut group = c.benchmark_group("append buffered");
    for bytes in [100, 1024] {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let dir = scratch.path().join("log");
        let opened =
            Log::open(&dir, WalConfig::group_commit(), LogParts::os(), Drive::Thread, OpenAs::Continue);
        let (log, _) = opened.expect("a fresh log");
        let payload = Bytes::from(vec![0x5a; bytes]);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |b| {
            b.iter(|| log.append(CommitDraft::one(payload.clone()), AckLevel::Buffered).expect("appended"));
        });
        log.close().expect("closed");
    }
    group.finish();
}

criterion_group!(benches, append_buffered);
criterion_main!(benches);
