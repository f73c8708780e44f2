//! SHA-256 of what was sent, to be compared with what is stored.

use ring::digest::{Context, SHA256};

use crate::{Key, Storage, StorageError};

/// Bytes read at once while a stored object is digested.
const READ_BYTES: u64 = 8 << 20;

/// SHA-256 and length of bytes that go by.
pub(crate) struct Digester {
    context: Context,
    len: u64,
}

/// What identifies bytes for the rule of the lost answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) len: u64,
    pub(crate) sha256: [u8; 32],
}

impl Digester {
    pub(crate) fn new() -> Self {
        Self { context: Context::new(&SHA256), len: 0 }
    }

    pub(crate) fn update(&mut self, part: &[u8]) {
        self.context.update(part);
        self.len += part.len() as u64;
    }

    pub(crate) fn finish(&self) -> Digest {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.context.clone().finish().as_ref());
        Digest { len: self.len, sha256 }
    }
}

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut digester = Digester::new();
        digester.update(bytes);
        digester.finish()
    }

    /// Whether the object at `key` consists of these bytes.
    pub(crate) async fn is_stored(&self, store: &dyn Storage, key: &Key) -> Result<bool, StorageError> {
        let len = store.stat(key).await?.len;
        if len != self.len {
            return Ok(false);
        }
        let mut digester = Digester::new();
        let mut at = 0;
        while at < len {
            let end = len.min(at + READ_BYTES);
            digester.update(&store.read(key, at..end).await?);
            at = end;
        }
        Ok(digester.finish() == *self)
    }
}
