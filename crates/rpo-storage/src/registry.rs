//! From a URL to a store. Crates with more backends add their schemes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rpo_os::OsDisk;
use url::Url;

use crate::{LocalStorage, MemoryStorage, Storage, StorageError};

/// Makes a store from a URL of its scheme.
pub type Opener = Arc<dyn Fn(&Url) -> Result<Arc<dyn Storage>, StorageError> + Send + Sync>;

/// The schemes that are known. Clones are independent, but go on sharing the stores of `memory://` that exist.
#[derive(Clone, Default)]
pub struct Registry {
    openers: BTreeMap<String, Opener>,
}

impl Registry {
    /// Knows no scheme.
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows `file:///path` ([`LocalStorage`] on the real disk) and `memory://name` ([`MemoryStorage`]; within this
    /// registry and its clones the same name is the same store).
    pub fn with_defaults() -> Self {
        let mut registry = Self::new();
        registry.register("file", Arc::new(open_file));
        let stores: Arc<Mutex<BTreeMap<String, MemoryStorage>>> = Arc::default();
        let open_memory = move |url: &Url| -> Result<Arc<dyn Storage>, StorageError> {
            refuse_parameters(url)?;
            let name = format!("{}{}", url.host_str().unwrap_or_default(), url.path());
            let mut stores = stores.lock().unwrap_or_else(PoisonError::into_inner);
            let store = stores.entry(name.clone()).or_insert_with(|| MemoryStorage::named(name));
            Ok(Arc::new(store.clone()))
        };
        registry.register("memory", Arc::new(open_memory));
        registry
    }

    /// Adds a scheme, or replaces what is known of it.
    pub fn register(&mut self, scheme: impl Into<String>, opener: Opener) {
        self.openers.insert(scheme.into(), opener);
    }

    /// The schemes it knows, sorted.
    pub fn schemes(&self) -> impl Iterator<Item = &str> {
        self.openers.keys().map(String::as_str)
    }

    /// Opens the store at `url`. Nothing is asked of a remote store yet; a local one is swept of unfinished uploads,
    /// which blocks for a few system calls.
    ///
    /// # Errors
    /// `Url`: not a URL, an unknown scheme (the text names the known ones), or what the scheme makes of it.
    pub fn open(&self, url: &str) -> Result<Arc<dyn Storage>, StorageError> {
        let known = || self.schemes().map(|s| format!("{s}://")).collect::<Vec<_>>().join(", ");
        let parsed = Url::parse(url).map_err(|e| StorageError::Url {
            url: shown_prefix(url),
            why: format!("{e}; a store is named by a URL that begins with {}", known()),
        })?;
        match self.openers.get(parsed.scheme()) {
            Some(open) => open(&parsed),
            None => Err(StorageError::Url {
                url: shown(&parsed),
                why: format!("unknown scheme `{}`; known are {}", parsed.scheme(), known()),
            }),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.schemes().collect::<Vec<_>>()).finish()
    }
}

/// The URL as it may be shown: without user, password, query and fragment, where credentials hide.
pub fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    // Refused only by URLs that cannot have them.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}

/// As much of a text that is no URL as cannot hold a credential.
fn shown_prefix(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://…"),
        None if text.contains(['@', '?']) => "…".to_owned(),
        None => text.to_owned(),
    }
}

fn refuse_parameters(url: &Url) -> Result<(), StorageError> {
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if plain {
        return Ok(());
    }
    let why = "this scheme takes no user, no parameters and no fragment".to_owned();
    Err(StorageError::Url { url: shown(url), why })
}

fn open_file(url: &Url) -> Result<Arc<dyn Storage>, StorageError> {
    refuse_parameters(url)?;
    let path = url.to_file_path().map_err(|()| StorageError::Url {
        url: shown(url),
        why: "a directory is named by an absolute path and no host: file:///srv/backup".to_owned(),
    })?;
    Ok(Arc::new(LocalStorage::open(path, Arc::new(OsDisk::new()))?))
}

#[cfg(test)]
mod tests;
