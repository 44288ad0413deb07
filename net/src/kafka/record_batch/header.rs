//! The 61 bytes in front of a batch's records, read and changed in place.
//!
//! ```text
//!  0 base offset i64   17 CRC-32C u32, from 21 to the end   43 producer id i64
//!  8 length i32        21 attributes i16                    51 producer epoch i16
//! 12 leader epoch i32  23 last offset delta i32             53 base sequence i32
//! 16 magic i8 = 2      27 base timestamp i64                57 record count i32
//!                      35 max timestamp i64                 61 records
//! ```
//! The length counts from 12 on. The CRC covers neither base offset nor leader epoch, so a broker
//! stamps both without computing it anew.

use super::compression::Codec;

/// Bytes in front of the records.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Bytes in front of what the length counts.
pub const LENGTH_OVERHEAD: usize = 12;
/// Where the bytes start that the CRC covers.
const CRC_FROM: usize = 21;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// No producer id: the batch of a producer that is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;
/// No timestamp.
pub const NO_TIMESTAMP: i64 = -1;

/// A batch's header where it lies.
#[derive(Clone, Copy, Debug)]
pub struct BatchHeader<'a>(&'a [u8; BATCH_HEADER_BYTES]);

impl<'a> BatchHeader<'a> {
    /// The header at the front of `batch`, if it is long enough to have one.
    #[must_use]
    pub fn of(batch: &'a [u8]) -> Option<BatchHeader<'a>> {
        batch.first_chunk().map(BatchHeader)
    }

    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0[at..at + N]);
        bytes
    }

    /// The offset of the first record.
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.bytes(0))
    }

    /// What the length field says: the bytes from 12 on.
    #[must_use]
    pub fn length_field(&self) -> i32 {
        i32::from_be_bytes(self.bytes(8))
    }

    /// The bytes of the whole batch, if the length field is possible.
    #[must_use]
    pub fn total_bytes(&self) -> Option<usize> {
        let total = usize::try_from(self.length_field()).ok()? + LENGTH_OVERHEAD;
        (total >= BATCH_HEADER_BYTES).then_some(total)
    }

    /// The epoch of the leader that wrote the batch to its log.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(self.bytes(12))
    }

    /// The format's version: 2.
    #[must_use]
    pub fn magic(&self) -> i8 {
        i8::from_be_bytes(self.bytes(16))
    }

    /// The stored checksum.
    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.bytes(CRC_AT))
    }

    /// Codec and flags.
    #[must_use]
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.bytes(ATTRIBUTES_AT))
    }

    /// The codec, if it is one of Kafka's.
    #[must_use]
    pub fn codec(&self) -> Option<Codec> {
        Codec::from_attributes(self.attributes())
    }

    /// Whether all records have the time at which the broker wrote them.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes() & LOG_APPEND_TIME != 0
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    /// Whether the batch is a marker of the broker's.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    /// The last record's offset, counted from the base offset.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.bytes(23))
    }

    /// The offset of the last record; compaction may have removed it.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset()
            .wrapping_add(self.last_offset_delta().into())
    }

    /// The timestamp that the records' deltas count from.
    #[must_use]
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.bytes(27))
    }

    /// The largest timestamp, or so the producer says.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.bytes(MAX_TIMESTAMP_AT))
    }

    /// The idempotent producer, or [`NO_PRODUCER_ID`].
    #[must_use]
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.bytes(43))
    }

    /// Whether the producer is idempotent.
    #[must_use]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id() > NO_PRODUCER_ID
    }

    /// That producer's epoch.
    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.bytes(51))
    }

    /// That producer's sequence number of the first record.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.bytes(53))
    }

    /// How many records there are.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(self.bytes(57))
    }
}

/// The CRC-32C of a batch as it is, whatever its header says.
///
/// # Panics
/// When `batch` is shorter than a header.
#[must_use]
pub fn compute_crc(batch: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(&batch[CRC_FROM..])
}

/// Gives the batch its place in a log; the CRC does not cover it.
///
/// # Panics
/// When `batch` is shorter than a header, as all functions below.
pub fn set_base_offset(batch: &mut [u8], base_offset: i64) {
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
}

/// Notes the leader's epoch; the CRC does not cover it.
pub fn set_leader_epoch(batch: &mut [u8], leader_epoch: i32) {
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Corrects the largest timestamp, and the CRC with it.
pub fn set_max_timestamp(batch: &mut [u8], max_timestamp: i64) {
    batch[MAX_TIMESTAMP_AT..][..8].copy_from_slice(&max_timestamp.to_be_bytes());
    store_crc(batch);
}

/// Gives all records the time of the append, and corrects the CRC.
pub fn set_log_append_time(batch: &mut [u8], append_time: i64) {
    let attributes = &mut batch[ATTRIBUTES_AT..][..2];
    let flags = i16::from_be_bytes([attributes[0], attributes[1]]) | LOG_APPEND_TIME;
    attributes.copy_from_slice(&flags.to_be_bytes());
    set_max_timestamp(batch, append_time);
}

/// Names another codec; the CRC is to be stored anew.
pub(super) fn set_codec(batch: &mut [u8], codec: Codec) {
    let attributes = &mut batch[ATTRIBUTES_AT..][..2];
    let flags = i16::from_be_bytes([attributes[0], attributes[1]]) & !Codec::MASK | codec as i16;
    attributes.copy_from_slice(&flags.to_be_bytes());
}

/// Changes what the length field says: the bytes from 12 on.
pub(super) fn set_length(batch: &mut [u8], length: i32) {
    batch[8..12].copy_from_slice(&length.to_be_bytes());
}

/// Writes the CRC of the batch as it is.
pub fn store_crc(batch: &mut [u8]) {
    let crc = compute_crc(batch);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// The attributes of a new batch.
pub(super) fn attributes(codec: Codec, is_transactional: bool) -> i16 {
    codec as i16 | if is_transactional { TRANSACTIONAL } else { 0 }
}
