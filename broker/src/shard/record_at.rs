//! From the batch that storage found by time to the record in it: storage knows batches, and only
//! here can they be decompressed.

use spate_net::kafka::{
    error::ErrorCode,
    record_batch::{BatchError, DecompressionLimits, Records, Scratch},
};
use spate_storage::{store::TimestampedOffset, types::Offset};

use crate::{
    control::message::Refusal,
    shard::outcome::{Found, FoundOffset},
};

/// The first record of the batch at or after `time` (ms), not before the log's start.
pub fn at_or_after(batch: &TimestampedOffset, time: i64) -> Found {
    first(batch, |timestamp| timestamp >= time)
}

/// The first record of the batch that has its largest timestamp.
pub fn at_maximum(batch: &TimestampedOffset) -> Found {
    first(batch, |timestamp| timestamp == batch.timestamp)
}

fn first(found: &TimestampedOffset, wanted: impl Fn(i64) -> bool) -> Found {
    let limits = DecompressionLimits::default();
    let unreadable = |error: BatchError| {
        let text = format!(
            "the batch at offset {} cannot be read: {error}",
            found.offset
        );
        Refusal::new(ErrorCode::KafkaStorageError, text)
    };
    let records = Records::open(&found.batch, &limits, &mut Scratch::new()).map_err(unreadable)?;
    for record in records.iter() {
        let record = record.map_err(unreadable)?;
        if record.offset >= found.offset.0 && wanted(record.timestamp) {
            return Ok(FoundOffset {
                offset: Offset(record.offset),
                timestamp: record.timestamp,
                epoch: found.epoch,
            });
        }
    }
    Ok(FoundOffset::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spate_net::kafka::record_batch::{BatchBuilder, Codec, NewRecord};
    use spate_storage::types::LeaderEpoch;

    fn batch(codec: Codec) -> TimestampedOffset {
        let mut builder = BatchBuilder::new(codec);
        for timestamp in [100, 300, 200, 300] {
            builder.append(&NewRecord {
                timestamp,
                key: None,
                value: Some(b"v"),
                headers: &[],
            });
        }
        TimestampedOffset {
            offset: Offset(0),
            timestamp: 300,
            epoch: LeaderEpoch(4),
            batch: builder.finish(None).unwrap().unwrap(),
        }
    }

    #[test]
    fn the_record_is_found_and_not_only_its_batch() {
        for codec in [
            Codec::None,
            Codec::Gzip,
            Codec::Snappy,
            Codec::Lz4,
            Codec::Zstd,
        ] {
            let found = at_or_after(&batch(codec), 150).unwrap();
            assert_eq!(
                (found.offset, found.timestamp),
                (Offset(1), 300),
                "{codec:?}"
            );
            assert_eq!(at_maximum(&batch(codec)).unwrap().offset, Offset(1));
        }
    }

    #[test]
    fn records_before_the_logs_start_are_passed_over() {
        let batch = TimestampedOffset {
            offset: Offset(2),
            ..batch(Codec::None)
        };
        assert_eq!(at_or_after(&batch, 0).unwrap().offset, Offset(2));
        assert_eq!(at_maximum(&batch).unwrap().offset, Offset(3));
    }
}
