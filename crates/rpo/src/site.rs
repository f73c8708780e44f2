//! A configuration with its copies opened: what every command and the daemon work on.

use std::path::PathBuf;
use std::sync::Arc;

use rpo_checkpoint::{CheckpointOptions, Checkpointer};
use rpo_core::objective::Domain;
use rpo_core::ports::Source;
use rpo_core::{Clock, CopyName, Disk, Entropy, ErrorKind, RepositoryId, SourceId};
use rpo_crypto::Secret;
use rpo_replication::{CopyDomain, CopySpec, Role};
use rpo_repository::{InitOptions, Repository, RepositoryParts};
use rpo_source_dir::{DirectoryOptions, DirectorySource};
use rpo_storage::{Registry, RetryConfig, RetryStorage, Storage};
use serde::Serialize;

use crate::Error;
use crate::config::{Config, CopyConfig, SourceConfig, SystemConfig};

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
}

impl SiteParts {
    /// The real ones, with every scheme this build has.
    pub fn os() -> Self {
        let mut registry = Registry::with_defaults();
        #[cfg(feature = "s3")]
        rpo_storage_opendal::register(&mut registry);
        Self {
            clock: Arc::new(rpo_os::OsClock::new()),
            entropy: Arc::new(rpo_os::OsEntropy::new()),
            disk: Arc::new(rpo_os::OsDisk::new()),
            registry: Arc::new(registry),
        }
    }

    /// Opens the store behind `url`, with retries under the rule that a lost answer is read back.
    ///
    /// # Errors
    /// The URL makes no sense, or the store cannot be reached.
    pub fn store(&self, url: &str) -> Result<Arc<dyn Storage>, Error> {
        let store = self.registry.open(url)?;
        Ok(Arc::new(RetryStorage::new(
            store,
            RetryConfig::default(),
            self.clock.clone(),
            self.entropy.clone(),
        )?))
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
    copies: Vec<(CopyConfig, Result<Repository, Arc<Error>>)>,
}

/// What `init` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Created {
    /// The repository's identity: the same in all copies.
    pub repository: RepositoryId,
    /// Copies that were created now.
    pub created: Vec<CopyName>,
    /// Copies that were there already.
    pub present: Vec<CopyName>,
}

