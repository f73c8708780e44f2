use super::*;

/// Two sectors of ones flushed, then two of twos that are not; a promise after each.
fn recording() -> Record {
    let mut record = Record::new(vec![0; FIRST_BLOCK + 4 * SECTOR]);
    record.said("TRY 1 0 0 .");
    record.wrote(FIRST_BLOCK, &[1; 2 * SECTOR]);
    record.flushed();
    record.said("ACK 1 0 0 .");
    record.said("TRY 1 0 1 .");
    record.wrote(FIRST_BLOCK + SECTOR, &[2; 2 * SECTOR]);
    record.said("ACK 1 0 1 .");
    record
}

#[test]
fn what_was_flushed_is_in_every_image_and_what_was_not_comes_whole_torn_or_not_at_all() {
    let record = recording();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..500 {
        let (disk, missing) = record.image(7, &mut Chance::new(seed * 7919));
        let disk = &disk[FIRST_BLOCK..];
        let sectors: Vec<u8> = disk.chunks(SECTOR).map(|s| s[0]).collect();
        assert!(disk.chunks(SECTOR).all(|s| s.iter().all(|b| *b == s[0])), "a sector was torn");
        assert_eq!((sectors[0], sectors[3]), (1, 0));
        assert!(sectors[1] > 0, "a flushed sector is gone");
        assert_eq!(missing, sectors != [1, 2, 2, 0]);
        seen.insert(sectors);
    }
    assert_eq!(seen.len(), 4, "all, nothing, and each half: {seen:?}");
}

#[test]
fn before_the_first_flush_nothing_need_be_there_and_after_the_cut_nothing_is() {
    let record = recording();
    let empty =
        (0..100).filter(|seed| record.image(2, &mut Chance::new(seed * 31)).0.iter().all(|b| *b == 0));
    assert!(empty.count() > 10);
    for seed in 0..100 {
        assert!(record.image(5, &mut Chance::new(seed * 31)).0.iter().all(|b| *b < 2));
    }
}

#[test]
fn promises_after_the_cut_do_not_count() {
    let record = recording();
    assert_eq!([0, 3, 4, 6, 7].map(|cut| record.journal(cut).promises()), [0, 0, 1, 1, 2]);
    assert_eq!(record.counts(), [2, 1]);
}

#[test]
fn the_first_block_is_never_torn() {
    let mut record = Record::new(vec![0; FIRST_BLOCK]);
    record.wrote(0, &[1; FIRST_BLOCK]);
    for seed in 0..100 {
        let (disk, missing) = record.image(1, &mut Chance::new(seed * 31));
        assert!(disk.iter().all(|b| *b == u8::from(!missing)));
    }
}
