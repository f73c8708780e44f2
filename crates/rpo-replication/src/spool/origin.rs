//! Where the numbering of a spool begins, and what came before it.

use rpo_core::{Epoch, ErrorKind, Position, StreamId, Timestamp};
use serde::{Deserialize, Serialize};

use super::Tip;
use crate::ReplicationError;
use crate::batch::Digest;

const VERSION: u16 = 0;

/// Where the numbering of a spool begins: nothing at all, or an object that the copies already hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Whose history.
    pub stream: StreamId,
    /// Which generation.
    pub epoch: Epoch,
    /// The object before the first batch made here.
    pub tip: Tip,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u16,
    stream: StreamId,
    epoch: Epoch,
    number: u64,
    digest: [u8; 32],
    position: Position,
    chain: u32,
    time_micros: i64,
    newest_gap: u64,
}

impl Origin {
    /// The beginning of `stream` in `epoch`, before any object.
    pub fn fresh(stream: StreamId, position: Position) -> Self {
        let tip = Tip {
            number: 0,
            digest: Digest::NONE,
            position,
            chain: 0,
            time: Timestamp::from_micros(i64::MIN),
            newest_gap: 0,
        };
        Self { stream, epoch: position.epoch, tip }
    }

    /// The value, then its SHA-256.
    pub(super) fn encode(&self) -> Result<Vec<u8>, ReplicationError> {
        let Tip { number, digest, position, chain, time, newest_gap } = self.tip;
        let stored = Stored {
            version: VERSION,
            stream: self.stream.clone(),
            epoch: self.epoch,
            number,
            digest: digest.0,
            position,
            chain,
            time_micros: time.as_micros(),
            newest_gap,
        };
        let mut bytes = rpo_core::codec::encode(&stored).map_err(|error| ReplicationError::Log {
            stream: self.stream.clone(),
            why: error.to_string(),
            kind: ErrorKind::Invalid,
        })?;
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(&digest.0);
        Ok(bytes)
    }

    /// What [`encode`](Self::encode) wrote, or what is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (value, sum) = bytes.split_last_chunk::<32>().ok_or("it is too short")?;
        if Digest::of(value).0 != *sum {
            return Err("its SHA-256 does not match".to_owned());
        }
        let stored: Stored = rpo_core::codec::decode(value).map_err(|error| error.to_string())?;
        if stored.version != VERSION {
            return Err(format!("it has version {}, this program knows {VERSION}", stored.version));
        }
        let tip = Tip {
            number: stored.number,
            digest: Digest(stored.digest),
            position: stored.position,
            chain: stored.chain,
            time: Timestamp::from_micros(stored.time_micros),
            newest_gap: stored.newest_gap,
        };
        Ok(Self { stream: stored.stream, epoch: stored.epoch, tip })
    }
}
