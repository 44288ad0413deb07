//! A batch's records one by one, for whoever consumes them. Keys and values are borrowed from the
//! batch, or from its decompressed copy.

use bytes::Bytes;

use super::compression::{DecompressionLimits, Scratch};
use super::cursor::{Cursor, RecordFault, Source};
use super::header::{BATCH_HEADER_BYTES, BatchHeader, compute_crc};
use super::validate::BatchError;

/// One batch, ready to be read.
#[derive(Clone, Debug)]
pub struct Records {
    records: Bytes,
    base_offset: i64,
    base_timestamp: i64,
    append_time: Option<i64>,
    count: i32,
    last_offset: i64,
    is_control: bool,
}

/// One record.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Its place in the partition.
    pub offset: i64,
    /// Its time in milliseconds since 1970, the producer's or the broker's.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Its headers: name and value. Names should be UTF-8.
    pub headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

impl Records {
    /// Opens one whole batch: checks its CRC and decompresses it.
    pub fn open(
        batch: &Bytes,
        limits: &DecompressionLimits,
        scratch: &mut Scratch,
    ) -> Result<Records, BatchError> {
        let found = batch.len();
        let Some(header) = BatchHeader::of(batch) else {
            return Err(BatchError::Truncated {
                needed: BATCH_HEADER_BYTES,
                found,
            });
        };
        if header.magic() != 2 {
            return Err(BatchError::OldMagic {
                magic: header.magic(),
            });
        }
        let (stored, computed) = (header.crc(), compute_crc(batch));
        if stored != computed {
            return Err(BatchError::BadCrc { stored, computed });
        }
        let number = header.attributes() & super::Codec::MASK;
        let codec = header.codec().ok_or(BatchError::UnknownCodec { number })?;
        let mut records = batch.slice(BATCH_HEADER_BYTES..);
        if codec != super::Codec::None {
            let opened = scratch.decompress(codec, &records, limits);
            let wrap = |error| BatchError::BadRecord {
                index: 0,
                fault: error,
            };
            records = opened.map_err(|error| wrap(RecordFault::from(error)))?;
        }
        Ok(Records {
            records,
            base_offset: header.base_offset(),
            base_timestamp: header.base_timestamp(),
            append_time: header.is_log_append_time().then(|| header.max_timestamp()),
            count: header.record_count(),
            last_offset: header.last_offset(),
            is_control: header.is_control(),
        })
    }

    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> i32 {
        self.count
    }

    /// The records' bytes, decompressed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.records
    }

    /// The offset of the batch's last record, even if compaction removed it: read on behind it.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.last_offset
    }

    /// Whether these are the broker's markers, not for applications.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.is_control
    }

    /// The records in order. After an error nothing more comes.
    pub fn iter(&self) -> impl Iterator<Item = Result<Record<'_>, BatchError>> {
        let mut cursor = Cursor::new(&self.records);
        let mut failed = false;
        (0..self.count).map_while(move |index| {
            if failed {
                return None;
            }
            let record = self.next(&mut cursor);
            failed = record.is_err();
            Some(record.map_err(|fault| BatchError::BadRecord { index, fault }))
        })
    }

    fn next<'a>(&'a self, cursor: &mut Cursor<'a>) -> Result<Record<'a>, RecordFault> {
        let length = cursor.length("record")?;
        let mut record = Cursor::new(cursor.take(length)?);
        record.byte()?; // Attributes: none are defined.
        let timestamp_delta = record.varlong()?;
        let offset_delta = record.varint()?;
        let key = record.nullable_bytes()?;
        let value = record.nullable_bytes()?;
        let header_count = record.length("header count")?;
        // Each header takes two bytes at least, so no more of them can follow.
        let mut headers = Vec::with_capacity(header_count.min(length / 2));
        for _ in 0..header_count {
            let name_bytes = record.length("header key")?;
            let name = record.take(name_bytes)?;
            headers.push((name, record.nullable_bytes()?));
        }
        let timestamp = self.base_timestamp.wrapping_add(timestamp_delta);
        Ok(Record {
            offset: self.base_offset.wrapping_add(offset_delta.into()),
            timestamp: self.append_time.unwrap_or(timestamp),
            key,
            value,
            headers,
        })
    }
}

/// The whole batches in a fetch's records. A batch that is cut off at the end is left out, as a
/// broker may send it.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// Starts at the front of `records`.
    #[must_use]
    pub fn new(records: Bytes) -> Batches {
        Batches { rest: records }
    }
}

impl Iterator for Batches {
    type Item = Result<Bytes, BatchError>;

    fn next(&mut self) -> Option<Result<Bytes, BatchError>> {
        let header = BatchHeader::of(&self.rest)?;
        let length = header.length_field();
        match header.total_bytes() {
            None => {
                self.rest.clear();
                Some(Err(BatchError::BadLength { length }))
            }
            Some(total) if total > self.rest.len() => None,
            Some(total) => Some(Ok(self.rest.split_to(total))),
        }
    }
}
