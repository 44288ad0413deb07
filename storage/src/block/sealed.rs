//! A block in memory as readers hold it: read and verified once, then sliced without copying.
//! Slices keep the block's memory alive; nothing here copies a payload.

use bytes::Bytes;

use super::{
    batches::Batches,
    header::{BlockError, BlockView, Prefix},
};
use crate::{
    hash::{ChainHash, Incarnation},
    sabotage::{self, Sabotage},
    types::Offset,
};

/// A whole verified block.
#[derive(Clone, Debug)]
pub struct SealedBlock {
    bytes: Bytes,
    prefix: Prefix,
    base: Offset,
    next: Offset,
}

impl SealedBlock {
    /// Verifies everything but the chain. `bytes` must be aligned to 8, as disk buffers are.
    pub fn verify(bytes: Bytes, incarnation: Incarnation) -> Result<SealedBlock, BlockError> {
        let view = match sabotage::is(Sabotage::BlockChecksumIgnored) {
            true => BlockView::parse_header(&bytes, incarnation)?,
            false => BlockView::parse(&bytes, incarnation)?,
        };
        let (prefix, base, next) = (view.prefix(), view.base(), view.next());
        Ok(SealedBlock {
            bytes,
            prefix,
            base,
            next,
        })
    }

    /// A block whose bytes this process has just encoded: only its lengths are read. Its
    /// payload has just been hashed, and that once more would be felt on the way of every record.
    pub fn just_written(bytes: Bytes, base: Offset, next: Offset) -> Result<Self, BlockError> {
        let prefix = Prefix::parse(&bytes)?;
        Ok(SealedBlock {
            bytes,
            prefix,
            base,
            next,
        })
    }

    /// Base offset of the first batch.
    #[must_use]
    pub fn base(&self) -> Offset {
        self.base
    }

    /// The offset after the last batch.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Bytes of memory it keeps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a block holds at least its header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Its header, in place.
    pub fn view(&self) -> Result<BlockView<'_>, BlockError> {
        BlockView::reread(&self.bytes, self.prefix)
    }

    /// All its batches.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        let start = self.prefix.payload_position;
        self.bytes.slice(start..start + self.prefix.payload_len)
    }

    /// The batches from the one that holds `from` (or the first after it), whole, as many as fit
    /// `bytes_max`, ending at `until`; the first one also if it does not fit when `at_least_one`.
    /// Empty when there is none.
    pub fn slice(
        &self,
        from: Offset,
        until: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<Bytes, BlockError> {
        let payload = self.payload();
        let batches = Batches::from(&payload, self.view()?.seek(from));
        let mut taken: Option<(usize, usize)> = None;
        for batch in batches
            .skip_while(|b| b.last < from)
            .take_while(|b| b.last < until)
        {
            let start = taken.map_or(batch.position, |(start, _)| start);
            let end = batch.position + batch.bytes.len();
            if end - start > bytes_max && !(taken.is_none() && at_least_one) {
                break;
            }
            taken = Some((start, end));
        }
        Ok(taken.map_or_else(Bytes::new, |(start, end)| payload.slice(start..end)))
    }

    /// Whether the batches link from the chain before the block to the one after it.
    pub fn chain_holds(&self) -> Result<bool, BlockError> {
        let (before, after) = self.view()?.chain();
        let payload = self.payload();
        let mut batches = Batches::from(&payload, 0);
        let found = batches
            .by_ref()
            .fold(before, |chain: ChainHash, b| chain.then(b.bytes));
        Ok(found == after && batches.position() == payload.len())
    }
}
