//! The parent checkpoint's entries, read beside the walk.

use rpo_core::ports::{Entry, EntryPath, EntryStream, SourceError};

/// One entry of look-ahead over the parent's stream, which must be sorted and without doubles.
pub(crate) struct Parent {
    stream: Option<Box<dyn EntryStream>>,
    ahead: Option<Entry>,
}

impl Parent {
    pub(crate) fn new(stream: Option<Box<dyn EntryStream>>) -> Result<Self, SourceError> {
        let mut parent = Self { stream, ahead: None };
        parent.advance()?;
        Ok(parent)
    }

    /// The path of the entry ahead.
    pub(crate) fn path(&self) -> Option<&EntryPath> {
        self.ahead.as_ref().map(|entry| &entry.path)
    }

    /// Takes the entry ahead.
    pub(crate) fn take(&mut self) -> Result<Option<Entry>, SourceError> {
        let taken = self.ahead.take();
        if let Some(taken) = &taken {
            self.advance()?;
            if let Some(next) = &self.ahead
                && next.path <= taken.path
            {
                let (after, before) = (&next.path, &taken.path);
                return Err(SourceError::Parent(format!(
                    "`{after}` comes after `{before}`, which is not path order"
                )));
            }
        }
        Ok(taken)
    }

    fn advance(&mut self) -> Result<(), SourceError> {
        if let Some(stream) = &mut self.stream {
            self.ahead = stream.next()?;
            if self.ahead.is_none() {
                self.stream = None;
            }
        }
        Ok(())
    }
}
