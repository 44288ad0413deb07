//! Whether a producer's bytes are one sound batch. What Kafka's `ProduceRequest`, `LogValidator`
//! and `DefaultRecord` check, in that order, and with the error codes that clients see from them.

use super::compression::{Codec, DecompressError, DecompressionLimits, Scratch};
use super::cursor::{Cursor, RecordFault, Source};
use super::header::{BATCH_HEADER_BYTES, BatchHeader, compute_crc};
use crate::kafka::error::ErrorCode;

/// What a batch may be, beyond being sound.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether zstd may be used: the request's version is at least 7.
    pub zstd_allowed: bool,
    /// How far compressed batches may grow.
    pub limits: DecompressionLimits,
}

/// What the walk over a sound batch found out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validated {
    /// How many records there are: at least one.
    pub record_count: i32,
    /// The codec.
    pub codec: Codec,
    /// The smallest timestamp of a record.
    pub min_timestamp: i64,
    /// The largest timestamp of a record, whatever the header says.
    pub max_timestamp: i64,
    /// The first record with that timestamp, counted from 0.
    pub max_timestamp_index: i32,
    /// The first record without a key, which a compacted topic refuses.
    pub first_keyless: Option<i32>,
    /// Whether the header says another largest timestamp, so that it has to be corrected.
    pub max_timestamp_is_wrong: bool,
    /// Whether the header says that the broker gave the time, which no client may.
    pub claims_append_time: bool,
}

/// Why a producer's bytes are refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchError {
    /// No batch at all.
    #[error("there is no record batch: a partition's records have to be exactly one")]
    Missing,
    /// Fewer bytes than the batch says, or than a header has.
    #[error("the record batch needs {needed} bytes, {found} came")]
    Truncated {
        /// What its length says.
        needed: usize,
        /// What came.
        found: usize,
    },
    /// Something after the batch.
    #[error("{extra} bytes follow the record batch: a partition's records have to be exactly one")]
    SeveralBatches {
        /// How many bytes.
        extra: usize,
    },
    /// A length field that no batch can have.
    #[error("the record batch has the impossible length {length}")]
    BadLength {
        /// The value.
        length: i32,
    },
    /// A format that is too old.
    #[error("the record batch has magic {magic}: produce with magic 2, as since Kafka 0.11")]
    OldMagic {
        /// The value.
        magic: i8,
    },
    /// A format that does not exist.
    #[error("the record batch has the unknown magic {magic}")]
    UnknownMagic {
        /// The value.
        magic: i8,
    },
    /// zstd in a version without it.
    #[error("zstd needs Produce version 7 or above")]
    ZstdTooEarly,
    /// A codec that does not exist.
    #[error("codec {number} is not one of Kafka's")]
    UnknownCodec {
        /// The value.
        number: i16,
    },
    /// Bytes that changed on the way.
    #[error("the record batch's CRC-32C is {stored:#010x}, its bytes give {computed:#010x}")]
    BadCrc {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// A base offset from a client.
    #[error("the record batch has base offset {base_offset}: producers send 0")]
    BaseOffset {
        /// The value.
        base_offset: i64,
    },
    /// A batch without records.
    #[error("the record batch says that it has {count} records")]
    NoRecords {
        /// The value.
        count: i32,
    },
    /// Count and last offset delta do not agree.
    #[error("the record batch has {count} records, but last offset delta {last_offset_delta}")]
    CountMismatch {
        /// The count.
        count: i32,
        /// The last record's offset delta.
        last_offset_delta: i32,
    },
    /// A marker from a client.
    #[error("clients may not write control batches")]
    ControlBatch,
    /// A producer id without a sequence.
    #[error("producer {producer_id} sent the negative sequence {sequence}")]
    NegativeSequence {
        /// The producer.
        producer_id: i64,
        /// The value.
        sequence: i32,
    },
    /// A record that cannot be read.
    #[error("record {index} is broken: {fault}")]
    BadRecord {
        /// Its place in the batch.
        index: i32,
        /// What is wrong.
        fault: RecordFault,
    },
    /// A record with another offset than its place.
    #[error("record {index} has offset delta {offset_delta}")]
    OffsetDelta {
        /// Its place in the batch.
        index: i32,
        /// The value.
        offset_delta: i32,
    },
    /// Bytes after the last record.
    #[error("bytes follow the last of {count} records")]
    TrailingBytes {
        /// How many records there are.
        count: i32,
    },
}

