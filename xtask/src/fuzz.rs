//! `cargo xtask fuzz`: every decoder against bytes from outside.

use anyhow::{Context as _, bail};
use xshell::{Shell, cmd};

use crate::tools;

/// Fuzzes all targets, or one, for `seconds` each. Works on the stable toolchain: without a sanitizer, which Rust code
/// that forbids `unsafe` can do without; a crash, a hang or more than 256 MiB is a failure.
pub(crate) fn run(sh: &Shell, only: Option<&str>, seconds: u32) -> anyhow::Result<()> {
    tools::cargo(sh, "cargo-fuzz", "0.13.2")?;
    let targets = targets(sh)?;
    if let Some(only) = only.filter(|only| !targets.iter().any(|t| t == only)) {
        bail!("no fuzz target `{only}`; there are: {}", targets.join(", "));
    }
    println!("   building {} targets", targets.len());
    cmd!(sh, "cargo fuzz build --sanitizer none").quiet().run()?;
    for target in targets.iter().filter(|t| only.is_none_or(|only| only == t.as_str())) {
        println!("   fuzz {target}, {seconds} s");
        let limits = [
            "-rss_limit_mb=256",
            "-malloc_limit_mb=128",
            "-timeout=10",
            "-print_final_stats=0",
            "-verbosity=0",
        ];
        let time = format!("-max_total_time={seconds}");
        let run = cmd!(sh, "cargo fuzz run --sanitizer none {target} -- {time} {limits...}");
        let output = run.quiet().ignore_status().output()?;
        if !output.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
            bail!("the decoder behind `{target}` failed; the input is in fuzz/artifacts/{target}");
        }
    }
    Ok(())
}

fn targets(sh: &Shell) -> anyhow::Result<Vec<String>> {
    let manifest: toml::Table = toml::from_str(&sh.read_file("fuzz/Cargo.toml")?)?;
    let bins =
        manifest.get("bin").and_then(toml::Value::as_array).context("fuzz/Cargo.toml has no [[bin]]")?;
    Ok(bins.iter().filter_map(|bin| Some(bin.get("name")?.as_str()?.to_owned())).collect())
}
