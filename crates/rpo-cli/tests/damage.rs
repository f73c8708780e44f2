//! Damaged and missing objects: named with the files they cost; what is whole is restored, what is not is refused.

mod site;

use std::fs;

use site::{Site, noise, tree};

/// Two checkpoints whose packs are apart: the second adds `docs/late.raw`.
fn two_checkpoints() -> (Site, Vec<String>) {
    let site = Site::protected();
    let first = site.tree("docs");
    // Old enough to be trusted by the next look, so that only what is new is stored with it.
    site.write("docs/late.raw", &noise(3, 500_000));
    site.ok(["checkpoint", "--full"]);
    (site, first)
}

#[test]
fn a_truncated_pack_is_named_with_its_files_and_what_does_not_need_it_is_restored() {
    let (site, first) = two_checkpoints();
    let pack = site.objects("home", "packs").swap_remove(0);
    let whole = fs::read(&pack).unwrap();
    fs::write(&pack, &whole[..whole.len() / 2]).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap();

    site.rpo(["verify"]).ends_with(22).says(&[name, "1 object damaged or missing", "lost: ", "docs@2"]);
    site.rpo(["verify", "--read-data"]).ends_with(22).says(&[name, "docs@2"]);
    site.rpo(["restore", "docs", "--into", "restored"]).fails(22, &[name, "cut off", "next: "]);
    site.has_nothing_half_restored("restored");
    site.restores("checkpoint:docs@1", &first, &[]);

    fs::write(&pack, whole).unwrap();
    site.ok(["verify", "--read-data"]).says(&["nothing damaged"]);
    site.restores_docs_exactly();
}

#[test]
fn a_deleted_pack_is_damage_and_whole_again_once_it_is_put_back() {
    let (site, first) = two_checkpoints();
    let pack = site.objects("home", "packs").swap_remove(0);
    fs::rename(&pack, site.path("aside")).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap();

    site.rpo(["verify"]).ends_with(22).says(&[name, "is not there", "docs@2"]);
    site.rpo(["restore", "docs", "--into", "restored"]).fails(22, &[name, "is not there", "next: "]);
    site.has_nothing_half_restored("restored");
    site.restores("checkpoint:docs@1", &first, &[]);
    site.rpo(["checkpoint"]).ends_with(3).says(&["the one before it is damaged", name, "rpo verify"]);

    fs::rename(site.path("aside"), &pack).unwrap();
    site.ok(["verify", "--read-data"]).says(&["nothing damaged"]);
    site.restores_docs_exactly();
}

#[test]
fn a_flipped_byte_in_a_manifest_costs_that_checkpoint_and_no_other() {
    let (site, first) = two_checkpoints();
    let manifest = site.path("home/checkpoints/docs/0000000000000002");
    let mut bytes = fs::read(&manifest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&manifest, &bytes).unwrap();

    site.rpo(["verify"])
        .ends_with(22)
        .says(&["checkpoints/docs/0000000000000002", "lost: all files of docs@2"]);
    site.rpo(["restore", "docs", "--to", "checkpoint:docs@2", "--into", "restored"])
        .fails(22, &["checkpoints/docs/0000000000000002", "next: "]);
    site.has_nothing_half_restored("restored");
    site.restores("checkpoint:docs@1", &first, &[]);

    site.ok(["checkpoint"]);
    site.restores_docs_exactly();
}

#[test]
fn what_is_damaged_at_home_is_restored_from_the_other_copy() {
    let site = Site::two_copies();
    site.ok(["checkpoint"]);
    fs::remove_file(site.objects("home", "packs").swap_remove(0)).unwrap();

    site.rpo(["restore", "docs", "--into", "restored"]).fails(22, &["another copy may be whole: --from far"]);
    site.rpo(["verify"]).ends_with(22).says(&["copy home: ", "copy far: 1 checkpoint, ", "nothing damaged"]);
    site.ok(["verify", "--copy", "far", "--read-data"]);
    site.restores("latest", &site.tree("docs"), &["--from", "far"]);
}

