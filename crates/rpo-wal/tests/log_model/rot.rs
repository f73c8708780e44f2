//! A log at rest whose disk rots: opening names the damage, or nothing that was acknowledged is touched.

use std::path::Path;

use rpo_core::{ErrorKind, Lsn};
use rpo_testkit::sim::{Case, FaultPlan, Rng};
use rpo_wal::WalError;

use super::script::End;
use super::site::{DIR, MACHINE, Site};

const SECTOR: u64 = 512;
/// Where frames begin in a segment.
const FRAMES: u64 = 8192;

/// Plays the script of a seed without faults, lets a byte or a sector of a segment rot, and opens the log.
pub(crate) fn rotten(case: &mut Case) -> Result<(), String> {
    let (mut site, script) = super::site(case, &FaultPlan::calm());
    for life in &script.lives {
        site.live(life)?;
    }
    site.settle()?;
    let rng = case.rng();
    let witnessed = rng.coin();
    let damaged = if rng.chance(700) { site.flip(rng) } else { site.misdirect(rng) };
    let Some(where_) = damaged else { return Ok(()) };
    site.world.note(&where_);
    site.judge_rotten(witnessed).map_err(|error| format!("{error}; {where_}"))
}

impl Site {
    /// Segments and how far each is written, by name.
    fn written(&self) -> Vec<(String, Vec<u8>, u64)> {
        let segments = self.look().into_iter().filter(|(name, _)| name.ends_with(".rwal"));
        let written = |file: &[u8]| file.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
        segments.map(|(name, file)| (name, file.clone(), written(&file))).collect()
    }

    /// Flips bits of one written byte.
    fn flip(&self, rng: &mut Rng) -> Option<String> {
        let segments = self.written();
        let (name, _, written) = segments.get(rng.index(segments.len().max(1)))?;
        // The end of the log is where damage is most easily taken for a write that was cut short.
        let from = if rng.coin() { written.saturating_sub(600).max(FRAMES) } else { 0 };
        let (at, mask) = (from + rng.below(written - from), 1u8 << rng.below(8));
        self.rot(name, at, mask);
        Some(format!("bits {mask:#x} of byte {at} of {name} are flipped, it is written up to {written}"))
    }

    /// A write of another sector went to this one instead.
    fn misdirect(&self, rng: &mut Rng) -> Option<String> {
        let segments = self.written();
        let (name, file, written) = segments.get(rng.index(segments.len().max(1)))?;
        let sectors = (written - FRAMES) / SECTOR; // whole ones; the last may end with zeros
        let (from, to) = (FRAMES + rng.below(sectors) * SECTOR, FRAMES + rng.below(sectors) * SECTOR);
        let ends = |at: u64| file[(at + SECTOR) as usize - 8..(at + SECTOR) as usize] != [0; 8];
        if from == to || sectors == 0 || !ends(from) {
            return None;
        }
        for at in 0..SECTOR {
            let mask = file[(from + at) as usize] ^ file[(to + at) as usize];
            if mask != 0 {
                self.rot(name, to + at, mask);
            }
        }
        Some(format!(
            "the sector at {to} of {name} has what belongs at {from}, it is written up to {written}"
        ))
    }

    fn rot(&self, name: &str, at: u64, mask: u8) {
        let disk = self.world.machine(MACHINE).disk();
        disk.rot(&Path::new(DIR).join(name), at, mask).expect("there is such a byte");
    }

    /// Opens a log that is synced and at rest, commits, and cuts the power: what is on disk now was acknowledged.
    fn settle(&mut self) -> Result<(), String> {
        self.room(None);
        let log = self.open(false, Lsn::ZERO).map_err(|error| error.to_string())?.0;
        self.judge(&log)?;
        for _ in 0..3 {
            self.append(&log, &[700], super::script::Level::Durable)?;
        }
        drop(log);
        self.end(End::PowerCut);
        Ok(())
    }

    fn judge_rotten(&mut self, witnessed: bool) -> Result<(), String> {
        let witness = if witnessed { self.oracle.witness() } else { Lsn::ZERO };
        match self.open(false, witness) {
            Ok((log, _)) => {
                self.world.sometimes("rot touched nothing that counts");
                self.judge(&log)
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.world.sometimes(named(&error));
                Ok(())
            }
            Err(error) => Err(format!("rot must be named as such, not: {error}")),
        }
    }
}

/// The row of the decision table in `segment.md` that an error is about.
fn named(error: &WalError) -> &'static str {
    let text = error.to_string();
    let rows = [
        ("a later segment proves", "row 1: a later segment proves it"),
        ("no sector of it is zero", "row 4: rot"),
        ("was durable: acknowledged", "row 5: a witness says there was more"),
        ("everything up to lsn", "row 5: a witness says there was more"),
        ("a later frame proves", "row 6: a later frame proves it"),
        ("nothing stale can be here", "row 8: misplaced"),
        ("does not go on", "row 1: the next segment does not go on"),
    ];
    let row = rows.iter().find(|(part, _)| text.contains(part));
    row.map_or("a header is damaged", |(_, row)| row)
}