impl Site {
    /// Creates the repository in every copy that lacks it: home first, the others as copies of it.
    ///
    /// # Errors
    /// Whatever stopped it; running it again goes on where it was.
    pub async fn create(config: &Config, parts: &SiteParts) -> Result<Created, Error> {
        config.validate()?;
        let secret = config.secret()?;
        let home_config = config.home().ok_or_else(|| Error::NoCopies("none is home".to_owned()))?;
        let in_copy = |copy: &CopyConfig| {
            let copy = copy.name.clone();
            move |source: Error| Error::Copy { copy, source: Box::new(source) }
        };
        let (mut created, mut present) = (Vec::new(), Vec::new());
        let home_parts = parts.repository_parts(&home_config.url).map_err(in_copy(home_config))?;
        let home = match Repository::open(home_parts.clone(), secret.as_ref()).await {
            Ok(home) => {
                present.push(home_config.name.clone());
                home
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                created.push(home_config.name.clone());
                Repository::init(home_parts, options(secret.clone()))
                    .await
                    .map_err(|e| in_copy(home_config)(e.into()))?
            }
            Err(error) => return Err(in_copy(home_config)(error.into())),
        };
        for copy in config.copies.iter().filter(|copy| copy.name != home_config.name) {
            let copy_parts = parts.repository_parts(&copy.url).map_err(in_copy(copy))?;
            match Repository::open(copy_parts.clone(), secret.as_ref()).await {
                Ok(_) => present.push(copy.name.clone()),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Repository::init_copy(copy_parts, &home).await.map_err(|e| in_copy(copy)(e.into()))?;
                    created.push(copy.name.clone());
                }
                Err(error) => return Err(in_copy(copy)(error.into())),
            }
        }
        Ok(Created { repository: home.id(), created, present })
    }

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
        let secret = config.secret()?;
        let mut copies = Vec::new();
        for copy in &config.copies {
            let opened = open_copy(copy, &parts, secret.as_ref(), writes).await;
            copies.push((copy.clone(), opened.map_err(Arc::new)));
        }
        let site = Self { config, parts, copies };
        if site.copies.iter().any(|(_, opened)| opened.is_ok()) {
            return Ok(site);
        }
        // One reason for all (a wrong passphrase, say) is told as what it is.
        let mut failed =
            site.copies.into_iter().filter_map(|(copy, opened)| Some((copy.name, opened.err()?)));
        match (failed.next(), failed.next()) {
            (Some((copy, error)), None) => Err(unshare(copy, error)),
            (Some((copy, error)), Some(_)) if error.kind() == ErrorKind::Key => Err(unshare(copy, error)),
            (Some((copy, error)), Some((second, other))) => {
                Err(Error::NoCopies(format!("{copy}: {error}; {second}: {other}")))
            }
            (None, _) => Err(Error::NoCopies("the configuration names none".to_owned())),
        }
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
        let home = self.config.home().ok_or_else(|| Error::NoCopies("none is home".to_owned()))?;
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
            return opened(true)
                .or_else(|| opened(false))
                .ok_or_else(|| Error::NoCopies("none could be opened".into()));
        };
        let known = || self.copies.iter().map(|(copy, _)| copy.name.as_str()).collect::<Vec<_>>().join(", ");
        let (copy, opened) = self
            .copies
            .iter()
            .find(|(copy, _)| copy.name == *name)
            .ok_or_else(|| Error::NoCopy { name: name.clone(), known: known() })?;
        match opened {
            Ok(repository) => Ok((&copy.name, repository)),
            Err(error) => Err(unshare(copy.name.clone(), error.clone())),
        }
    }

    /// The copies that could be opened, as replication takes them.
    pub fn specs(&self) -> Vec<CopySpec> {
        let opened = self.copies.iter().filter_map(|(copy, opened)| Some((copy, opened.as_ref().ok()?)));
        opened.map(|(copy, repository)| self.spec(copy, repository.clone())).collect()
    }

    pub(crate) fn spec(&self, copy: &CopyConfig, repository: Repository) -> CopySpec {
        let role = match self.config.role(copy) {
            crate::config::Role::Home => Role::Home,
            crate::config::Role::Mirror => Role::Mirror,
        };
        // A label that is not there means here: for the machine only where the URL says so, too.
        let here = &self.config.daemon;
        let on_this_machine = !self.config.survives(copy, Domain::Machine);
        let mut domain = CopyDomain::default();
        domain.machine = copy.machine.clone().or_else(|| on_this_machine.then(|| here.machine.clone()));
        domain.region = Some(copy.region.clone().unwrap_or_else(|| here.region.clone()));
        CopySpec { name: copy.name.clone(), domain, url: copy.url.clone(), role, repository }
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
        self.config.system(name).ok_or_else(|| {
            let known = self.config.systems.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
            Error::NoSystem { name: name.clone(), known }
        })
    }

    /// The source of a system. Copies and state that lie inside it are left out: a repository that held itself would grow
    /// for ever.
    ///
    /// # Errors
    /// The directory cannot be looked at.
    pub fn source(&self, system: &SystemConfig) -> Result<Arc<dyn Source>, Error> {
        let SourceConfig::Directory { path, exclude, one_file_system } = &system.source;
        let mut options = DirectoryOptions::default();
        options.exclude = exclude.iter().filter_map(|path| entry_path(path)).collect();
        options.one_file_system = *one_file_system;
        let files = self.config.copies.iter().filter_map(|copy| copy.url.strip_prefix("file://"));
        for place in files.map(PathBuf::from).chain([self.config.daemon.state_dir.clone()]) {
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

fn options(secret: Option<Secret>) -> InitOptions {
    match secret {
        Some(secret) => InitOptions::encrypted(secret),
        None => InitOptions::unencrypted(),
    }
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

/// The error as it is if nobody else holds it, else its text and kind.
fn unshare(copy: CopyName, error: Arc<Error>) -> Error {
    match Arc::try_unwrap(error) {
        Ok(error) => Error::Copy { copy, source: Box::new(error) },
        Err(shared) => Error::CopyUnusable { copy, kind: shared.kind(), why: shared.to_string() },
    }
}