#[test]
fn the_only_pack_that_is_lost_is_said_to_cost_all_files() {
    let site = Site::protected();
    let pack = site.objects("home", "packs").swap_remove(0);
    fs::remove_file(&pack).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap();

    let verified = site.rpo(["verify"]).ends_with(22);

    verified.says(&[name, "is not there", "lost: all files of docs@1", "next: ", "rpo checkpoint --full"]);
    let found = &site.rpo(["verify", "--json"]).ends_with(22).json()["copies"][0];
    assert_eq!(found["damaged"][0]["checkpoints"][0], "docs@1", "{found:#}");
    assert_eq!((found["sessions"].as_u64(), found["bills"].as_u64()), (Some(1), Some(1)), "{found:#}");
}

#[test]
fn the_newest_manifest_that_is_lost_is_noted_and_another_copy_proves_it() {
    let manifest = "home/checkpoints/docs/0000000000000002";
    let (alone, _) = two_checkpoints();
    fs::remove_file(alone.path(manifest)).unwrap();
    alone.ok(["verify"]).says(&["1 checkpoint,", "never finished: docs@2", "nothing damaged"]);

    let site = Site::two_copies();
    site.ok(["checkpoint"]);
    site.write("docs/late.raw", &noise(3, 500_000));
    site.ok(["checkpoint"]);
    fs::remove_file(site.path(manifest)).unwrap();

    site.rpo(["verify"]).ends_with(22).says(&[
        "checkpoints/docs/0000000000000002: it is not there, and copy far has it",
        "lost: all files of docs@2",
        "next: copy far has it: put it back from there, under the same name",
        "--from far",
    ]);
    site.restores("latest", &site.tree("docs"), &["--from", "far"]);
    fs::copy(site.path("far/checkpoints/docs/0000000000000002"), site.path(manifest)).unwrap();
    site.ok(["verify", "--read-data"]).says(&["copy home: 2 checkpoints, ", "nothing damaged"]);
}

#[test]
fn a_lost_bill_record_or_index_is_named_with_what_it_costs_and_who_has_it() {
    let site = Site::two_copies();
    site.ok(["checkpoint"]);
    for (object, costs) in [
        ("bills/0000000000000001", "no other copy can follow past it"),
        ("sessions/docs/0000000000000001", "it says when a checkpoint was begun"),
        ("indexes/docs/0000000000000001-00000000", "a restore reads what is in the packs themselves"),
    ] {
        let at = site.path("home").join(object);
        fs::rename(&at, site.path("aside")).unwrap();
        site.rpo(["verify"]).ends_with(22).says(&[
            object,
            "not there",
            "costs no file: ",
            costs,
            "next: copy far has it",
        ]);
        site.restores_docs_exactly();
        fs::rename(site.path("aside"), &at).unwrap();
    }
    site.ok(["verify"]).says(&["nothing damaged", "1 session, 1 bill, 1 index"]);
}

/// Changes one byte in the middle, and nothing else.
fn flip(path: &std::path::Path) {
    let mut bytes = fs::read(path).expect("a file of the test");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, &bytes).expect("a file of the test");
}

#[test]
fn one_flipped_byte_costs_the_files_it_hits_and_all_others_are_restored_where_that_is_asked_for() {
    let site = Site::protected();
    site.write("docs/late.raw", &noise(3, 500_000));
    fs::hard_link(site.path("docs/late.raw"), site.path("docs/again.raw")).unwrap();
    site.ok(["checkpoint"]);
    let mut whole = site.tree("docs");
    whole.retain(|line| !line.starts_with("late.raw ") && !line.starts_with("again.raw "));
    let pack = site.objects("home", "packs").swap_remove(0);
    flip(&pack);
    let name = pack.file_name().unwrap().to_str().unwrap();

    let refused = site.rpo(["restore", "docs", "--into", "restored"]);
    let refused = refused
        .fails(22, &[name, "1 file cannot be restored", "next: ", "--skip-damaged restores all other files"]);
    assert!(!refused.err.contains("another copy"), "there is none: {refused:#?}");
    assert_eq!(refused.err.matches(name).count(), 1, "said once: {refused:#?}");
    site.has_nothing_half_restored("restored");
    assert!(!site.path("restored.rpo-incomplete.txt").exists());

    site.rpo(["restore", "docs", "--skip-damaged", "--into", "restored"]).ends_with(3).says(&[
        "damage    files that are damaged in the store are left out",
        "missing   late.raw: a further name of `again.raw`",
        &format!("missing   again.raw: packs/{}/{name}: ", &name[..2]),
        "incomplete: 2 files missing, all named in",
    ]);
    assert_eq!(tree(&site.path("restored")), whole);
    let marker = fs::read_to_string(site.path("restored.rpo-incomplete.txt")).unwrap();
    assert!(
        marker.contains("again.raw: packs/") && marker.contains(name) && marker.contains("late.raw: "),
        "{marker}"
    );

    let json =
        site.rpo(["restore", "docs", "--skip-damaged", "--into", "again", "--json"]).ends_with(3).json();
    let skipped = json["outcome"]["skipped"].as_array().unwrap();
    assert_eq!((skipped.len(), &skipped[0]["path"]), (2, &"again.raw".into()), "{json:#}");
    assert!(skipped[0]["reason"].as_str().unwrap().contains(name), "{json:#}");
    assert!(json["marker"].as_str().unwrap().ends_with("again.rpo-incomplete.txt"), "{json:#}");

    fs::remove_dir_all(site.path("restored")).unwrap();
    site.ok(["restore", "docs", "--to", "checkpoint:docs@1", "--skip-damaged", "--into", "restored"])
        .says(&["restored.rpo-incomplete.txt is of an earlier restore"]);
}

