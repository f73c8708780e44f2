//! An object on its way in parts. Whatever ends it before it is complete takes the parts away again.

use bytes::Bytes;
use opendal::Writer;

/// Size of a part, bytes: above S3's least (5 MiB), and four of them are in memory at once.
pub(crate) const PART_BYTES: usize = 8 << 20;
/// Parts that are sent at once.
pub(crate) const PARTS_AT_ONCE: usize = 4;
/// Parts of one object that every service takes (S3: 10,000).
pub(crate) const PARTS_MAX: u64 = 10_000;

/// Takes the writer out when it is done or aborted; aborts in the background when it is dropped before.
pub(crate) struct Upload {
    writer: Option<Writer>,
}

impl Upload {
    pub(crate) fn new(writer: Writer) -> Self {
        Self { writer: Some(writer) }
    }

    pub(crate) async fn write(&mut self, part: Bytes) -> Result<(), opendal::Error> {
        match &mut self.writer {
            Some(writer) if !part.is_empty() => writer.write(part).await,
            _ => Ok(()),
        }
    }

    /// Makes the object visible. If that fails the parts are still there until [`Upload::abort`] or drop.
    pub(crate) async fn finish(&mut self) -> Result<(), opendal::Error> {
        if let Some(writer) = &mut self.writer {
            writer.close().await?;
            self.writer = None;
        }
        Ok(())
    }

    /// Takes the parts away. What cannot be taken away now is left to the bucket's rule for unfinished uploads.
    pub(crate) async fn abort(mut self) {
        if let Some(writer) = self.writer.take() {
            abort(writer).await;
        }
    }
}

async fn abort(mut writer: Writer) {
    if let Err(error) = writer.abort().await {
        tracing::debug!(error = %error.message(), "parts of an upload are left to the bucket's lifecycle rule");
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(writer), Ok(runtime)) = (self.writer.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(abort(writer));
        }
    }
}
