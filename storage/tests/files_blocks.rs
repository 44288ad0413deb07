//! Blocks: what is written is read back, in place, and nothing else is believed.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "files/mod.rs"]
mod files;

use bytes::Bytes;
use files::{batch, batches, block, meta};
use proptest::prelude::*;
use spate_storage::{
    block::{Batches, BlockError, BlockView, SealedBlock, block_len, payload_position},
    disk::{Disk as _, PAGE, standard::StandardDisk},
    hash::{ChainHash, Incarnation},
    types::Offset,
};

const INCARNATION: Incarnation = Incarnation(0xABCD);

fn sealed(base: i64, pieces: &[Bytes]) -> SealedBlock {
    let buf = block(
        &StandardDisk::new(),
        &meta(base, ChainHash(9), pieces),
        pieces,
        INCARNATION,
    );
    SealedBlock::verify(Bytes::from_owner(buf), INCARNATION).unwrap()
}

#[test]
fn block_reads_back_whole_and_by_header() {
    let pieces = batches(100, 40, 500);
    let written = meta(100, ChainHash(9), &pieces);
    let buf = block(&StandardDisk::new(), &written, &pieces, INCARNATION);
    assert_eq!(buf.as_ref().len() % PAGE, 0);
    let view = BlockView::parse(buf.as_ref(), INCARNATION).unwrap();
    assert_eq!(view.meta(), written);
    let start = payload_position(written.index.len());
    let header = BlockView::parse_header(&buf.as_ref()[..start], INCARNATION).unwrap();
    assert_eq!(header.meta(), written);
    assert_eq!(
        &buf.as_ref()[start..start + pieces[0].len()],
        &pieces[0][..]
    );
}

#[test]
fn slice_is_whole_batches_inside_the_limits() {
    let pieces = batches(100, 40, 500);
    let whole = sealed(100, &pieces);
    let size = pieces[0].len();
    let bases = |bytes: &Bytes| {
        Batches::from(bytes, 0)
            .map(|b| b.base.0)
            .collect::<Vec<_>>()
    };
    let slice = |from, until, limit, force| {
        bases(
            &whole
                .slice(Offset(from), Offset(until), limit, force)
                .unwrap(),
        )
    };
    assert_eq!(slice(100, 500, 3 * size, false), [100, 110, 120]);
    assert_eq!(
        slice(115, 500, size, false),
        [110],
        "the batch that holds the offset comes whole"
    );
    assert_eq!(slice(100, 500, size - 1, false), [0i64; 0]);
    assert_eq!(
        slice(100, 500, 1, true),
        [100],
        "the first batch comes even if it is too large"
    );
    assert_eq!(
        slice(480, 490, usize::MAX, true),
        [480],
        "nothing at or behind the durable end"
    );
    assert_eq!(slice(300, 500, usize::MAX, true).len(), 20);
    assert_eq!(slice(500, 600, usize::MAX, true), [0i64; 0]);
    let payload = whole.payload();
    let some = whole.slice(Offset(110), Offset(500), size, true).unwrap();
    assert_eq!(
        some.as_ptr(),
        payload[size..].as_ptr(),
        "a slice, not a copy"
    );
}

#[test]
fn timestamps_seek_to_the_first_entry_that_may_hold_them() {
    let pieces = batches(0, 100, 1000);
    let whole = sealed(0, &pieces);
    let view = whole.view().unwrap();
    for timestamp in [0, 1, 455, 990] {
        let from = view.seek_timestamp(timestamp).unwrap();
        let payload = whole.payload();
        let found = Batches::from(&payload, from)
            .find(|b| b.max_timestamp >= timestamp)
            .unwrap();
        assert_eq!(found.base.0, (timestamp + 9) / 10 * 10);
    }
    assert_eq!(view.seek_timestamp(991), None);
}

#[test]
fn chain_links_batches_across_blocks() {
    let pieces = batches(0, 6, 100);
    let whole = meta(0, ChainHash::START, &pieces);
    let first = meta(0, ChainHash::START, &pieces[..2]);
    let second = meta(20, first.chain_after, &pieces[2..]);
    assert_eq!(
        second.chain_after, whole.chain_after,
        "the chain does not see blocks"
    );
    assert!(sealed(0, &pieces).chain_holds().unwrap());
    let mut wrong = meta(0, ChainHash::START, &pieces);
    wrong.chain_after = ChainHash(1);
    let buf = block(&StandardDisk::new(), &wrong, &pieces, INCARNATION);
    let block = SealedBlock::verify(Bytes::from_owner(buf), INCARNATION).unwrap();
    assert!(!block.chain_holds().unwrap());
}

#[test]
fn s7_block_of_an_earlier_use_of_the_file_does_not_verify() {
    let pieces = batches(0, 3, 100);
    let buf = block(
        &StandardDisk::new(),
        &meta(0, ChainHash(0), &pieces),
        &pieces,
        INCARNATION,
    );
    let error = BlockView::parse(buf.as_ref(), Incarnation(1)).unwrap_err();
    assert!(
        matches!(error, BlockError::HeaderChecksum { .. }),
        "{error}"
    );
}

#[test]
fn every_flipped_bit_is_found_or_lies_in_the_padding() {
    let pieces = batches(0, 3, 100);
    let written = meta(0, ChainHash(0), &pieces);
    let mut buf = block(&StandardDisk::new(), &written, &pieces, INCARNATION);
    let payload: usize = pieces.iter().map(Bytes::len).sum();
    let end = payload_position(written.index.len()) + payload;
    for position in 0..buf.as_ref().len() {
        buf.as_mut()[position] ^= 1 << (position % 8);
        let parsed = BlockView::parse(buf.as_ref(), INCARNATION);
        assert_eq!(parsed.is_ok(), position >= end, "byte {position}");
        buf.as_mut()[position] ^= 1 << (position % 8);
    }
}

#[test]
fn random_bytes_never_panic() {
    proptest!(|(bytes in prop::collection::vec(any::<u8>(), 0..300), lie in any::<[u32; 5]>())| {
        let disk = StandardDisk::new();
        let mut page = disk.buffer(PAGE);
        page[..bytes.len()].copy_from_slice(&bytes);
        prop_assert!(BlockView::parse(&page, INCARNATION).is_err());
        page[..8].copy_from_slice(b"SPBK\x01\0\0\0");
        for (slot, value) in page[8..28].chunks_exact_mut(4).zip(lie) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        prop_assert!(BlockView::parse(&page, INCARNATION).is_err());
        let walked: usize = Batches::from(&bytes, 0).map(|b| b.bytes.len()).sum();
        prop_assert!(walked <= bytes.len());
    });
}

#[test]
fn lengths_are_known_before_the_payload() {
    for (entries, payload) in [(1, 61), (1, 4096), (256, 1 << 20), (8192, 32 << 20)] {
        let len = block_len(entries, payload);
        assert_eq!(len % PAGE, 0);
        assert!(len >= payload_position(entries) + payload && len - payload < 256 << 10);
    }
    // The largest batch: one index entry, whatever its length.
    let pieces = [batch(0, 1, 0, &vec![1; 3 << 20])];
    assert_eq!(sealed(0, &pieces).payload(), pieces[0]);
}
