//! A configuration with its copies opened: what every command and the daemon work on.

mod create;

use std::sync::Arc;

use rpo_checkpoint::{CheckpointOptions, Checkpointer};
use rpo_core::error::Problems;
use rpo_core::objective::Domain;
use rpo_core::ports::Source;
use rpo_core::{Clock, CopyName, Disk, Entropy, ErrorKind, SourceId};
use rpo_crypto::Secret;
use rpo_replication::{CopyDomain, CopySpec, Role};
use rpo_repository::{Repository, RepositoryParts};
use rpo_source_dir::{DirectoryOptions, DirectorySource};
use rpo_storage::{Hurry, Registry, RetryConfig, RetryStorage, Storage};

use crate::Error;
use crate::config::{Config, CopyConfig, SourceConfig, SystemConfig};

pub use create::Created;

/// What is given in from outside.
#[derive(Debug, Clone)]
pub struct SiteParts {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The local disk: spools and state.
    pub disk: Arc<dyn Disk>,
    /// Opens stores by URL.
    pub registry: Arc<Registry>,
    /// Ends the waits for stores that keep failing, once the program is to end.
    pub hurry: Hurry,
}

impl SiteParts {
    /// The real ones, with every scheme this build has.
    pub fn os() -> Self {
        #[cfg(not(feature = "s3"))]
        let registry = Registry::with_defaults();
        #[cfg(feature = "s3")]
        let registry = {
            let mut registry = Registry::with_defaults();
            rpo_storage_opendal::register(&mut registry);
            registry
        };
        Self {
            clock: Arc::new(rpo_os::OsClock::new()),
            entropy: Arc::new(rpo_os::OsEntropy::new()),
            disk: Arc::new(rpo_os::OsDisk::new()),
            registry: Arc::new(registry),
            hurry: Hurry::new(),
        }
    }

    /// Opens the store behind `url`, with retries under the rule that a lost answer is read back.
    ///
    /// # Errors
    /// The URL makes no sense, or the store cannot be reached.
    pub fn store(&self, url: &str) -> Result<Arc<dyn Storage>, Error> {
        let store = self.registry.open(url)?;
        let (clock, entropy) = (self.clock.clone(), self.entropy.clone());
        let patient = RetryStorage::new(store, RetryConfig::default(), clock, entropy)?;
        Ok(Arc::new(patient.hurried_by(self.hurry.clone())))
    }

    /// Checks that every copy's URL has a scheme that is known here. Nothing is opened.
    ///
    /// # Errors
    /// All copies whose URL has not, each with the schemes that are known.
    pub fn check_schemes(&self, config: &Config) -> Result<(), Error> {
        let known: Vec<_> = self.registry.schemes().map(|scheme| format!("{scheme}://")).collect();
        let mut problems = Problems::new();
        for copy in &config.copies {
            let rule = format!("an unknown scheme; known are {}", known.join(", "));
            let is_known = known.iter().any(|scheme| copy.url.starts_with(scheme));
            problems.require(is_known, &format!("copy.{}.url", copy.name), &copy.url, rule);
        }
        Ok(problems.finish()?)
    }

    fn repository_parts(&self, url: &str) -> Result<RepositoryParts, Error> {
        Ok(RepositoryParts {
            storage: self.store(url)?,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        })
    }
}

/// A configuration with its copies opened.
#[derive(Debug)]
pub struct Site {
    config: Config,
    parts: SiteParts,
    /// What opened the copies: those that were absent are opened with it later.
    secret: Arc<Option<Secret>>,
    copies: Vec<(CopyConfig, Result<Repository, Arc<Error>>)>,
}

impl Site {
    /// Opens every copy. One that cannot be opened is remembered with its error: a restore needs only one.
    ///
    /// # Errors
    /// The secret cannot be had, or no copy at all can be opened.
    pub async fn open(config: Config, parts: SiteParts) -> Result<Self, Error> {
        Self::open_as(config, parts, true).await
    }

