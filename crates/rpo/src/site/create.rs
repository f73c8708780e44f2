//! Making the repository in every copy that lacks it.

use std::io;

use rpo_core::{CopyName, Disk, ErrorKind, RepositoryId};
use rpo_crypto::Secret;
use rpo_repository::{InitOptions, Repository};
use serde::Serialize;

use super::{Site, SiteParts, none_is_home};
use crate::Error;
use crate::config::{Config, CopyConfig};
use crate::report::SCHEMA_VERSION;

/// What `init` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Created {
    /// Version of this shape.
    pub schema_version: u32,
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
        parts.check_schemes(config)?;
        let secret = config.new_secret()?;
        let home_config = config.home().ok_or_else(none_is_home)?;
        // All are looked at before the first is made: a home that is gone while its copies live is no new beginning.
        let mut absent = Vec::new();
        let mut found = Vec::new();
        for copy in &config.copies {
            let in_copy = |source: Error| Error::Copy { copy: copy.name.clone(), source: Box::new(source) };
            let copy_parts = parts.repository_parts(&copy.url).map_err(in_copy)?;
            match Repository::open(copy_parts.clone(), secret.as_ref()).await {
                Ok(repository) => found.push((copy, repository)),
                Err(error) if error.kind() == ErrorKind::NotFound => absent.push((copy, copy_parts)),
                Err(error) => return Err(in_copy(error.into())),
            }
        }
        absent.iter().try_for_each(|(copy, _)| parent_is_there(copy, parts.disk.as_ref()))?;
        let (mut created, mut present) = (Vec::new(), Vec::new());
        let home = match found.iter().find(|(copy, _)| copy.name == home_config.name) {
            Some((_, home)) => home.clone(),
            None => {
                if let Some((holder, repository)) = found.first() {
                    let (home, holder) = (home_config.name.clone(), holder.name.clone());
                    return Err(Error::HomeLost { home, holder, repository: repository.id() });
                }
                let at = absent.iter().position(|(copy, _)| copy.name == home_config.name);
                let (copy, home_parts) = absent.remove(at.ok_or_else(none_is_home)?);
                created.push(copy.name.clone());
                let made = Repository::init(home_parts, options(secret)).await;
                made.map_err(|e| Error::Copy { copy: copy.name.clone(), source: Box::new(e.into()) })?
            }
        };
        for (copy, repository) in found {
            if repository.id() != home.id() {
                let (found, expected) = (repository.id(), home.id());
                return Err(Error::NotACopy { copy: copy.name.clone(), found, expected });
            }
            present.push(copy.name.clone());
        }
        for (copy, copy_parts) in absent {
            let made = Repository::init_copy(copy_parts, &home).await;
            made.map_err(|e| Error::Copy { copy: copy.name.clone(), source: Box::new(e.into()) })?;
            created.push(copy.name.clone());
        }
        Ok(Created { schema_version: SCHEMA_VERSION, repository: home.id(), created, present })
    }
}

/// A directory is made for a copy, not those above it: what should be there already may be a disk that is not mounted.
fn parent_is_there(copy: &CopyConfig, disk: &dyn Disk) -> Result<(), Error> {
    let Some(directory) = copy.directory() else { return Ok(()) };
    let Some(parent) = directory.parent() else { return Ok(()) };
    match disk.list(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::NoParent { copy: copy.name.clone(), parent: parent.display().to_string() })
        }
        _ => Ok(()), // what else may be wrong with it, making the repository says
    }
}

fn options(secret: Option<Secret>) -> InitOptions {
    match secret {
        Some(secret) => InitOptions::encrypted(secret),
        None => InitOptions::unencrypted(),
    }
}
