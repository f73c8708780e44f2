//! Installs what a step lacks, and says so.

use anyhow::Context as _;
use xshell::{Shell, cmd};

/// Makes sure that the cargo tool `name` is there.
pub(crate) fn cargo(sh: &Shell, name: &str, version: &str) -> anyhow::Result<()> {
    if found(sh, name) {
        return Ok(());
    }
    println!("   installing {name} {version} (cargo install)");
    // A target folder that is kept: an interrupted install goes on where it was.
    let target = sh.current_dir().join("target/tools/build");
    cmd!(sh, "cargo install --quiet --locked {name}@{version} --target-dir {target}")
        .run()
        .with_context(|| format!("{name} could not be installed"))
}

/// Makes sure that the program `program` of the Debian package `package` is there.
pub(crate) fn apt(sh: &Shell, program: &str, package: &str) -> anyhow::Result<()> {
    if found(sh, program) {
        return Ok(());
    }
    println!("   installing {package} (apt-get)");
    cmd!(sh, "apt-get update -qq")
        .run()
        .context("apt-get update failed: is this Debian, and are you root?")?;
    cmd!(sh, "apt-get install -qq -y --no-install-recommends {package}")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .ignore_stdout()
        .run()
        .with_context(|| format!("{package} could not be installed; install it by hand and run again"))
}

/// Whether `program` is on the path.
pub(crate) fn found(sh: &Shell, program: &str) -> bool {
    let paths = sh.var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| sh.path_exists(dir.join(program)))
}
