//! Damaged and missing objects: named with the files they cost; what is whole is restored, what is not is refused.

mod site;

use std::fs;

use site::{Site, noise};

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

    site.rpo(["restore", "docs", "--into", "restored"]).fails(22, &["--from COPY"]);
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
