//! Building batches, on a client's side. Records are encoded once, straight into the batch; a
//! builder is used again for the next batch.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};

use super::compression::{Codec, compress};
use super::header::{
    BATCH_HEADER_BYTES, LENGTH_OVERHEAD, NO_PRODUCER_ID, NO_TIMESTAMP, attributes, store_crc,
};

/// A record to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// Its time in milliseconds since 1970.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// What makes a batch idempotent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerStamp {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The sequence number of the batch's first record.
    pub base_sequence: i32,
    /// Whether the batch belongs to a transaction.
    pub is_transactional: bool,
}

/// Collects records into a batch.
#[derive(Debug)]
pub struct BatchBuilder {
    codec: Codec,
    buffer: BytesMut,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
}

impl BatchBuilder {
    /// Builds batches that are compressed by `codec`.
    #[must_use]
    pub fn new(codec: Codec) -> BatchBuilder {
        BatchBuilder {
            codec,
            buffer: BytesMut::new(),
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            count: 0,
        }
    }

    /// How many records there are.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.count
    }

    /// How large the batch is, before compression.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len().max(BATCH_HEADER_BYTES)
    }

    /// Adds a record.
    pub fn append(&mut self, record: &NewRecord<'_>) {
        if self.count == 0 {
            self.buffer.put_bytes(0, BATCH_HEADER_BYTES);
            self.base_timestamp = record.timestamp;
            self.max_timestamp = record.timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let timestamp_delta = record.timestamp.wrapping_sub(self.base_timestamp);
        let length = record_bytes(record, timestamp_delta, self.count);
        let buffer = &mut self.buffer;
        buffer.reserve(length + 5);
        put_varint(buffer, length as i64);
        buffer.put_u8(0);
        put_varint(buffer, timestamp_delta);
        put_varint(buffer, self.count.into());
        put_nullable(buffer, record.key);
        put_nullable(buffer, record.value);
        put_varint(buffer, record.headers.len() as i64);
        for (name, value) in record.headers {
            put_nullable(buffer, Some(name.as_bytes()));
            put_nullable(buffer, *value);
        }
        self.count += 1;
    }

    /// The finished batch; the builder starts anew. `None` if there are no records.
    pub fn finish(&mut self, stamp: Option<ProducerStamp>) -> io::Result<Option<Bytes>> {
        if self.count == 0 {
            return Ok(None);
        }
        let mut batch = self.buffer.split();
        if self.codec != Codec::None {
            let mut compressed = Vec::with_capacity(batch.len() / 2 + BATCH_HEADER_BYTES);
            compressed.resize(BATCH_HEADER_BYTES, 0);
            compress(self.codec, &batch[BATCH_HEADER_BYTES..], &mut compressed)?;
            batch = Bytes::from(compressed).into();
        }
        let length = i32::try_from(batch.len() - LENGTH_OVERHEAD)
            .map_err(|_| io::Error::other("a batch cannot have 2 GiB: finish it earlier"))?;
        let stamp = stamp.unwrap_or(ProducerStamp {
            producer_id: NO_PRODUCER_ID,
            producer_epoch: -1,
            base_sequence: -1,
            is_transactional: false,
        });
        let mut header = &mut batch[..BATCH_HEADER_BYTES];
        header.put_i64(0);
        header.put_i32(length);
        header.put_i32(-1);
        header.put_i8(2);
        header.put_u32(0);
        header.put_i16(attributes(self.codec, stamp.is_transactional));
        header.put_i32(self.count - 1);
        header.put_i64(self.base_timestamp);
        header.put_i64(self.max_timestamp);
        header.put_i64(stamp.producer_id);
        header.put_i16(stamp.producer_epoch);
        header.put_i32(stamp.base_sequence);
        header.put_i32(self.count);
        store_crc(&mut batch);
        self.count = 0;
        Ok(Some(batch.freeze()))
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// A zigzag varint; 32-bit values take the same bytes as in the 32-bit encoding.
pub(super) fn put_varint(buffer: &mut BytesMut, value: i64) {
    let mut value = zigzag(value);
    while value >= 0x80 {
        buffer.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

fn varint_bytes(value: i64) -> usize {
    // Seven bits a byte, and one byte for zero.
    (70 - (zigzag(value) | 1).leading_zeros() as usize) / 7
}

fn put_nullable(buffer: &mut BytesMut, bytes: Option<&[u8]>) {
    put_varint(buffer, bytes.map_or(-1, |bytes| bytes.len() as i64));
    buffer.put_slice(bytes.unwrap_or_default());
}

fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_bytes(bytes.len() as i64) + bytes.len())
}

/// What a record's length field says: everything behind it.
fn record_bytes(record: &NewRecord<'_>, timestamp_delta: i64, offset_delta: i32) -> usize {
    let headers = record
        .headers
        .iter()
        .map(|(name, value)| nullable_bytes(Some(name.as_bytes())) + nullable_bytes(*value));
    1 + varint_bytes(timestamp_delta)
        + varint_bytes(offset_delta.into())
        + nullable_bytes(record.key)
        + nullable_bytes(record.value)
        + varint_bytes(record.headers.len() as i64)
        + headers.sum::<usize>()
}