impl BatchError {
    /// The error that Kafka's clients know for it. Never -1, on which an idempotent producer would
    /// write twice.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            BatchError::BadLength { .. }
            | BatchError::UnknownMagic { .. }
            | BatchError::BadCrc { .. } => ErrorCode::CorruptMessage,
            BatchError::ZstdTooEarly | BatchError::UnknownCodec { .. } => {
                ErrorCode::UnsupportedCompressionType
            }
            // Java splits a batch that is too large and sends its halves: the right thing for one
            // that grows too large when decompressed.
            BatchError::BadRecord {
                fault: RecordFault::Decompress(DecompressError::TooLarge { .. }),
                ..
            } => ErrorCode::MessageTooLarge,
            _ => ErrorCode::InvalidRecord,
        }
    }

    /// The record at fault, for the response's record errors.
    #[must_use]
    pub fn record_index(&self) -> Option<i32> {
        match self {
            BatchError::BadRecord { index, .. } | BatchError::OffsetDelta { index, .. } => {
                Some(*index)
            }
            _ => None,
        }
    }
}

/// Checks that `bytes` are exactly one batch that a client may write.
pub fn validate(
    bytes: &[u8],
    rules: &Rules,
    scratch: &mut Scratch,
) -> Result<Validated, BatchError> {
    let header = check_frame(bytes)?;
    let codec = check_header(bytes, &header, rules)?;
    let records = &bytes[BATCH_HEADER_BYTES..];
    let count = header.record_count();
    let walked = match codec {
        Codec::None => walk(&mut Cursor::new(records), count)?,
        codec => {
            let opened = scratch.open(codec, records, &rules.limits);
            let mut stream = opened.map_err(|error| bad_record(0, error.into()))?;
            walk(&mut stream, count)?
        }
    };
    let base = header.base_timestamp();
    let max_timestamp = base.wrapping_add(walked.max_delta);
    Ok(Validated {
        record_count: count,
        codec,
        min_timestamp: base.wrapping_add(walked.min_delta),
        max_timestamp,
        max_timestamp_index: walked.max_index,
        first_keyless: walked.first_keyless,
        max_timestamp_is_wrong: max_timestamp != header.max_timestamp(),
        claims_append_time: header.is_log_append_time(),
    })
}

/// What Kafka finds in the request already, before it looks at `acks` or at the log: [`validate`]
/// finds it too.
pub fn check_shape(bytes: &[u8], rules: &Rules) -> Result<(), BatchError> {
    let header = check_frame(bytes)?;
    check_zstd(header.codec(), rules)
}

fn check_zstd(codec: Option<Codec>, rules: &Rules) -> Result<(), BatchError> {
    match codec {
        Some(Codec::Zstd) if !rules.zstd_allowed => Err(BatchError::ZstdTooEarly),
        _ => Ok(()),
    }
}

/// One batch of format 2 and nothing else.
fn check_frame(bytes: &[u8]) -> Result<BatchHeader<'_>, BatchError> {
    if bytes.is_empty() {
        return Err(BatchError::Missing);
    }
    let found = bytes.len();
    // The magic lies at the same place in all formats, and old ones are shorter than our header.
    match bytes.get(16).map(|byte| *byte as i8) {
        None | Some(2) => {}
        Some(magic @ 0..=1) => return Err(BatchError::OldMagic { magic }),
        Some(magic) => return Err(BatchError::UnknownMagic { magic }),
    }
    let Some(header) = BatchHeader::of(bytes) else {
        return Err(BatchError::Truncated {
            needed: BATCH_HEADER_BYTES,
            found,
        });
    };
    let length = header.length_field();
    let needed = header
        .total_bytes()
        .ok_or(BatchError::BadLength { length })?;
    if found < needed {
        return Err(BatchError::Truncated { needed, found });
    }
    if found > needed {
        return Err(BatchError::SeveralBatches {
            extra: found - needed,
        });
    }
    Ok(header)
}

fn check_header(
    bytes: &[u8],
    header: &BatchHeader<'_>,
    rules: &Rules,
) -> Result<Codec, BatchError> {
    let number = header.attributes() & Codec::MASK;
    check_zstd(header.codec(), rules)?;
    let codec = header.codec().ok_or(BatchError::UnknownCodec { number })?;
    let (stored, computed) = (header.crc(), compute_crc(bytes));
    if stored != computed {
        return Err(BatchError::BadCrc { stored, computed });
    }
    let base_offset = header.base_offset();
    if base_offset != 0 {
        return Err(BatchError::BaseOffset { base_offset });
    }
    let (count, last_offset_delta) = (header.record_count(), header.last_offset_delta());
    if count <= 0 {
        return Err(BatchError::NoRecords { count });
    }
    if last_offset_delta != count - 1 {
        return Err(BatchError::CountMismatch {
            count,
            last_offset_delta,
        });
    }
    if header.is_control() {
        return Err(BatchError::ControlBatch);
    }
    let sequence = header.base_sequence();
    if header.has_producer_id() && sequence < 0 {
        let producer_id = header.producer_id();
        return Err(BatchError::NegativeSequence {
            producer_id,
            sequence,
        });
    }
    Ok(codec)
}

