//! A block while it grows in memory: a partition's newest batches in chained chunks, with the
//! index and the chain they will be sealed with.
//!
//! Small batches are copied once, into a chunk that only this partition fills; a large one that
//! came in memory of its own stays there. [`Run`] hands parts of it out as `Bytes` that share that
//! memory: a fetch costs no copy, and no `unsafe`.

use super::{BlockMeta, IndexEntry, ProducerFlags, block_len};
use crate::{
    batch::{BatchHeader, record_count},
    hash::ChainHash,
    types::{LeaderEpoch, Offset, TopicPartition},
};
use bytes::{Bytes, BytesMut};

/// The first chunk of a block. Ten thousand partitions that saw one small batch each then cost
/// 40 MiB; 64 KiB each would be 640.
pub const CHUNK_BYTES_FIRST: usize = 4 << 10;
/// Every further chunk.
pub const CHUNK_BYTES: usize = 64 << 10;
/// Batches below are copied even if they may stay where they came: a copy of so little costs less
/// than a piece of its own in every list of pieces from here to the socket.
pub const GIVEN_BYTES_MIN: usize = 16 << 10;
/// One index entry for so much payload.
pub const INDEX_STEP_BYTES: u32 = 4 << 10;

/// A contiguous run of a partition's bytes, in pieces.
#[derive(Debug, Default)]
pub struct Run {
    /// Pieces that readers may share already.
    shared: Vec<Bytes>,
    /// The newest piece, which still grows while it stays in one chunk: small appends then do not
    /// leave one piece each.
    growing: BytesMut,
    len: usize,
}

impl Run {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds bytes that were split off a chunk.
    fn grow(&mut self, bytes: BytesMut) {
        self.len += bytes.len();
        // `unsplit` copies unless the two lie side by side, so it must only see such neighbours.
        let end = self.growing.as_ptr().wrapping_add(self.growing.len());
        if self.growing.is_empty() {
            self.growing = bytes;
        } else if end == bytes.as_ptr() {
            self.growing.unsplit(bytes);
        } else {
            let full = std::mem::replace(&mut self.growing, bytes);
            self.shared.push(full.freeze());
        }
    }

    /// Takes over the bytes of the run that follows this one.
    fn append(&mut self, next: Run) {
        if !next.shared.is_empty() {
            self.share();
            self.len += next.shared.iter().map(Bytes::len).sum::<usize>();
            self.shared.extend(next.shared);
        }
        if !next.growing.is_empty() {
            self.grow(next.growing);
        }
    }

    /// Everything as shared pieces, for readers.
    pub fn share(&mut self) -> &[Bytes] {
        if !self.growing.is_empty() {
            self.shared.push(std::mem::take(&mut self.growing).freeze());
        }
        &self.shared
    }

    /// Everything as plain slices, for a writer that copies.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let growing = Some(&self.growing[..]).filter(|g| !g.is_empty());
        self.shared.iter().map(|b| &b[..]).chain(growing)
    }
}

/// A batch on its way into a block.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// Somebody else's bytes, to be copied.
    Lent(&'a [u8]),
    /// Bytes that may stay where they are, if nobody holds another part of their memory. Empty
    /// once they are stored.
    Given(&'a mut Bytes),
}

impl Incoming<'_> {
    /// The batch.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Incoming::Lent(bytes) => bytes,
            Incoming::Given(bytes) => bytes,
        }
    }

    /// Its stored bytes, still to be stamped, with the memory newly taken for them.
    fn store(self, chunk: &mut Chunk, is_first: bool) -> (BytesMut, usize) {
        let given = match self {
            Incoming::Given(bytes) if bytes.len() >= GIVEN_BYTES_MIN => std::mem::take(bytes),
            lent_or_small => return chunk.push(lent_or_small.bytes(), is_first),
        };
        match given.try_into_mut() {
            Ok(own) => {
                let taken_bytes = own.capacity();
                (own, taken_bytes)
            }
            Err(shared) => chunk.push(&shared, is_first),
        }
    }
}

/// The chunk that a partition is filling.
#[derive(Debug, Default)]
pub struct Chunk(BytesMut);

impl Chunk {
    /// Copies a batch in and returns it with the memory newly taken for it.
    fn push(&mut self, batch: &[u8], is_first: bool) -> (BytesMut, usize) {
        let mut taken_bytes = 0;
        // A batch never straddles chunks, so that it can be stamped and hashed in one piece.
        if self.0.capacity() < batch.len() {
            let usual = if is_first {
                CHUNK_BYTES_FIRST
            } else {
                CHUNK_BYTES
            };
            taken_bytes = usual.max(batch.len());
            self.0 = BytesMut::with_capacity(taken_bytes);
        }
        self.0.extend_from_slice(batch);
        (self.0.split(), taken_bytes)
    }

    /// Leaves the rest of the chunk unused: the block whose memory it counts as goes away.
    pub fn abandon(&mut self) {
        self.0 = BytesMut::new();
    }
}

/// A block in memory.
#[derive(Debug)]
pub struct OpenBlock {
    /// Base offset of its first batch.
    pub base: Offset,
    /// The offset after its last batch.
    pub next: Offset,
    /// Epoch of its last batch.
    pub epoch: LeaderEpoch,
    /// Its largest timestamp.
    pub max_timestamp: i64,
    /// The chain before its first batch.
    pub chain_before: ChainHash,
    /// The chain after its last batch.
    pub chain_after: ChainHash,
    /// Its batches.
    pub run: Run,
    /// Sparse index over them.
    pub index: Vec<IndexEntry>,
    /// Memory counted for it against the shard's budget.
    pub charged_bytes: usize,
}

