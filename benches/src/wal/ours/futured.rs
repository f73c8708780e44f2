//! Many appenders on one thread: futures, no runtime.

use std::cell::RefCell;
use std::thread;
use std::time::Instant;

use futures::executor::block_on;
use futures::future::try_join_all;
use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_wal::{Log, WalConfig};

use super::{checkpointed, open};
use crate::wal::case::{Measured, Order};
use crate::wal::closed::{Gate, payload, told};
use crate::wal::histogram::Histogram;

pub(super) fn carry_out(order: &Order) -> anyhow::Result<Measured> {
    let log = open(order, WalConfig::zero_loss())?;
    let gate = Gate::default();
    let (window, seen) = checkpointed(&log, || {
        thread::scope(|scope| {
            let appenders = scope.spawn(|| {
                let result = all(&log, order, &gate);
                if result.is_err() {
                    gate.end();
                }
                result
            });
            let window = gate.run(&order.scale);
            let seen = appenders.join().map_err(|_| anyhow::anyhow!("the appenders panicked"))??;
            anyhow::Ok((window?, seen))
        })
    })?;
    let measured = told(&seen, 1, &window.0, &window.1);
    log.close()?;
    Ok(measured)
}

fn all(log: &Log, order: &Order, gate: &Gate) -> anyhow::Result<Histogram> {
    let seen = RefCell::new(Histogram::default());
    let appender = |number| {
        let seen = &seen;
        async move {
            let payload = payload(number, order.case.record_bytes);
            while !gate.is_over() {
                let began = Instant::now();
                log.append_async(CommitDraft::one(payload.clone()), AckLevel::Durable).await?;
                if gate.counts() {
                    seen.borrow_mut().add(began.elapsed());
                }
            }
            anyhow::Ok(())
        }
    };
    block_on(try_join_all((0..order.case.writers).map(appender)))?;
    Ok(seen.into_inner())
}