#[test]
fn a_rotten_pack_is_moved_away_as_verify_says_and_its_content_is_stored_again() {
    let (site, _) = two_checkpoints();
    let pack = site.objects("home", "packs").swap_remove(0);
    flip(&pack);

    let found = site.rpo(["verify", "--read-data"]).ends_with(22);
    found.says(&[
        "next: there is no other copy; move ",
        &format!("{} out of the store", pack.display()),
        "then rpo checkpoint --full",
    ]);
    site.rpo(["checkpoint", "--full"]);
    site.rpo(["restore", "docs", "--into", "restored"]).fails(22, &["late.raw"]);

    fs::rename(&pack, site.path("aside")).unwrap();
    site.rpo(["checkpoint", "--full"]);
    site.restores_docs_exactly();
    site.restores("checkpoint:docs@2", &site.tree("docs"), &[]);
}

#[test]
fn what_hits_many_checkpoints_is_said_in_one_line() {
    let site = Site::protected();
    let pack = site.objects("home", "packs").swap_remove(0);
    for text in ["2", "3", "4", "5"] {
        site.write("docs/letter.txt", text.as_bytes());
        site.ok(["checkpoint"]);
    }
    flip(&pack);

    site.rpo(["verify", "--read-data"]).ends_with(22).says(&["lost: photos/sea.raw of docs@1–docs@5"]);
}

#[test]
fn a_home_that_is_gone_is_a_loss_and_no_place_for_a_new_repository() {
    let site = Site::protected();
    site.ok(["run", "--once"]);
    fs::rename(site.path("home"), site.path("aside")).unwrap();
    for command in [&["checkpoint"][..], &["points", "docs"], &["verify"]] {
        let gone = site.rpo(command).fails(10, &["gone from home", "it was there before", "bring it back"]);
        assert!(!gone.err.contains("make one with init"), "{gone:#?}");
    }

    let site = Site::two_copies();
    site.ok(["checkpoint"]);
    fs::remove_dir_all(site.path("home")).unwrap();
    for command in [&["checkpoint"][..], &["tag", "docs", "now"]] {
        let gone = site.rpo(command).fails(
            10,
            &["copy home is home and is gone", "copy far still holds", "role = \"home\"", "then rpo init"],
        );
        assert!(!gone.err.contains("make one with init"), "{gone:#?}");
    }
    site.restores_docs_exactly();
}

#[test]
fn a_fifo_is_named_with_what_makes_checkpoints_whole_again() {
    let site = Site::protected();
    assert!(std::process::Command::new("mkfifo").arg(site.path("docs/pipe")).status().unwrap().success());

    site.rpo(["checkpoint"])
        .ends_with(3)
        .says(&["not captured: pipe: it is a FIFO (named pipe), which cannot be kept", "exclude = [...]"]);
    site.reconfigure("path = \"docs\"", "path = \"docs\", exclude = [\"pipe\"]");
    site.ok(["checkpoint"]);
}
