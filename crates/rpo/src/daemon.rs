//! The daemon: a manager made from a configuration file.

use rpo_core::event::Event;
use rpo_storage::Hurry;
use tokio::sync::broadcast;

use crate::config::Config;
use crate::manager::{AbsentCopy, DirectorySystem, Here, Manager, ManagerParts};
use crate::report::StatusReport;
use crate::{Error, Site, SiteParts};

/// A manager made from a configuration file.
#[derive(Debug)]
pub struct Daemon {
    manager: Manager,
    systems: usize,
}

impl Daemon {
    /// Opens the copies and begins. Home must be reachable; a mirror that is not makes its part unknown, not everything,
    /// and joins once it can be opened.
    ///
    /// # Errors
    /// The configuration contradicts itself, home cannot be opened, or another daemon uses the state directory.
    pub async fn start(config: Config, parts: SiteParts) -> Result<Self, Error> {
        config.validate()?;
        let parts = SiteParts { hurry: Hurry::new(), ..parts }; // of this daemon alone
        parts.check_schemes(&config)?;
        let site = Site::open(config, parts).await?;
        site.home()?;
        let config = site.config();
        let here = Here { machine: config.daemon.machine.clone(), region: config.daemon.region.clone() };
        let given = site.parts();
        let manager_parts = ManagerParts {
            clock: given.clock.clone(),
            entropy: given.entropy.clone(),
            disk: given.disk.clone(),
            state_dir: config.daemon.state_dir.clone(),
            sample_every: config.daemon.sample_every.get(),
        };
        let mut builder = Manager::builder(manager_parts, here, site.specs())
            .hurry(given.hurry.clone())
            .configuration(config.identity())
            .audit_every(config.daemon.audit_every.get());
        for (copy, opened) in site.copies() {
            let Err(error) = opened else { continue };
            tracing::warn!(copy = %copy.name, %error, "this copy cannot be opened: it is tried again until it is back");
            let (role, domain) = site.place(copy);
            let absent = AbsentCopy { name: copy.name.clone(), role, domain, why: error.to_string() };
            builder = builder.absent_until(absent, site.reopen(copy));
        }
        for system in &config.systems {
            builder = builder.directory(DirectorySystem {
                name: system.name.clone(),
                source: site.source(system)?,
                checkpointer: site.checkpointer(system, site.home()?)?,
                every: system.checkpoint_every().get(),
                full_every: system.checkpoint.full_every.get(),
                objective: system.objective.clone(),
            });
        }
        Ok(Self { systems: config.systems.len(), manager: builder.start().await? })
    }

    /// How many systems are protected.
    pub fn systems(&self) -> usize {
        self.systems
    }

    /// Events as they happen.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.manager.subscribe()
    }

    /// Waits until every system was checkpointed once and measured.
    pub async fn first_round(&self) {
        self.manager.first_round().await;
    }

    /// The manager.
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    /// Lets work in hand finish, takes a last sample, and stops.
    ///
    /// # Errors
    /// The last report could not be kept.
    pub async fn stop(self) -> Result<StatusReport, Error> {
        self.manager.stop().await
    }
}
