//! Copies a directory tree by capturing and restoring it, then compares the two:
//! `cargo run -p rpo-source-dir --example copy -- FROM TO`.

use std::error::Error;
use std::sync::Arc;

use rpo_core::ports::{Captured, Content, EntryKind, Restorer, Source, Stability};
use rpo_os::{OsClock, OsEntropy};
use rpo_source_dir::{DirectoryOptions, DirectoryRestorer, DirectorySource, RestoreOptions, compare_trees};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("usage: copy FROM TO".into());
    };
    let source = DirectorySource::new(&from, Arc::new(OsClock::new()), DirectoryOptions::default());
    let restorer = DirectoryRestorer::new(&to, &OsEntropy::new(), RestoreOptions::default())?;
    let copied = copy(&source, &restorer);
    if copied.is_err() {
        restorer.abandon()?; // leave no trace
    }
    copied?;
    for difference in compare_trees(&from, &to) {
        println!("differs: {difference}");
    }
    Ok(())
}

fn copy(source: &dyn Source, restorer: &DirectoryRestorer) -> Result<(), Box<dyn Error>> {
    let mut capture = source.capture(None)?;
    let reader = capture.reader();
    while let Some(captured) = capture.next()? {
        match captured {
            Captured::Entry(entry, _) if entry.kind == EntryKind::File => {
                give_file(reader.open(&entry)?, restorer)?;
            }
            Captured::Entry(entry, _) => restorer.entry(&entry)?,
            Captured::Skipped(skipped) => println!("left out: {}: {}", skipped.path, skipped.reason),
            Captured::Removed(_) => {} // nothing to compare with
        }
    }
    let report = capture.finish()?;
    restorer.finish_base(None)?;
    let restored = restorer.publish()?;
    println!("{} entries, {} bytes, {} lost", restored.entries, restored.bytes, report.lost);
    for note in restored.approximated {
        println!("approximated: {note}");
    }
    Ok(())
}

fn give_file(mut content: Box<dyn Content>, restorer: &DirectoryRestorer) -> Result<(), Box<dyn Error>> {
    let entry = content.entry().clone(); // as it is now, with its holes
    restorer.entry(&entry)?;
    let mut buffer = vec![0; 1 << 20];
    for extent in &entry.extents {
        let mut at = extent.offset;
        while at < extent.end() {
            let wanted = buffer.len().min(usize::try_from(extent.end() - at)?);
            let read = content.read_at(at, &mut buffer[..wanted])?;
            if read == 0 {
                return Err(format!("{} became shorter while it was copied", entry.path).into());
            }
            restorer.extent(&entry.path, at, &buffer[..read])?;
            at += read as u64;
        }
    }
    restorer.close(&entry.path)?;
    if content.finish()? == Stability::Changed {
        println!("changed while it was copied: {}", entry.path);
    }
    Ok(())
}
