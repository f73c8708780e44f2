//! Reading the file: errors say where, and name the nearest known key.

use std::io;
use std::path::{Path, PathBuf};

use rpo_core::{ConfigError, ErrorKind};

use super::{Config, nearest};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFileError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}; next: {}", .path.display(), next(.path, .source))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text makes no sense.
    #[error("{}, line {line}: {message}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong, and the nearest thing that would be right.
        message: String,
    },
    /// The values break rules.
    #[error("{}: {source}", .path.display())]
    Rules {
        /// The file.
        path: PathBuf,
        /// All broken rules.
        source: ConfigError,
    },
    /// The secret cannot be had.
    #[error("{from}: {why}")]
    Secret {
        /// The key that says where it comes from.
        from: String,
        /// What is wrong and what to do next.
        why: String,
    },
}

impl ConfigFileError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } => match ErrorKind::of_io(source) {
                kind @ (ErrorKind::NotFound | ErrorKind::Permission) => kind,
                _ => ErrorKind::Invalid,
            },
            Self::Secret { .. } => ErrorKind::Key,
            _ => ErrorKind::Invalid,
        }
    }
}

impl Config {
    /// Reads and checks the file. Relative paths in it are taken from the folder it stands in.
    ///
    /// # Errors
    /// The file cannot be read, makes no sense, or breaks rules (all are named).
    pub fn load(path: &Path) -> Result<Self, ConfigFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigFileError::Read { path: path.into(), source })?;
        let mut config = Self::parse(&text, path)?;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        if let Some(folder) = absolute.parent() {
            config.resolve_paths(folder);
        }
        config.validate().map_err(|source| ConfigFileError::Rules { path: path.into(), source })?;
        Ok(config)
    }

    /// Reads the text of a file; `path` is for messages only. Nothing is checked beyond the grammar.
    ///
    /// # Errors
    /// The text makes no sense.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigFileError> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
            ConfigFileError::Parse { path: path.into(), line, message: with_suggestion(error.message()) }
        })
    }

    fn resolve_paths(&mut self, folder: &Path) {
        let resolve = |path: &mut PathBuf| {
            if path.is_relative() {
                *path = folder.join(&path);
            }
        };
        resolve(&mut self.daemon.state_dir);
        self.repository.passphrase_file.iter_mut().for_each(resolve);
        self.repository.key_file.iter_mut().for_each(resolve);
        for system in &mut self.systems {
            let super::SourceConfig::Directory { path, .. } = &mut system.source;
            resolve(path);
        }
    }
}

/// What helps against a file that cannot be read.
fn next(path: &Path, error: &io::Error) -> String {
    let text = match error.kind() {
        io::ErrorKind::NotFound => match remains(path) {
            Some(remains) => {
                return format!(
                    "{} is here, so there was such a file: bring it back, or write it anew with the same copies and names \
                     of systems; rpo init then finds the repository that is there and makes none",
                    remains.display()
                );
            }
            None => {
                "rpo protect DIR --to URL writes one, rpo init --to URL an empty one; or name yours with --config"
            }
        },
        _ => "make it readable, or name another with --config",
    };
    text.to_owned()
}

/// What is left beside a file that is gone: its state directory, or a repository.
fn remains(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let state = folder.join(super::DaemonConfig::default().state_dir);
    if state.is_dir() {
        return Some(state);
    }
    let first_config = rpo_repository::layout::config(1);
    let mut beside: Vec<_> = std::fs::read_dir(folder).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
    beside.sort();
    beside.into_iter().find(|place| place.join(first_config.as_str()).is_file())
}

/// Adds the nearest known name to serde's "unknown field `x`, expected one of `a`, `b`".
fn with_suggestion(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let is_unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let Some((wrong, known)) = names.split_first().filter(|_| is_unknown) else {
        return message.to_owned();
    };
    match nearest(wrong, known.iter().copied()) {
        Some(nearest) => format!("{message}; did you mean `{nearest}`?"),
        None => message.to_owned(),
    }
}
