//! Listing: a walk in the order of the keys' bytes, which reads only directories that can hold what was asked for.

use std::io;

use rpo_core::ErrorKind;
use rpo_core::ports::FileKind;

use super::Shared;
use crate::key::KEY_BYTES_MAX;
use crate::memory::PAGE_OBJECTS;
use crate::{Key, ListRequest, ObjectMeta, Page, StorageError};

impl Shared {
    pub(super) fn list(&self, request: &ListRequest) -> Result<Page, StorageError> {
        let limit = request.limit.unwrap_or(PAGE_OBJECTS);
        let mut walk = Walk { store: self, request, enough: limit.saturating_add(1), found: Vec::new() };
        walk.directory("").map_err(|e| {
            let message = e.to_string();
            StorageError::failed(&*self.url, "list", &request.prefix, ErrorKind::Retry, message)
        })?;
        let mut objects = walk.found;
        let more = objects.len() > limit;
        objects.truncate(limit);
        let suspect = objects.iter().find(|o| self.state().suspects.contains(&o.key));
        match suspect {
            Some(suspect) => Err(self.failed(
                "list",
                &suspect.key,
                ErrorKind::Unknown,
                "its directory failed to sync: whether it is durable is unknown".to_owned(),
            )),
            None => Ok(Page { objects, more }),
        }
    }
}

struct Walk<'a> {
    store: &'a Shared,
    request: &'a ListRequest,
    enough: usize,
    found: Vec<ObjectMeta>,
}

impl Walk<'_> {
    /// Walks the directory whose keys begin with `base` (empty, or ending in `/`).
    fn directory(&mut self, base: &str) -> io::Result<()> {
        let entries = match self.store.disk.list(&self.store.root.join(base)) {
            // Gone since its name was read, or never there: nothing is in it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        // As keys sort: everything in directory `a` begins with `a/`, which comes after `a-b` and before `a0`.
        let mut names: Vec<(String, FileKind, u64)> = entries
            .into_iter()
            .filter_map(|entry| {
                let name = entry.name.into_string().ok()?;
                let slash = if entry.kind == FileKind::Directory { "/" } else { "" };
                Some((format!("{base}{name}{slash}"), entry.kind, entry.len))
            })
            .collect();
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (name, kind, len) in names {
            if self.found.len() >= self.enough {
                break;
            }
            match kind {
                FileKind::Directory if self.may_hold(&name) => self.directory(&name)?,
                FileKind::File => self.object(name, len),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether keys that begin with `base` can be among those asked for.
    fn may_hold(&self, base: &str) -> bool {
        let prefix = self.request.prefix.as_str();
        let within = base.starts_with(prefix) || prefix.starts_with(base);
        let late_enough = self.request.start_after.as_ref().is_none_or(|after| {
            let after = after.as_str();
            base > after || after.starts_with(base)
        });
        let is_key = base.len() <= KEY_BYTES_MAX && !base.starts_with('.');
        within && late_enough && is_key
    }

    fn object(&mut self, name: String, len: u64) {
        let asked_for = name.starts_with(&self.request.prefix)
            && self.request.start_after.as_ref().is_none_or(|after| name.as_str() > after.as_str());
        // A file whose name is no key was put there by someone else.
        if let (true, Ok(key)) = (asked_for, Key::new(name)) {
            self.found.push(ObjectMeta { key, len, created: None });
        }
    }
}