/// A record of a batch that a topic may refuse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suspect {
    /// Its place in the batch.
    pub index: i32,
    /// Its time.
    pub timestamp: i64,
    /// Whether it has a key.
    pub has_key: bool,
}

/// Shows every record of a batch that was found sound, for whoever has to name those at fault.
/// Nothing comes of a batch that is not.
pub fn inspect(bytes: &[u8], rules: &Rules, scratch: &mut Scratch, mut show: impl FnMut(Suspect)) {
    let Some((header, codec)) = BatchHeader::of(bytes).and_then(|it| Some((it, it.codec()?)))
    else {
        return;
    };
    let records = &bytes[BATCH_HEADER_BYTES..];
    let show = &mut |index, record: &Skimmed| {
        let timestamp = header.base_timestamp().wrapping_add(record.timestamp_delta);
        show(Suspect {
            index,
            timestamp,
            has_key: record.has_key,
        });
    };
    let count = header.record_count();
    match codec {
        Codec::None => show_each(&mut Cursor::new(records), count, show),
        codec => {
            if let Ok(mut stream) = scratch.open(codec, records, &rules.limits) {
                show_each(&mut stream, count, show);
            }
        }
    }
}

fn show_each(source: &mut impl Source, count: i32, show: &mut impl FnMut(i32, &Skimmed)) {
    for index in 0..count {
        match skim(source) {
            Ok(record) => show(index, &record),
            Err(_) => return,
        }
    }
}

/// What the walk over the records sums up.
#[derive(Debug)]
struct Walked {
    min_delta: i64,
    max_delta: i64,
    max_index: i32,
    first_keyless: Option<i32>,
}

fn bad_record(index: i32, fault: RecordFault) -> BatchError {
    BatchError::BadRecord { index, fault }
}

/// Exactly `count` records, their offsets rising by one, their lengths right, nothing after them.
fn walk(source: &mut impl Source, count: i32) -> Result<Walked, BatchError> {
    let mut walked = Walked {
        min_delta: i64::MAX,
        max_delta: i64::MIN,
        max_index: 0,
        first_keyless: None,
    };
    for index in 0..count {
        let record = skim(source).map_err(|fault| bad_record(index, fault))?;
        if record.offset_delta != index {
            let offset_delta = record.offset_delta;
            return Err(BatchError::OffsetDelta {
                index,
                offset_delta,
            });
        }
        walked.min_delta = walked.min_delta.min(record.timestamp_delta);
        if record.timestamp_delta > walked.max_delta {
            (walked.max_delta, walked.max_index) = (record.timestamp_delta, index);
        }
        if !record.has_key && walked.first_keyless.is_none() {
            walked.first_keyless = Some(index);
        }
    }
    match source.is_at_end() {
        Ok(true) => Ok(walked),
        Ok(false) => Err(BatchError::TrailingBytes { count }),
        Err(fault) => Err(bad_record(count - 1, fault)),
    }
}

#[derive(Debug)]
struct Skimmed {
    timestamp_delta: i64,
    offset_delta: i32,
    has_key: bool,
}

/// Passes over one record. Each step is bounded by the bytes that are left, so a lying header
/// count ends with the bytes, not with the count.
fn skim(source: &mut impl Source) -> Result<Skimmed, RecordFault> {
    let claimed = source.length("record")?;
    let start = source.position();
    source.byte()?; // Attributes: none are defined.
    let timestamp_delta = source.varlong()?;
    let offset_delta = source.varint()?;
    let key = source.nullable_length()?;
    source.skip(key.unwrap_or(0))?;
    let value = source.nullable_length()?;
    source.skip(value.unwrap_or(0))?;
    for _ in 0..source.length("header count")? {
        let name = source.length("header key")?;
        source.skip(name)?;
        let value = source.nullable_length()?;
        source.skip(value.unwrap_or(0))?;
    }
    let actual = source.position() - start;
    if actual != claimed {
        return Err(RecordFault::LengthMismatch {
            claimed: claimed as i64,
            actual,
        });
    }
    Ok(Skimmed {
        timestamp_delta,
        offset_delta,
        has_key: key.is_some(),
    })
}
