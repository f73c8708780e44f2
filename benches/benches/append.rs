//! One durable append of 1 KiB, alone: the time of a write and a sync on the disk below the temporary directory.
#![allow(missing_docs)] // criterion's macros make public functions without docs

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};

fn append_durable(c: &mut Criterion) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let dir = scratch.path().join("log");
    let opened = Log::open(&dir, WalConfig::zero_loss(), LogParts::os(), Drive::Thread, OpenAs::Continue);
    let (log, _) = opened.expect("a fresh log");
    let payload = Bytes::from(vec![0x5a; 1024]);

    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Bytes(1024));
    group.bench_function("durable 1 KiB", |b| {
        b.iter(|| log.append(CommitDraft::one(payload.clone()), AckLevel::Durable).expect("appended"));
    });
    group.finish();
}

criterion_group!(benches, append_durable);
criterion_main!(benches);
