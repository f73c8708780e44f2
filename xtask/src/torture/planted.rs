//! Every planted bug of the log's crates, and what caught it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use xshell::{Shell, cmd};

/// The crates, and which unit tests of theirs plant bugs.
const CRATES: [(&str, Option<&str>); 4] = [
    ("rpo-wal", Some("planted")),
    ("rpo-replication", None),
    ("rpo-recovery", Some("the_oracle_catches")),
    ("rpo-journal", None),
];

/// What caught each bug of each crate.
type Table = BTreeMap<(String, String), Vec<String>>;

/// Runs the rigs and the tests; fails when one of either does, or when a bug was caught by nothing.
pub(super) fn run(sh: &Shell, program: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let (mut table, mut failed) = (Table::new(), Vec::new());
    for (package, _) in CRATES {
        for bug in bugs(sh, package)? {
            table.insert((package.to_owned(), bug), Vec::new());
        }
    }
    let rigs = cmd!(sh, "{program} {arguments...} --planted").ignore_status().output()?;
    eprint!("{}", String::from_utf8_lossy(&rigs.stderr));
    let said = String::from_utf8_lossy(&rigs.stdout);
    said.lines().filter(|line| !line.contains(" caught by ")).for_each(|line| println!("{line}"));
    take(&mut table, "rpo-wal", &said);
    if !rigs.status.success() {
        failed.push("the rigs".to_owned());
    }
    for (package, unit) in CRATES {
        for test in tests(sh, package)? {
            let name = test.file_stem().context("a test has a name")?.to_string_lossy().into_owned();
            let which = ["--test".to_owned(), name.clone()];
            let source = sh.read_file(&test)?;
            catch(sh, &mut table, &mut failed, (package, &which, &[]), &source, &name)?;
        }
        if let Some(filter) = unit {
            let source = sources(sh, package)?;
            catch(
                sh,
                &mut table,
                &mut failed,
                (package, &["--lib".to_owned()], &[filter]),
                &source,
                "unit tests",
            )?;
        }
    }
    show(&table, &failed)
}

fn show(table: &Table, failed: &[String]) -> anyhow::Result<()> {
    println!("\n{:16} {:24} caught by", "crate", "planted bug");
    for ((package, bug), by) in table {
        let by = if by.is_empty() { "NOTHING".to_owned() } else { by.join("; ") };
        println!("{package:16} {bug:24} {by}");
    }
    let missed = table.values().filter(|by| by.is_empty()).count();
    if missed > 0 || !failed.is_empty() {
        bail!("{missed} planted bug(s) were caught by nothing; failed: {failed:?}");
    }
    println!("planted bugs caught: all {}", table.len());
    Ok(())
}

/// Runs one target with the bugs built in. A test fails when its bug is not caught; what it prints says after how much.
fn catch(
    sh: &Shell,
    table: &mut Table,
    failed: &mut Vec<String>,
    (package, which, filter): (&str, &[String], &[&str]),
    source: &str,
    name: &str,
) -> anyhow::Result<()> {
    let of = ["--nocapture"];
    let features = if name == "schedules" { "planted-bugs,shuttle" } else { "planted-bugs" };
    let run = cmd!(
        sh,
        "cargo test --locked --quiet -p {package} --features {features} {which...} -- {of...} {filter...}"
    )
    .ignore_status()
    .output()?;
    let said = String::from_utf8_lossy(&run.stdout);
    if !run.status.success() {
        eprintln!("{said}{}", String::from_utf8_lossy(&run.stderr));
        failed.push(format!("{package} {name}"));
        return Ok(());
    }
    take(table, package, &said);
    // A test that plants a bug and passes has caught it, whether it prints so or not.
    for ((_, bug), by) in table.iter_mut().filter(|((of, _), by)| of == package && by.is_empty()) {
        let planted = source.match_indices(&format!("Bug::{bug}")).any(|(at, found)| {
            let next = source[at + found.len()..].chars().next();
            !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
        });
        let printed = said.lines().any(|line| line.starts_with(&format!("{bug}: ")));
        if planted || printed {
            by.push(format!("{name} (asserted)"));
        }
    }
    Ok(())
}

/// Lines `planted <bug> caught by <test> after <n>`; a test of the harness may print before them on the same line.
fn take(table: &mut Table, package: &str, said: &str) {
    for line in said.lines() {
        let Some((_, rest)) = line.split_once("planted ") else { continue };
        let Some((bug, by)) = rest.split_once(" caught by ") else { continue };
        table.entry((package.to_owned(), bug.to_owned())).or_default().push(by.to_owned());
    }
}

fn rust(sh: &Shell, dir: PathBuf) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in sh.read_dir(dir)? {
        if path.is_dir() {
            files.extend(rust(sh, path)?);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The test targets that plant bugs.
fn tests(sh: &Shell, package: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in sh.read_dir(format!("crates/{package}/tests"))? {
        if path.is_file() && sh.read_file(&path)?.contains("Bug") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The unit tests of a crate that plant bugs, as one text.
fn sources(sh: &Shell, package: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    for path in rust(sh, format!("crates/{package}/src").into())? {
        let source = sh.read_file(&path)?;
        if source.contains("#[test]") {
            text.push_str(&source);
        }
    }
    Ok(text)
}

/// The names of a crate's planted bugs, from its source: one that nobody catches must show.
fn bugs(sh: &Shell, package: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for path in rust(sh, format!("crates/{package}/src").into())? {
        found.extend(variants(&sh.read_file(&path)?));
    }
    if found.is_empty() { bail!("{package} has no planted bugs: was their list moved?") } else { Ok(found) }
}

/// The variants of enums named `…Bug`, and of a list `bugs! { … }`.
fn variants(source: &str) -> Vec<String> {
    let (mut inside, mut found) = (false, Vec::new());
    for line in source.lines() {
        let heads = line.starts_with("pub enum ") && line.ends_with("Bug {") || line == "bugs! {";
        inside = heads || inside && !line.starts_with('}');
        let name: String = line.trim_start().chars().take_while(char::is_ascii_alphanumeric).collect();
        let rest = line.trim_start().get(name.len()..).unwrap_or_default();
        let is_name = name.starts_with(|c: char| c.is_ascii_uppercase());
        if inside && !heads && is_name && (rest == "," || rest.starts_with(" = ")) {
            found.push(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bugs_are_found_in_an_enum_and_in_a_list_and_what_is_printed_of_them_is_heard() {
        let source = "use a::{\n    Not,\n};\n/// A.\npub enum Bug {\n    /// That.\n    One = 1,\n    Two,\n}\nimpl X {\n    No,\n}\n";
        assert_eq!(variants(source), ["One", "Two"]);
        assert_eq!(variants("bugs! {\n    Three = 0, \"t\", \"What.\";\n}\n"), ["Three"]);
        let mut table = Table::new();
        take(
            &mut table,
            "p",
            "test a ... planted One caught by sim::x after 3\nplanted Two MISSED by y in 9 runs\n",
        );
        assert_eq!(table.len(), 1);
        assert_eq!(table[&("p".to_owned(), "One".to_owned())], ["sim::x after 3"]);
    }
}
