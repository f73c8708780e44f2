//! Where the objects of an archive stand: `logs/<stream>/<epoch>/<number>`, and how their names are read back.

use rpo_core::{Epoch, StreamId};
use rpo_storage::Key;

/// Sorts after every name inside an epoch: lists that start after it show the next epoch.
const PAST_EPOCH: &str = "zz";

/// Key of the `number`th object (batch or fence) of an epoch; numbers are dense from 1.
pub fn batch_key(stream: &StreamId, epoch: Epoch, number: u64) -> Key {
    key(format!("{}{number:016x}", epoch_prefix(stream, epoch)))
}

/// Key under which a copy that was fenced while it lagged gets the `number`th object of an epoch.
pub fn healed_key(stream: &StreamId, epoch: Epoch, number: u64) -> Key {
    key(format!("{}healed/{number:016x}", epoch_prefix(stream, epoch)))
}

/// Key of the `number`th merged object of an epoch; numbers are dense from 1, like those of batches.
pub fn merged_key(stream: &StreamId, epoch: Epoch, number: u64) -> Key {
    key(format!("{}merged/{number:016x}", epoch_prefix(stream, epoch)))
}

/// Key under which a copy that was fenced while it lagged gets a merged object that reaches past its fence.
pub fn healed_merged_key(stream: &StreamId, epoch: Epoch, number: u64) -> Key {
    key(format!("{}healed/merged/{number:016x}", epoch_prefix(stream, epoch)))
}

/// Key of the `number`th note that says what retention takes from an epoch; dense from 1, never deleted.
pub fn expired_key(stream: &StreamId, epoch: Epoch, number: u64) -> Key {
    key(format!("{}expired/{number:016x}", epoch_prefix(stream, epoch)))
}

/// What all keys of a stream begin with.
pub fn stream_prefix(stream: &StreamId) -> String {
    format!("logs/{stream}/")
}

/// What all keys of an epoch begin with.
pub fn epoch_prefix(stream: &StreamId, epoch: Epoch) -> String {
    format!("logs/{stream}/{:08x}/", epoch.get())
}

/// A key that sorts after everything in `epoch` and before everything in the next.
pub(crate) fn past_epoch(stream: &StreamId, epoch: Epoch) -> Key {
    key(format!("{}{PAST_EPOCH}", epoch_prefix(stream, epoch)))
}

/// The epoch a key of `stream` belongs to; `None` for foreign names.
pub(crate) fn epoch_of(stream: &StreamId, key: &Key) -> Option<Epoch> {
    let rest = key.as_str().strip_prefix(&stream_prefix(stream))?;
    let (epoch, _) = rest.split_once('/')?;
    Epoch::new(u32::try_from(hex_number(epoch, 8)?).ok()?)
}

/// The number of a batch or fence directly in `epoch`; `None` for any other name.
pub(crate) fn number_of(stream: &StreamId, epoch: Epoch, key: &Key) -> Option<u64> {
    hex_number(key.as_str().strip_prefix(&epoch_prefix(stream, epoch))?, 16)
}

/// Exactly `digits` lower-case hexadecimal digits.
pub(crate) fn hex_number(text: &str, digits: usize) -> Option<u64> {
    let plain = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if plain { u64::from_str_radix(text, 16).ok() } else { None }
}

fn key(text: String) -> Key {
    Key::new(text).expect("stream names and hexadecimal numbers are made of key characters and are short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_the_archive_is_read() {
        let stream = StreamId::new("orders").unwrap();
        let (one, two) = (Epoch::FIRST, Epoch::new(2).unwrap());
        let keys = [
            batch_key(&stream, one, 1),
            batch_key(&stream, one, 0xff),
            healed_key(&stream, one, 2),
            past_epoch(&stream, one),
            batch_key(&stream, two, 1),
        ];
        assert!(keys.is_sorted());
        assert_eq!(keys[1].as_str(), "logs/orders/00000001/00000000000000ff");
        assert_eq!(epoch_of(&stream, &keys[4]), Some(two));
        assert_eq!(number_of(&stream, one, &keys[1]), Some(0xff));
        assert_eq!(number_of(&stream, one, &keys[2]), None);
    }

    #[test]
    fn a_name_of_another_shape_is_no_number() {
        for text in ["", "1", "000000000000000G", "00000000000000FF", "+000000000000001"] {
            assert_eq!(hex_number(text, 16), None, "{text}");
        }
    }
}
