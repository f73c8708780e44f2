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

    site.rpo(["verify"]).ends_with(22).says(&["checkpoints/docs/0000000000000002", "manifest of docs@2"]);
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
