//! Which crate stands on which floor: arrows point to lower floors only.

use std::collections::BTreeMap;

/// The floor of each crate. A crate may depend on crates of lower floors; for tests it may also use the test kit.
pub(crate) const LAYERS: &[(&str, u8)] = &[
    ("rpo-core", 0),
    ("rpo-os", 1),
    ("rpo-crypto", 1),
    ("rpo-alerts", 1),
    ("rpo-wal", 2),
    ("rpo-storage", 2),
    ("rpo-source-dir", 2),
    ("rpo-journal", 3),
    ("rpo-storage-opendal", 3),
    ("rpo-repository", 3),
    ("rpo-checkpoint", 4),
    ("rpo-replication", 4),
    ("rpo-recovery", 5),
    ("rpo", 6),
    ("rpo-cli", 7),
];

/// The test kit is published for backend authors: it may stand on nothing but these.
const TESTKIT_MAY_USE: &[&str] = &["rpo-core", "rpo-storage"];

/// What is wrong with the arrows of the crate whose manifest this is.
pub(crate) fn check(name: &str, manifest: &toml::Table) -> Vec<String> {
    let floors: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let ours = dependencies.into_iter().flat_map(|table| table.keys()).filter(|key| key.starts_with("rpo"));
    if name == "rpo-testkit" {
        let strangers = ours.filter(|d| !TESTKIT_MAY_USE.contains(&d.as_str()));
        wrong.extend(
            strangers.map(|d| format!("rpo-testkit may not use {d}: it stands on {TESTKIT_MAY_USE:?} only")),
        );
        return wrong;
    }
    let Some(floor) = floors.get(name) else {
        return vec![format!("{name} has no floor: give it one in xtask/src/layers.rs")];
    };
    for dependency in ours {
        match floors.get(dependency.as_str()) {
            Some(below) if below < floor => {}
            Some(_) => {
                wrong.push(format!("{name} (floor {floor}) may not use {dependency}: arrows point down only"))
            }
            None => wrong.push(format!("{name} uses {dependency}, which has no floor")),
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_upwards_is_found() {
        let manifest =
            toml::from_str("[dependencies]\nrpo-checkpoint.workspace = true\nserde = \"1\"").unwrap();
        assert_eq!(check("rpo-wal", &manifest).len(), 1);
        assert!(check("rpo-recovery", &manifest).is_empty());
    }
}
