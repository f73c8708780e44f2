//! The rig `powercut`: the kernel's ext4 on a disk that remembers, cut at random moments, recovered, and judged.

mod disk;
pub(crate) mod mount;
mod record;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::child::{Place, spawn_heard};
use crate::rigs::{Options, each, fresh, heard, mix};
use crate::summary::Summary;

use disk::Disk;
use mount::{Loop, Mounted};
use record::{Chance, Record};

const DISK_BYTES: usize = 12 << 20;
/// Images made of one recording.
const IMAGES: u64 = 100;

/// Crash images of a kernel's file system.
pub(crate) fn rig(place: &Place, options: &Options) -> anyhow::Result<Summary> {
    if let Some(why) = mount::lacking() {
        return Ok(Summary { skipped: Some(why), ..Summary::default() });
    }
    mount::clear_leftovers(&place.scratch)?;
    let (images, began) = (options.cycles(60, 2_000), Instant::now());
    let per = if options.quick { 30 } else { IMAGES };
    let mut total = Summary::default();
    for round in 0..images.div_ceil(per) {
        let left = options.seconds.map(|s| Duration::from_secs(s).saturating_sub(began.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            break;
        }
        let dir = fresh(place, &format!("powercut-{round}"))?;
        let seed = mix(options.seed, round);
        let (record, recorded) = recording(place, &dir, seed, round)?;
        let bad = !recorded.is_good();
        total.add(recorded);
        let options = Options { seconds: left.map(|left| left.as_secs() + 1), ..options.clone() };
        let made =
            each(per.min(images - round * per), &options, |image| judged(place, &dir, &record, seed, image))?;
        total.add(made);
        if !bad && total.is_good() {
            std::fs::remove_dir_all(dir)?;
        }
    }
    Ok(total)
}

/// Some lives of a log on a disk that remembers: killed, opened again, closed.
fn recording(place: &Place, dir: &Path, seed: u64, round: u64) -> anyhow::Result<(Record, Summary)> {
    let again = format!("again: --rig powercut --seed {seed}, recording {round}");
    let (outer, inner) = (dir.join("outer"), dir.join("inner"));
    std::fs::create_dir_all(&outer)?;
    let disk = Disk::mount(&outer, DISK_BYTES)?;
    let device = Loop::on(&outer.join("disk"))?;
    mount::make_ext4(&device)?;
    let mounted = Mounted::new(&device, &inner)?;
    mount::sync(&inner)?;
    disk.record();
    let (mut sum, log) = (Summary::default(), inner.join("log"));
    for life in 1..=3_u64 {
        let random = mix(seed, life);
        let (mode, rest): (_, [u64; 2]) =
            if (random >> 8).is_multiple_of(3) { ("script", [1, 70]) } else { ("load", [3, 50]) };
        let mut child = spawn_heard(place.victim(mode, &log, life, &rest), disk.said())?;
        if life < 3 && random.is_multiple_of(2) {
            std::thread::sleep(Duration::from_millis(20 + random / 2 % 300));
            child.kill();
        }
        let run = child.finish()?;
        heard(&mut sum, &mut crate::Journal::default(), &run, &again);
        if run.signal.is_none() && run.code != Some(0) {
            sum.fail(format!("a victim failed on a good disk: {}; {again}", run.err.trim()));
        }
    }
    drop(mounted);
    drop(device);
    let record = disk.recorded().ok_or_else(|| anyhow::anyhow!("nothing was recorded"))?;
    let ([writes, flushes], acks) =
        (record.counts(), record.words().filter(|w| w.starts_with("ACK ")).count());
    if flushes < 20 || writes < 20 || acks < 20 {
        sum.fail(format!(
            "{writes} writes, {flushes} flushes, {acks} promises: too few to show anything; {again}"
        ));
    }
    Ok((record, sum))
}

/// One image: written, mounted, recovered by the kernel and then by the log, and compared.
fn judged(place: &Place, dir: &Path, record: &Record, seed: u64, image: u64) -> anyhow::Result<Summary> {
    let mut chance = Chance::new(mix(seed, 1_000 + image));
    let cut = record.moment(&mut chance);
    let (bytes, missing) = record.image(cut, &mut chance);
    let again =
        format!("again: --rig powercut, recording of seed {seed}, image {image}, cut before event {cut}");
    let dir = dir.join(format!("image-{image}"));
    let (file, at) = (dir.join("disk"), dir.join("fs"));
    std::fs::create_dir_all(&dir)?;
    write_sparse(&file, &bytes)?;
    let mut sum = Summary { faults: u64::from(missing), runs: 1, ..Summary::default() };
    let mounted = match Mounted::image(&file, &at) {
        Ok(mounted) => mounted,
        Err(error) => {
            sum.fail(format!(
                "ext4 itself did not recover, which says nothing of the log: {error:#}; {again}"
            ));
            return Ok(sum);
        }
    };
    let mut journal = record.journal(cut);
    sum.promises = journal.promises() as u64;
    let verdict = journal.judge(place, &at.join("log"), false)?;
    drop(mounted);
    if !verdict.is_good() {
        write_sparse(&file, &bytes)?; // as the cut left it, not as recovery did
    }
    sum.count(&verdict, &dir, &again);
    if sum.is_good() {
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(sum)
}

fn write_sparse(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    const PIECE: usize = 4096;
    let file = std::fs::File::create(file)?;
    file.set_len(bytes.len() as u64)?;
    for (index, piece) in bytes.chunks(PIECE).enumerate().filter(|(_, piece)| piece.iter().any(|b| *b != 0)) {
        file.write_all_at(piece, (index * PIECE) as u64)?;
    }
    Ok(())
}
