use super::*;

fn control() -> Control {
    Control {
        counter: 5,
        log: LogId::from_bytes([0xb2; 16]),
        start: Position { epoch: Epoch::FIRST, lsn: Lsn::new(100), sequence: Some(Sequence::new(3)) },
        parent: None,
        durable: Lsn::new(900),
        closed: false,
    }
}

#[test]
fn layout_is_the_one_in_the_spec() {
    let spec = include_str!("../control.md");
    let fields = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("flags", FLAGS),
        ("crc", CRC),
        ("counter", COUNTER),
        ("log_id", LOG_ID),
        ("start_lsn", START_LSN),
        ("start_seq", START_SEQ),
        ("start_epoch", START_EPOCH),
        ("parent_epoch", PARENT_EPOCH),
        ("durable_lsn", DURABLE_LSN),
    ];
    let mut next = 0;
    for (field, at) in fields {
        let row = format!("| {} | {} | `{field}` |", at.start, at.len());
        assert!(spec.contains(&row), "control.md lacks: {row}");
        assert_eq!(at.start, next, "{field} follows the field before it");
        next = at.end;
    }
}

#[test]
fn golden_bytes_of_version_0_are_still_read_and_written() {
    let block = control().encode();
    let hex: String = block[..DURABLE_LSN.end].iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, GOLDEN);
    assert_eq!(Control::decode(&block), Ok(control()));
}

#[test]
fn a_closed_log_is_one_bit_and_the_next_write_takes_it_back() {
    let closed = Control { closed: true, ..control() };
    let block = closed.encode();
    assert_eq!(block[FLAGS], [1, 0]);
    assert_eq!(Control::decode(&block), Ok(closed));

    let scratch = tempfile::tempdir().unwrap();
    let first = Control { counter: 1, ..control() };
    let mut file = ControlFile::create(&rpo_os::OsDisk::new(), scratch.path(), first, || Ok(())).unwrap();
    file.update(|c| c.closed = true).unwrap();
    assert!(file.last().closed);
    file.update(|_| ()).unwrap();
    assert!(!file.last().closed);
}

const GOLDEN: &str = "\
    52504f4354524c0a00000000c9b064470500000000000000b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b26400000000000000\
    030000000000000001000000000000008403000000000000";

#[test]
fn every_single_byte_flip_is_refused() {
    for at in 0..BLOCK_BYTES {
        let mut block = control().encode();
        block[at] ^= 0x40;
        assert!(Control::decode(&block).is_err(), "byte {at}");
    }
}

#[test]
fn a_torn_write_leaves_the_other_slot() {
    let scratch = tempfile::tempdir().unwrap();
    let disk = rpo_os::OsDisk::new();
    let first = Control { counter: 1, durable: Lsn::new(100), ..control() };
    let mut file = ControlFile::create(&disk, scratch.path(), first, || Ok(())).unwrap();
    for durable in [200, 300, 400] {
        file.update(|c| c.durable = Lsn::new(durable)).unwrap();
        // The write that would come next is cut short.
        let next = (file.last().counter + 2) % SLOTS * BLOCK_BYTES as u64;
        file.file.write_at(&[0xee; 512], next).unwrap();

        let ControlFound::Valid(found, damaged) = read(&disk, scratch.path()).unwrap() else {
            panic!("{durable}")
        };
        assert_eq!((found.durable, damaged), (Lsn::new(durable), true));
    }
}
