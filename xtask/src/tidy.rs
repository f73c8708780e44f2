//! `cargo xtask tidy`: what prose promises about the tree, checked.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::layers;

/// A file longer than this holds more than one concept.
const LINES_MAX: usize = 600;

/// Checks layering, headers, format specifications, and words that mark unfinished work.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for krate in crates(root)? {
        let name = krate.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        let manifest: toml::Table = toml::from_str(&fs::read_to_string(krate.join("Cargo.toml"))?)?;
        wrong.extend(layers::check(&name, &manifest));
        let files = files_below(&krate.join("src"))?;
        let sources: Vec<_> = files.iter().filter(|f| has_extension(f, "rs")).collect();
        for file in &sources {
            wrong.extend(check_source(root, file)?);
        }
        wrong.extend(check_root_doc(root, &krate)?);
        wrong.extend(check_specs(root, &files)?);
    }
    for line in &wrong {
        eprintln!("tidy: {line}");
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{} thing(s) out of place", wrong.len()) }
}

fn crates(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(root.join("crates")).context("the workspace has no crates/")?;
    let mut crates: Vec<_> =
        entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| p.join("Cargo.toml").exists()).collect();
    crates.sort();
    Ok(crates)
}

fn files_below(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() { files.extend(files_below(&path)?) } else { files.push(path) }
    }
    files.sort();
    Ok(files)
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// The header, the length, and words that mark unfinished work.
fn check_source(root: &Path, file: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(file)?;
    let at = shown(root, file);
    let mut wrong = Vec::new();
    let is_test = at.ends_with("tests.rs") || at.contains("/tests/");
    if !is_test && !text.starts_with("//!") && !text.starts_with("#![doc = include_str!(") {
        wrong
            .push(format!("{at}: begin with one to three lines of `//!`: what lives here, what it promises"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX && !is_test {
        wrong.push(format!("{at}: {lines} lines; more than {LINES_MAX} is more than one concept"));
    }
    for word in ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"] {
        if let Some(line) = text.lines().position(|line| line.contains(word)) {
            wrong.push(format!("{at}:{}: `{word}`", line + 1));
        }
    }
    Ok(wrong)
}

/// Each library says what it promises, and shows it in an example that runs.
fn check_root_doc(root: &Path, krate: &Path) -> anyhow::Result<Vec<String>> {
    let lib = krate.join("src/lib.rs");
    if !lib.exists() {
        return Ok(Vec::new()); // a binary
    }
    let text = fs::read_to_string(&lib)?;
    let doc: String =
        text.lines().take_while(|line| line.starts_with("//!")).map(|line| format!("{line}\n")).collect();
    let at = shown(root, &lib);
    let mut wrong = Vec::new();
    for (needle, what) in [
        ("**Promises**", "what it promises"),
        ("**Knows nothing of**", "what it leaves to others"),
        ("**Start at**", "where to start"),
        ("//! ```", "an example that runs"),
    ] {
        if !doc.contains(needle) {
            wrong.push(format!("{at}: the crate's doc lacks {what} ({needle})"));
        }
    }
    Ok(wrong)
}

/// Each specification is the documentation of a module, is checked by a test there, and stands in the book.
fn check_specs(root: &Path, files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let book: String = files_below(&root.join("docs"))?
        .iter()
        .filter(|f| has_extension(f, "md"))
        .map(fs::read_to_string)
        .collect::<Result<_, _>>()?;
    for spec in files.iter().filter(|f| has_extension(f, "md")) {
        let at = shown(root, spec);
        let name = spec.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let mut mentions = 0;
        let mut documented = false;
        for source in files.iter().filter(|f| has_extension(f, "rs")) {
            let text = fs::read_to_string(source)?;
            let beside = source.parent() == spec.parent();
            documented |= beside && text.contains(&format!("#![doc = include_str!(\"{name}\")]"));
            mentions +=
                text.match_indices("include_str!(\"").filter(|(at, _)| names(&text[*at..], name)).count();
        }
        if !documented {
            wrong.push(format!("{at}: no module beside it says `#![doc = include_str!(\"{name}\")]`"));
        } else if mentions < 2 {
            wrong.push(format!("{at}: no test holds the specification to the code"));
        }
        if !book.contains(&at) {
            wrong.push(format!("{at}: not in the book; include it in docs/src/formats.md"));
        }
    }
    Ok(wrong)
}

/// Whether an `include_str!("…")` at the beginning of `text` names a file called `name`.
fn names(text: &str, name: &str) -> bool {
    let path = text.split('"').nth(1).unwrap_or_default();
    path.rsplit('/').next() == Some(name)
}