    /// As [`open`](Self::open), but writes nothing, not even a probe: credentials that can only read are enough.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_read_only(config: Config, parts: SiteParts) -> Result<Self, Error> {
        Self::open_as(config, parts, false).await
    }

    async fn open_as(config: Config, parts: SiteParts, writes: bool) -> Result<Self, Error> {
        let secret = Arc::new(config.secret()?);
        let mut copies = Vec::new();
        for copy in &config.copies {
            let opened = open_copy(copy, &parts, secret.as_ref().as_ref(), writes).await;
            copies.push((copy.clone(), opened.map_err(Arc::new)));
        }
        let site = Self { config, parts, secret, copies };
        if site.copies.iter().any(|(_, opened)| opened.is_ok()) {
            return Ok(site);
        }
        let failed = site.copies.into_iter().filter_map(|(copy, opened)| Some((copy.name, opened.err()?)));
        Err(none_of(failed.collect()))
    }

    /// Tries, each time it is called, to open a copy that could not be opened.
    pub(crate) fn reopen(&self, copy: &CopyConfig) -> crate::manager::Reopen {
        let (copy, parts, secret) = (copy.clone(), self.parts.clone(), self.secret.clone());
        Box::new(move || {
            let (copy, parts, secret) = (copy.clone(), parts.clone(), secret.clone());
            Box::pin(async move { open_copy(&copy, &parts, secret.as_ref().as_ref(), true).await })
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What was given in from outside.
    pub fn parts(&self) -> &SiteParts {
        &self.parts
    }

    /// Every copy, with the error of those that could not be opened.
    pub fn copies(&self) -> impl Iterator<Item = (&CopyConfig, Result<&Repository, &Arc<Error>>)> {
        self.copies.iter().map(|(copy, opened)| (copy, opened.as_ref()))
    }

    /// The copy that checkpoints are created in.
    ///
    /// # Errors
    /// It could not be opened.
    pub fn home(&self) -> Result<&Repository, Error> {
        let home = self.config.home().ok_or_else(none_is_home)?;
        self.copy(Some(&home.name)).map(|(_, repository)| repository)
    }

    /// The copy of that name, or home, or the first that could be opened.
    ///
    /// # Errors
    /// There is no such copy, or it could not be opened.
    pub fn copy(&self, name: Option<&CopyName>) -> Result<(&CopyName, &Repository), Error> {
        let Some(name) = name else {
            let home = self.config.home().map(|home| &home.name);
            let opened = |want_home: bool| {
                let mut all = self.copies.iter().filter(|(copy, _)| !want_home || Some(&copy.name) == home);
                all.find_map(|(copy, opened)| Some((&copy.name, opened.as_ref().ok()?)))
            };
            return opened(true).or_else(|| opened(false)).ok_or_else(|| none_of(Vec::new()));
        };
        let wanted = self.config.require_copy(name)?;
        match self.copies.iter().find(|(copy, _)| copy.name == wanted.name) {
            Some((copy, Ok(repository))) => Ok((&copy.name, repository)),
            Some((copy, Err(error))) => Err(unshare(copy.name.clone(), error.clone())),
            None => Err(none_of(Vec::new())),
        }
    }

    /// The copies that could be opened, as replication takes them.
    pub fn specs(&self) -> Vec<CopySpec> {
        let opened = self.copies.iter().filter_map(|(copy, opened)| Some((copy, opened.as_ref().ok()?)));
        opened.map(|(copy, repository)| self.spec(copy, repository.clone())).collect()
    }

    pub(crate) fn spec(&self, copy: &CopyConfig, repository: Repository) -> CopySpec {
        let (role, domain) = self.place(copy);
        CopySpec { name: copy.name.clone(), domain, url: copy.url.clone(), role, repository }
    }

    /// What a copy is for and where it stands, as replication takes it.
    pub(crate) fn place(&self, copy: &CopyConfig) -> (Role, CopyDomain) {
        let role = match self.config.role(copy) {
            crate::config::Role::Home => Role::Home,
            crate::config::Role::Mirror => Role::Mirror,
        };
        // A label that is not there means here: for the machine only where the URL says so, too.
        let here = &self.config.daemon;
        let on_this_machine = !self.config.survives(copy, Domain::Machine);
        let domain = CopyDomain {
            machine: copy.machine.clone().or_else(|| on_this_machine.then(|| here.machine.clone())),
            region: Some(copy.region.clone().unwrap_or_else(|| here.region.clone())),
            ..CopyDomain::default()
        };
        (role, domain)
    }

    /// The failure domains that `copy` survives, by what the file declares.
    pub fn survives(&self, copy: &CopyConfig) -> Vec<Domain> {
        let all = [Domain::Process, Domain::Machine, Domain::Region, Domain::Operator];
        all.into_iter().filter(|domain| self.config.survives(copy, *domain)).collect()
    }

    /// Whether the independence of that copy is declared and cannot be shown: it stands on a device of this machine.
    pub fn is_declared(&self, name: &CopyName) -> bool {
        let opened = self
            .copies
            .iter()
            .filter(|(copy, _)| copy.name == *name)
            .find_map(|(_, opened)| opened.as_ref().ok());
        opened.is_some_and(|repository| repository.storage().identity().device.is_some())
    }

    /// What opening the copies showed: two on one device are one failure, whatever their labels say.
    pub fn warnings(&self) -> Vec<crate::config::Warning> {
        let opened = self.copies.iter().filter_map(|(copy, opened)| Some((copy, opened.as_ref().ok()?)));
        let devices: Vec<_> = opened
            .filter_map(|(copy, repository)| Some((copy, repository.storage().identity().device?)))
            .collect();
        let mut warnings = Vec::new();
        for (number, (copy, device)) in devices.iter().enumerate() {
            for (other, _) in devices[..number].iter().filter(|(_, found)| found == device) {
                warnings.push(crate::config::Warning {
                    about: format!("copy.{}", copy.name),
                    text: format!(
                        "it stands on the same device as copy {} ({device}): one disk lost is both lost",
                        other.name
                    ),
                });
            }
        }
        warnings
    }

    /// The system of that name.
    ///
    /// # Errors
    /// There is none; the error names those there are.
    pub fn system(&self, name: &SourceId) -> Result<&SystemConfig, Error> {
        self.config.require_system(name)
    }

    /// The source of a system. Copies and state that lie inside it are left out: a repository that held itself would grow
    /// for ever.
    ///
    /// # Errors
    /// The directory cannot be looked at.
    pub fn source(&self, system: &SystemConfig) -> Result<Arc<dyn Source>, Error> {
        let SourceConfig::Directory { path, exclude, one_file_system } = &system.source;
        let mut options = DirectoryOptions {
            exclude: exclude.iter().filter_map(|path| entry_path(path)).collect(),
            one_file_system: *one_file_system,
            ..DirectoryOptions::default()
        };
        let kept = self.config.copies.iter().filter_map(CopyConfig::directory);
        for place in kept.chain([self.config.daemon.state_dir.clone()]) {
            match options.leave_out(path, &place) {
                Ok(_) => {}
                // Not there yet: by its name alone.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    options.exclude.extend(place.strip_prefix(path).ok().and_then(entry_path));
                }
                Err(source) => {
                    let path = path.display().to_string();
                    return Err(Error::State { path, op: "look at the source", source });
                }
            }
        }
        Ok(Arc::new(DirectorySource::new(path.clone(), self.parts.clock.clone(), options)))
    }

    /// Makes checkpoints of `system` in `repository`, as the system's configuration says.
    ///
    /// # Errors
    /// The options contradict each other.
    pub fn checkpointer(
        &self,
        system: &SystemConfig,
        repository: &Repository,
    ) -> Result<Checkpointer, Error> {
        let mut options = CheckpointOptions::default();
        options.compression = system.checkpoint.compression;
        options.validate()?;
        Ok(Checkpointer::new(repository.clone(), options))
    }
}

fn entry_path(path: &std::path::Path) -> Option<rpo_core::ports::EntryPath> {
    use std::os::unix::ffi::OsStrExt as _;
    rpo_core::ports::EntryPath::new(path.as_os_str().as_bytes()).ok()
}

async fn open_copy(
    copy: &CopyConfig,
    parts: &SiteParts,
    secret: Option<&Secret>,
    writes: bool,
) -> Result<Repository, Error> {
    let parts = parts.repository_parts(&copy.url)?;
    Ok(match writes {
        true => Repository::open(parts, secret).await?,
        false => Repository::open_read_only(parts, secret).await?,
    })
}

fn none_is_home() -> Error {
    Error::NoCopies { why: "none is home".to_owned(), kind: ErrorKind::Invalid }
}

/// No copy could be opened. One reason for all (a wrong passphrase, say) keeps its kind and is told once.
fn none_of(mut failed: Vec<(CopyName, Arc<Error>)>) -> Error {
    let first = failed.first().map(|(_, error)| error.kind());
    let alike = failed.iter().all(|(_, error)| Some(error.kind()) == first);
    match first {
        None => Error::NoCopies { why: "the configuration names none".to_owned(), kind: ErrorKind::NotFound },
        Some(kind) if failed.len() == 1 || (alike && kind == ErrorKind::Key) => {
            let (copy, error) = failed.swap_remove(0);
            unshare(copy, error)
        }
        Some(kind) => {
            let each: Vec<_> = failed.iter().map(|(copy, error)| format!("{copy}: {error}")).collect();
            Error::NoCopies { why: each.join("; "), kind: if alike { kind } else { ErrorKind::NotFound } }
        }
    }
}

/// The error as it is if nobody else holds it, else its text and kind.
fn unshare(copy: CopyName, error: Arc<Error>) -> Error {
    match Arc::try_unwrap(error) {
        Ok(error) => Error::Copy { copy, source: Box::new(error) },
        Err(shared) => Error::CopyUnusable { copy, kind: shared.kind(), why: shared.to_string() },
    }
}
