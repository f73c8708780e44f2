//! Letting go of old segments, once the caller says that they are safe elsewhere.

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use rpo_core::{Lsn, Position};

use crate::catalog::SegmentView;
use crate::engine::Engine;
use crate::error::WalError;
#[cfg(feature = "planted-bugs")]
use crate::planted::Bug;
use crate::prepare::{Used, draw};
use crate::segment::{FileName, used_name};
use crate::sync::locked;

impl Engine {
    /// Lets segments go that lie wholly before `before`: first the control file says so, durably, then they go, or become
    /// spares.
    pub(crate) fn release(&self, before: Lsn) -> Result<usize, WalError> {
        let mut keeper = locked(&self.keeper);
        let durable = locked(&self.state).durable.lsn;
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let limit = before.min(durable);
        #[cfg(feature = "planted-bugs")]
        let limit = if self.has_bug(Bug::ReleaseTooMuch) { durable } else { limit };
        let gone = catalog.segments.iter().take_while(|s| s.end().is_some_and(|end| end <= limit)).count();
        let Some(first_kept) = catalog.segments.get(gone).filter(|_| gone > 0).map(Arc::clone) else {
            return Ok(0);
        };
        drop(catalog);
        let start: Position = first_kept.bound.start();
        #[cfg(feature = "planted-bugs")]
        let durable = if self.has_bug(Bug::ControlAhead) { locked(&self.state).next_lsn } else { durable };
        let say = |control: &mut crate::control::Control| {
            control.start = start;
            control.durable = control.durable.max(durable);
        };
        #[cfg(feature = "planted-bugs")]
        let say = |control: &mut crate::control::Control| {
            if !self.has_bug(Bug::ReleaseUnsaid) {
                say(control);
            }
        };
        keeper.control.update(say)?;
        let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        let released: Vec<_> = catalog.segments.drain(..gone).collect();
        catalog.start = start;
        drop(catalog);
        let remove = |path: &Path| match self.parts.disk.remove(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(WalError::io("remove", path, e)),
            _ => Ok(()),
        };
        let mut used = Vec::new();
        for segment in &released {
            locked(&self.state).to_rename.retain(|s| !Arc::ptr_eq(s, segment));
            self.drop_seal(segment);
            match self.set_aside(segment, used.len()) {
                Some(again) => used.push(again),
                None => remove(&segment.path())?,
            }
        }
        for entry in self.parts.disk.list(&self.dir).map_err(|e| WalError::io("list", &*self.dir, e))? {
            let name = entry.name.to_str().unwrap_or_default();
            if matches!(FileName::parse(name), FileName::Cut { base_lsn } if base_lsn < start.lsn) {
                remove(&self.dir.join(name))?; // evidence about a part that is no longer here
            }
        }
        #[cfg(feature = "planted-bugs")]
        if self.has_bug(Bug::RecycledBeforeDirSync) {
            locked(&self.state).used.extend(used);
            return Ok(released.len());
        }
        self.sync_dir().map_err(|e| {
            self.poison(&format!("sync of {} failed: {e}", self.dir.display()));
            WalError::io("sync of the directory", &*self.dir, e)
        })?;
        locked(&self.state).used.extend(used); // only now that nobody can find them under their old names
        self.upkeep.notify_one();
        Ok(released.len())
    }

    /// Gives a released segment the name of one that is to be used again, if one is wanted and it has the right size.
    fn set_aside(&self, segment: &SegmentView, more: usize) -> Option<Used> {
        let kept = locked(&self.state).used.len() + more;
        if segment.capacity != self.config.segment_bytes.get() || kept >= self.config.spares as usize {
            return None;
        }
        let path = self.dir.join(used_name(draw(&self.parts).ok()?));
        self.parts.disk.rename(&segment.path(), &path).ok()?; // else it is removed
        Some(Used { path, file: Arc::clone(&segment.file), capacity: segment.capacity })
    }
}
