//! The reference group commit: what anybody writes in forty lines, and good. Frozen: it is the yardstick, so it is not
//! tuned when we are; that it is no straw man is a goal of its own (0.30 of the batch limit, `cargo xtask bench wal`).
//!
//! Whoever finds no leader leads: it takes all that has gathered, writes it over written blocks, syncs, and wakes those it
//! wrote for, and one of those that gathered meanwhile, who leads the next group.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::ensure;
use bytes::Bytes;

use super::case::{Measured, Order, Work};
use super::closed::{Append, Appender, closed_loop};
use super::limits::Ring;

#[derive(Default)]
struct State {
    gathering: Vec<u8>,
    written: Vec<u8>,
    /// Number of the group that gathers; every group before `durable` is durable.
    group: u64,
    durable: u64,
    leads: bool,
    failed: bool,
}

struct Group {
    state: Mutex<State>,
    /// Of the group that is written, and of the one that gathers, in turn.
    done: [Condvar; 2],
    ring: Mutex<Ring>,
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, payload: &[u8]) -> anyhow::Result<()> {
        let crc = crc32c::crc32c(payload);
        let mut state = self.lock();
        state.gathering.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        state.gathering.extend_from_slice(&crc.to_le_bytes());
        state.gathering.extend_from_slice(payload);
        let mine = state.group;
        let done = |group: u64| &self.done[(group % 2) as usize];
        while state.durable <= mine {
            ensure!(!state.failed, "a group failed");
            if state.leads {
                state = done(mine).wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.leads = true;
            state.group += 1;
            let spare = std::mem::take(&mut state.written);
            let mut bytes = std::mem::replace(&mut state.gathering, spare);
            drop(state);
            let result = self.ring.lock().unwrap_or_else(PoisonError::into_inner).write_and_sync(&bytes);
            bytes.clear();
            state = self.lock();
            state.written = bytes;
            state.leads = false;
            done(mine).notify_all();
            match &result {
                Ok(()) => {
                    state.durable = state.group; // groups up to, not with, the one that gathers now
                    done(mine + 1).notify_one(); // who leads the next
                }
                Err(_) => {
                    state.failed = true;
                    done(mine + 1).notify_all();
                }
            }
            result?;
        }
        Ok(())
    }
}

impl Appender for Group {
    fn writer(&self, _number: u32, payload: Bytes) -> anyhow::Result<Append<'_>> {
        Ok(Box::new(move || self.append(&payload)))
    }
}

pub(super) fn carry_out(order: &Order) -> anyhow::Result<Measured> {
    ensure!(order.case.work == Work::Durable, "the reference only commits in groups");
    let ring = Ring::open(order)?;
    let group = Group { state: Mutex::default(), done: Default::default(), ring: Mutex::new(ring) };
    closed_loop(&group, &order.case, &order.scale, order.case.writers, 1)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::wal::{Case, Engine, Place, Scale};

    fn order(home: &Path) -> Order {
        let scale = Scale {
            warm_ms: 0,
            run_ms: 0,
            segment_mib: 1,
            prewritten_mib: 1,
            burst_mib: 1,
            bursts: 1,
            replay_mib: 1,
            ship_ms: 1,
        };
        Order { case: Case::durable(Engine::Group, Place::Disk, 8, 100), scale, home: home.to_owned() }
    }

    /// Payloads from the beginning of the file to the first that is not whole.
    fn records(file: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut rest = file;
        while let Some((head, body)) = rest.split_at_checked(8) {
            let length = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
            let crc = u32::from_le_bytes(head[4..].try_into().unwrap());
            if length == 0 || crc32c::crc32c(&body[..length]) != crc {
                break;
            }
            found.push(body[..length].to_vec());
            rest = &body[length..];
        }
        found
    }

    #[test]
    fn every_acknowledged_record_is_in_the_file_once_and_nobody_waits_for_ever() {
        let home = tempfile::tempdir().unwrap();
        let order = order(home.path());
        let ring = Mutex::new(Ring::open(&order).unwrap());
        let group = Group { state: Mutex::default(), done: Default::default(), ring };
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let group = &group;
                scope.spawn(move || {
                    for record in 0..25 {
                        group.append(format!("{writer} {record}").as_bytes()).unwrap();
                    }
                });
            }
        });
        let mut found = records(&std::fs::read(order.prewritten()).unwrap());
        assert_eq!(found.len(), 200);
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 200, "a record was written twice");
    }
}
