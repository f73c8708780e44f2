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
        let limits = ["-rss_limit_mb=256", "-malloc_limit_mb=128", "-timeout=10", "-print_final_stats=0"];
        let time = format!("-max_total_time={seconds}");
        let run = cmd!(sh, "cargo fuzz run --sanitizer none {target} -- {time} {limits...}");
        let output = run.quiet().ignore_status().output()?;
        if !output.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
            bail!("the decoder behind `{target}` failed; the input is in fuzz/artifacts/{target}");
        }
        println!("   {}", growth(&String::from_utf8_lossy(&output.stderr)));
    }
    Ok(())
}

/// Says how far coverage has come, and when it grew last, from the fuzzer's lines such as `#4096 NEW cov: 120 ft: 300 …`.
fn growth(said: &str) -> String {
    let number = |word: Option<&str>| word.and_then(|w| w.trim_start_matches('#').parse::<u64>().ok());
    let after = |line: &str, key: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word != key);
        words.next().and(number(words.next()))
    };
    let (mut runs, mut edges, mut grown_at, mut rss) = (0, 0, 0, 0);
    for line in said.lines().filter(|line| line.starts_with('#')) {
        runs = number(line.split_whitespace().next()).unwrap_or(runs).max(runs);
        rss = after(line, "rss:").or_else(|| mebibytes(line)).unwrap_or(rss).max(rss);
        if let Some(cov) = after(line, "cov:").filter(|cov| *cov > edges) {
            (edges, grown_at) = (cov, runs);
        }
    }
    let share = if runs > 0 { grown_at as f64 * 100.0 / runs as f64 } else { 0.0 };
    format!("{runs} runs, {edges} edges, the last new one after {share:.0} % of the runs; at most {rss} MiB")
}

fn mebibytes(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace().skip_while(|word| *word != "rss:");
    words.next()?;
    words.next()?.trim_end_matches("Mb").parse().ok()
}

fn targets(sh: &Shell) -> anyhow::Result<Vec<String>> {
    let manifest: toml::Table = toml::from_str(&sh.read_file("fuzz/Cargo.toml")?)?;
    let bins =
        manifest.get("bin").and_then(toml::Value::as_array).context("fuzz/Cargo.toml has no [[bin]]")?;
    Ok(bins.iter().filter_map(|bin| Some(bin.get("name")?.as_str()?.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::growth;

    #[test]
    fn growth_is_read_from_what_the_fuzzer_says() {
        let said = "INFO: seed\n#2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 30Mb\n\
                    #50\tNEW    cov: 40 ft: 60 corp: 2/9b lim: 4 exec/s: 0 rss: 31Mb L: 1/2\n\
                    #80\tREDUCE cov: 40 ft: 60 corp: 2/8b lim: 4 exec/s: 0 rss: 31Mb\n\
                    #100\tDONE   cov: 40 ft: 60 corp: 2/8b lim: 4 exec/s: 50 rss: 33Mb\nDone 100 runs";
        assert_eq!(
            growth(said),
            "100 runs, 40 edges, the last new one after 50 % of the runs; at most 33 MiB"
        );
    }
}