impl OpenBlock {
    /// An empty block.
    #[must_use]
    pub fn new(base: Offset, chain: ChainHash) -> OpenBlock {
        OpenBlock {
            base,
            next: base,
            epoch: LeaderEpoch(-1),
            max_timestamp: -1,
            chain_before: chain,
            chain_after: chain,
            run: Run::default(),
            index: Vec::new(),
            charged_bytes: 0,
        }
    }

    /// Takes a batch in at the end, lets `stamp` change what is stored, and returns the stored
    /// header and the memory newly taken.
    pub fn push(
        &mut self,
        chunk: &mut Chunk,
        batch: Incoming<'_>,
        stamp: impl FnOnce(&mut [u8]),
    ) -> (BatchHeader, usize) {
        let (mut stored, taken_bytes) = batch.store(chunk, self.run.is_empty());
        stamp(&mut stored);
        let header = BatchHeader::parse(&stored).expect("a batch is validated before it is stored");
        assert_eq!(header.base, self.next, "a block's batches are contiguous");
        self.add(&header, stored);
        self.charged_bytes += taken_bytes;
        (header, taken_bytes)
    }

    /// Copies a stored batch to the end, behind offsets that compaction has removed. The block
    /// covers those too: its base stays where the block before it ended.
    pub fn push_spaced(&mut self, chunk: &mut Chunk, batch: &[u8]) {
        let (stored, _) = chunk.push(batch, self.run.is_empty());
        let mut header = BatchHeader::parse(&stored).expect("a stored batch has a header");
        assert!(header.base >= self.next, "a block's batches are in order");
        if record_count(&stored) == 0 {
            // Its header keeps the time of records that are gone: nobody should look for them.
            header.max_timestamp = -1;
        }
        self.add(&header, stored);
    }

    fn add(&mut self, header: &BatchHeader, stored: BytesMut) {
        self.note(header);
        self.chain_after = self.chain_after.then(&stored);
        self.run.grow(stored);
    }

    fn note(&mut self, header: &BatchHeader) {
        self.next = header.next();
        self.epoch = header.epoch;
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        let mut producers = ProducerFlags::default();
        for (is_set, flag) in [
            (header.is_idempotent(), ProducerFlags::IDEMPOTENT),
            (header.is_transactional(), ProducerFlags::TRANSACTIONAL),
            (header.is_control(), ProducerFlags::CONTROL),
        ] {
            if is_set {
                producers = producers.union(flag);
            }
        }
        self.note_index(IndexEntry {
            offset: header.base,
            max_timestamp: header.max_timestamp,
            position: self.run.len() as u32,
            producers,
        });
    }

    fn note_index(&mut self, entry: IndexEntry) {
        match self.index.last_mut() {
            Some(last) if entry.position - last.position < INDEX_STEP_BYTES => {
                last.max_timestamp = last.max_timestamp.max(entry.max_timestamp);
                last.producers = last.producers.union(entry.producers);
            }
            _ => self.index.push(entry),
        }
    }

    /// Takes over the batches of the block that follows this one.
    pub fn append(&mut self, next: OpenBlock) {
        assert_eq!(next.base, self.next, "blocks are joined in order");
        let shift = self.run.len() as u32;
        for entry in next.index {
            self.note_index(IndexEntry {
                position: entry.position + shift,
                ..entry
            });
        }
        self.next = next.next;
        self.epoch = next.epoch;
        self.max_timestamp = self.max_timestamp.max(next.max_timestamp);
        self.chain_after = next.chain_after;
        self.charged_bytes += next.charged_bytes;
        self.run.append(next.run);
    }

    /// Bytes of batches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.run.len()
    }

    /// Whether it holds no batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.run.is_empty()
    }

    /// Length of the block this becomes on disk.
    #[must_use]
    pub fn sealed_len(&self) -> usize {
        block_len(self.index.len(), self.run.len())
    }

    /// What its header will say.
    #[must_use]
    pub fn meta(&self, tp: TopicPartition) -> BlockMeta {
        BlockMeta {
            tp,
            base: self.base,
            next: self.next,
            epoch: self.epoch,
            max_timestamp: self.max_timestamp,
            chain_before: self.chain_before,
            chain_after: self.chain_after,
            index: self.index.clone(),
        }
    }

    /// Bytes from the index entry at or before `from` to the block's end: at most one index step
    /// more than a read from there would give.
    #[must_use]
    pub fn bytes_from(&self, from: Offset) -> usize {
        self.len() - self.seek(from)
    }

    /// Position of the last indexed batch that begins at or before `offset`.
    #[must_use]
    pub fn seek(&self, offset: Offset) -> usize {
        let after = self.index.partition_point(|entry| entry.offset <= offset);
        self.index[..after]
            .last()
            .map_or(0, |entry| entry.position as usize)
    }

    /// Its pieces from byte `position` on.
    pub fn pieces_from(&mut self, position: usize) -> impl Iterator<Item = Bytes> + '_ {
        let mut skip = position;
        self.run.share().iter().filter_map(move |piece| {
            let cut = skip.min(piece.len());
            skip -= cut;
            (cut < piece.len()).then(|| piece.slice(cut..))
        })
    }
}
