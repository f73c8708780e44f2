#![doc = include_str!("layout.md")]

use rpo_core::{Epoch, SourceId, StreamId};
use rpo_storage::Key;

/// `config/<n>`.
pub fn config(number: u64) -> Key {
    key(format!("config/{number:016x}"))
}

/// `keys/<n>`.
pub fn key_slot(number: u64) -> Key {
    key(format!("keys/{number:016x}"))
}

/// `packs/<2 hex>/<32 hex>`.
pub fn pack(id: &[u8; 16]) -> Key {
    let name = hex::encode(id);
    key(format!("packs/{}/{name}", &name[..2]))
}

/// `indexes/<source>/<session>-<part>`.
pub fn index(source: &SourceId, session: u64, part: u32) -> Key {
    key(format!("indexes/{source}/{session:016x}-{part:08x}"))
}

/// `bills/<n>`.
pub fn bill(number: u64) -> Key {
    key(format!("bills/{number:016x}"))
}

/// `sessions/<source>/<n>`.
pub fn session(source: &SourceId, number: u64) -> Key {
    key(format!("sessions/{source}/{number:016x}"))
}

/// `checkpoints/<source>/<n>`: the commit key of session `n`.
pub fn checkpoint(source: &SourceId, number: u64) -> Key {
    key(format!("checkpoints/{source}/{number:016x}"))
}

/// `logs/<stream>/<epoch>/<n>`.
pub fn log(stream: &StreamId, epoch: Epoch, number: u64) -> Key {
    key(format!("logs/{stream}/{:08x}/{number:016x}", epoch.get()))
}

/// `probe/<32 hex>`.
pub fn probe(id: &[u8; 16]) -> Key {
    key(format!("probe/{}", hex::encode(id)))
}

/// The number at the end of a name: exactly 16 lower-case hexadecimal digits after the last `/`.
pub fn number_of(key: &Key) -> Option<u64> {
    let digits = key.as_str().rsplit('/').next()?;
    let plain =
        digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

fn key(text: String) -> Key {
    Key::new(text).expect("names and hexadecimal digits make a key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_ones_in_the_spec() {
        let (docs, orders) = (SourceId::new("docs").unwrap(), StreamId::new("orders").unwrap());
        let names = [
            (config(1), "config/0000000000000001"),
            (key_slot(255), "keys/00000000000000ff"),
            (pack(&[0xab; 16]), "packs/ab/abababababababababababababababab"),
            (index(&docs, 2, 3), "indexes/docs/0000000000000002-00000003"),
            (bill(4), "bills/0000000000000004"),
            (session(&docs, 5), "sessions/docs/0000000000000005"),
            (checkpoint(&docs, 5), "checkpoints/docs/0000000000000005"),
            (log(&orders, Epoch::FIRST, 6), "logs/orders/00000001/0000000000000006"),
            (probe(&[1; 16]), "probe/01010101010101010101010101010101"),
        ];
        for (key, text) in &names {
            assert_eq!(key.as_str(), *text);
            let family = text.split('/').next().unwrap();
            assert!(include_str!("layout.md").contains(&format!("| `{family}/")), "layout.md lacks {family}");
        }
    }

    #[test]
    fn a_number_is_read_back_from_its_name_and_from_no_other() {
        assert_eq!(number_of(&bill(0xfe)), Some(0xfe));
        for other in ["bills/fe", "bills/00000000000000FE", "bills/00000000000000fe-1"] {
            assert!(Key::new(other).ok().and_then(|key| number_of(&key)).is_none(), "{other}");
        }
    }
}
