//! The file that `rpo init` and `rpo protect` write: as short as it can be, with the comments a first reader needs.

use std::fmt::Write as _;

use rpo_core::objective::Domain;
use rpo_core::{HumanDuration, SourceId};

use super::{Config, CopyConfig, RepositoryConfig, Role, SourceConfig};

/// One directory to protect.
#[derive(Debug, Clone)]
pub struct Protect {
    /// Its name.
    pub name: SourceId,
    /// What it is.
    pub source: SourceConfig,
    /// How often to take a checkpoint.
    pub every: HumanDuration,
    /// How much may be lost at most. Default: twice the interval.
    pub rpo: Option<HumanDuration>,
}

/// The text of a configuration file. Promises what the interval can keep, in the domains that a copy survives.
pub fn template(repository: &RepositoryConfig, copies: &[CopyConfig], protect: Option<&Protect>) -> String {
    let mut text = String::from(
        "# What is protected, where its copies are, and what was promised about it.\n\
         # `rpo check` says in plain words what this file promises; `rpo run` keeps it.\n\
         # A copy labelled with another machine or region than [daemon] counts as surviving the loss of this one; where\n\
         # that cannot be shown it is called declared.\n",
    );
    let mut section = |name: &str, lines: &[(&str, Option<String>)]| {
        let _ = write!(text, "\n{name}\n");
        for (key, value) in lines.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
            let _ = writeln!(text, "{key} = {value}");
        }
    };
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|p| quoted(&p.display().to_string()));
    section(
        "[repository]",
        &[
            ("passphrase-file", path(&repository.passphrase_file)),
            ("passphrase-command", repository.passphrase_command.as_ref().map(|c| list(c))),
            ("passphrase-env", repository.passphrase_env.as_deref().map(quoted)),
            ("key-file", path(&repository.key_file)),
            ("encryption", repository.encryption.map(|_| quoted("none"))),
        ],
    );
    for copy in copies {
        section(
            "[[copy]]",
            &[
                ("name", Some(quoted(copy.name.as_str()))),
                ("url", Some(quoted(&copy.url))),
                ("role", copy.role.map(|role| quoted(if role == Role::Home { "home" } else { "mirror" }))),
                ("machine", copy.machine.as_deref().map(quoted)),
                ("region", copy.region.as_deref().map(quoted)),
            ],
        );
    }
    if let Some(protect) = protect {
        let lines = system(copies, protect);
        section("[[system]]", &lines.map(|(key, value)| (key, value)));
    }
    text
}

fn system(copies: &[CopyConfig], protect: &Protect) -> [(&'static str, Option<String>); 4] {
    let SourceConfig::Directory { path, exclude, one_file_system } = &protect.source;
    let mut source = format!("{{ kind = \"directory\", path = {}", quoted(&path.display().to_string()));
    if !exclude.is_empty() {
        let exclude: Vec<_> = exclude.iter().map(|p| p.display().to_string()).collect();
        let _ = write!(source, ", exclude = {}", list(&exclude));
    }
    if *one_file_system {
        source.push_str(", one-file-system = true");
    }
    source.push_str(" }");
    let all = Config { copies: copies.to_vec(), ..Config::default() };
    let ceiling = protect.rpo.unwrap_or_else(|| HumanDuration::from(protect.every.get() * 2));
    let kept = |domain: Domain| all.copies.iter().any(|copy| all.survives(copy, domain));
    let promised: Vec<_> = [Domain::Machine, Domain::Region]
        .into_iter()
        .filter(|domain| kept(*domain))
        .map(|domain| format!("{domain} = \"{ceiling}\""))
        .collect();
    let objective = (!promised.is_empty()).then(|| format!("{{ rpo = {{ {} }} }}", promised.join(", ")));
    [
        ("name", Some(quoted(protect.name.as_str()))),
        ("source", Some(source)),
        ("objective", objective),
        ("checkpoint", Some(format!("{{ every = \"{}\" }}", protect.every))),
    ]
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(items: &[String]) -> String {
    let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}
