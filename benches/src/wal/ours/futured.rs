//! Many appenders on one thread: futures and the loop that runs them, which flushes when none of them has anything to do.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use futures::future::try_join_all;
use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_wal::{Drive, Log, Step, WalConfig};

use super::{checkpointed, open_driven};
use crate::wal::case::{Measured, Order};
use crate::wal::closed::{Gate, payload, told};
use crate::wal::histogram::Histogram;

pub(super) fn carry_out(order: &Order) -> anyhow::Result<Measured> {
    let log = open_driven(order, WalConfig::zero_loss(), Drive::Loop)?;
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
    run(log, try_join_all((0..order.case.writers).map(appender)))?;
    Ok(seen.into_inner())
}

/// Wakes the thread of the loop.
struct Loop {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Loop {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

fn run<T>(log: &Log, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let loop_ = Arc::new(Loop { thread: thread::current(), woken: AtomicBool::new(true) });
    let waker = Waker::from(Arc::clone(&loop_));
    let mut cx = Context::from_waker(&waker);
    loop {
        if loop_.woken.swap(false, Ordering::AcqRel) {
            if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
                return done;
            }
        } else if log.step() != Step::Flushed {
            thread::park(); // until a segment is ready
        }
    }
}
