//! Record batches: built here and read by an independent codec, built there and read here, for all
//! codecs; and every way in which a producer's bytes can be unsound.

#![allow(clippy::unwrap_used, reason = "a test may end by panicking")]

use bytes::{Bytes, BytesMut};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE,
    Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use spate_net::kafka::error::ErrorCode;
use spate_net::kafka::record_batch::header::{set_log_append_time, set_max_timestamp, store_crc};
use spate_net::kafka::record_batch::{
    BatchBuilder, BatchError, BatchHeader, Batches, Codec, DecompressionLimits, NewRecord,
    ProducerStamp, Recompress, RecompressError, Record, Records, Rules, Scratch, Target, validate,
};

const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];

#[derive(Clone, PartialEq, Debug, Default)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn rules() -> Rules {
    Rules {
        zstd_allowed: true,
        limits: DecompressionLimits::default(),
    }
}

fn random_bytes(random: &mut StdRng, longest: usize) -> Vec<u8> {
    let length = random.random_range(0..=longest);
    // Half of it repeats, so that the codecs have something to do.
    (0..length)
        .map(|i| if i % 2 == 0 { 7 } else { random.random() })
        .collect()
}

fn random_records(random: &mut StdRng, count: usize, longest: usize) -> Vec<Plain> {
    let maybe = |random: &mut StdRng, longest| {
        random
            .random_bool(0.8)
            .then(|| random_bytes(random, longest))
    };
    let record = |_| Plain {
        timestamp: 1_700_000_000_000 + random.random_range(-5000..5000),
        key: maybe(random, 40),
        value: maybe(random, longest),
        headers: (0..random.random_range(0..3))
            .map(|i| (format!("header-{i}"), maybe(random, 20)))
            .collect(),
    };
    (0..count).map(record).collect()
}

fn build(codec: Codec, records: &[Plain], stamp: Option<ProducerStamp>) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for record in records {
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        builder.append(&NewRecord {
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        });
    }
    builder.finish(stamp).unwrap().unwrap()
}

fn plain(record: &Record<'_>) -> Plain {
    let name = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
    let headers = record.headers.iter();
    Plain {
        timestamp: record.timestamp,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: headers
            .map(|(key, value)| (name(key), value.map(<[u8]>::to_vec)))
            .collect(),
    }
}

fn read(batch: &Bytes) -> Vec<Plain> {
    let limits = DecompressionLimits::default();
    let records = Records::open(batch, &limits, &mut Scratch::new()).unwrap();
    let records: Vec<_> = records
        .iter()
        .map(|record| {
            let record = record.unwrap();
            (record.offset, plain(&record))
        })
        .collect();
    assert!(
        records
            .iter()
            .enumerate()
            .all(|(index, (offset, _))| *offset == index as i64)
    );
    records.into_iter().map(|(_, record)| record).collect()
}

fn their_codec(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}

fn to_theirs(records: &[Plain]) -> Vec<TheirRecord> {
    let one = |(offset, record): (usize, &Plain)| TheirRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset: offset as i64,
        sequence: NO_SEQUENCE + offset as i32,
        timestamp: record.timestamp,
        key: record.key.clone().map(Bytes::from),
        value: record.value.clone().map(Bytes::from),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| (name.clone().into(), value.clone().map(Bytes::from)))
            .collect(),
    };
    records.iter().enumerate().map(one).collect()
}

#[test]
fn what_we_build_an_independent_codec_reads() {
    for codec in CODECS {
        for seed in 0..20 {
            let random = &mut StdRng::seed_from_u64(seed);
            let count = random.random_range(1..40);
            let plain = random_records(random, count, 2000);
            let batch = build(codec, &plain, None);
            let theirs = RecordBatchDecoder::decode(&mut batch.clone())
                .unwrap()
                .records;
            let wanted = to_theirs(&plain);
            assert_eq!(theirs.len(), wanted.len());
            for (their, want) in theirs.iter().zip(&wanted) {
                assert_eq!(
                    (their.offset, their.timestamp),
                    (want.offset, want.timestamp)
                );
                assert_eq!((&their.key, &their.value), (&want.key, &want.value));
                assert_eq!(their.headers, want.headers);
            }
        }
    }
}

#[test]
fn what_an_independent_codec_builds_we_validate_and_read() {
    for codec in CODECS {
        for seed in 0..20 {
            let random = &mut StdRng::seed_from_u64(seed);
            let count = random.random_range(1..40);
            let plain = random_records(random, count, 2000);
            let options = RecordEncodeOptions {
                version: 2,
                compression: their_codec(codec),
            };
            let mut batch = BytesMut::new();
            RecordBatchEncoder::encode(&mut batch, &to_theirs(&plain), &options).unwrap();
            let batch = batch.freeze();
            let validated = validate(&batch, &rules(), &mut Scratch::new()).unwrap();
            assert_eq!(validated.codec, codec);
            assert_eq!(validated.record_count as usize, plain.len());
            assert_eq!(read(&batch), plain, "{codec}");
        }
    }
}

#[test]
fn the_walk_finds_timestamps_and_keyless_records() {
    for codec in CODECS {
        let random = &mut StdRng::seed_from_u64(3);
        let plain = random_records(random, 300, 3000);
        let batch = build(codec, &plain, None);
        let validated = validate(&batch, &rules(), &mut Scratch::new()).unwrap();
        let times = || plain.iter().map(|record| record.timestamp);
        let max = times().max().unwrap();
        assert_eq!(validated.max_timestamp, max);
        assert_eq!(validated.min_timestamp, times().min().unwrap());
        let first = times().position(|time| time == max).unwrap();
        assert_eq!(validated.max_timestamp_index as usize, first);
        let keyless = plain.iter().position(|record| record.key.is_none());
        assert_eq!(validated.first_keyless.map(|index| index as usize), keyless);
        assert!(!validated.max_timestamp_is_wrong);
        let mut lying = BytesMut::from(&batch[..]);
        set_max_timestamp(&mut lying, 5);
        assert!(
            validate(&lying, &rules(), &mut Scratch::new())
                .unwrap()
                .max_timestamp_is_wrong
        );
    }
}

/// Changes some bytes of a sound batch and says what validation makes of it.
fn refused(fix_crc: bool, change: impl FnOnce(&mut BytesMut)) -> BatchError {
    let random = &mut StdRng::seed_from_u64(9);
    let stamp = ProducerStamp {
        producer_id: 77,
        producer_epoch: 1,
        base_sequence: 5,
        is_transactional: false,
    };
    let batch = build(Codec::None, &random_records(random, 10, 100), Some(stamp));
    validate(&batch, &rules(), &mut Scratch::new()).unwrap();
    let mut batch = BytesMut::from(&batch[..]);
    change(&mut batch);
    if fix_crc {
        store_crc(&mut batch);
    }
    validate(&batch, &rules(), &mut Scratch::new()).unwrap_err()
}

#[test]
fn each_fault_has_the_error_that_kafka_gives() {
    let code = |fix, change: fn(&mut BytesMut)| refused(fix, change).code();
    assert_eq!(code(false, |batch| batch.clear()), ErrorCode::InvalidRecord);
    assert_eq!(
        code(false, |batch| batch.truncate(40)),
        ErrorCode::InvalidRecord
    );
    assert_eq!(
        code(false, |batch| batch.truncate(100)),
        ErrorCode::InvalidRecord
    );
    assert_eq!(code(false, |batch| batch[16] = 1), ErrorCode::InvalidRecord);
    assert_eq!(
        code(false, |batch| batch[16] = 9),
        ErrorCode::CorruptMessage
    );
    assert_eq!(
        code(false, |batch| batch[8] = 0xff),
        ErrorCode::CorruptMessage
    );
    assert_eq!(
        code(false, |batch| batch[80] ^= 1),
        ErrorCode::CorruptMessage
    );
    assert_eq!(code(true, |batch| batch[7] = 1), ErrorCode::InvalidRecord);
    assert_eq!(code(true, |batch| batch[60] = 9), ErrorCode::InvalidRecord);
    assert_eq!(
        code(true, |batch| batch[57..61].fill(0)),
        ErrorCode::InvalidRecord
    );
    assert_eq!(
        code(true, |batch| batch[53] = 0xff),
        ErrorCode::InvalidRecord
    );
    assert_eq!(
        code(true, |batch| batch[22] |= 0x20),
        ErrorCode::InvalidRecord
    );
    assert_eq!(
        code(true, |batch| batch[22] |= 0x07),
        ErrorCode::UnsupportedCompressionType
    );
    assert_eq!(
        code(true, |batch| batch[22] |= 0x01),
        ErrorCode::InvalidRecord
    );
    let two = refused(false, |batch| {
        let copy = batch.clone();
        batch.extend_from_slice(&copy);
    });
    assert!(matches!(two, BatchError::SeveralBatches { .. }));
    assert_eq!(two.code(), ErrorCode::InvalidRecord);
}

#[test]
fn a_last_record_too_many_or_too_few_is_refused() {
    let count = |count: u8| {
        refused(true, |batch| {
            batch[60] = count;
            batch[26] = count - 1;
        })
    };
    assert!(matches!(count(9), BatchError::TrailingBytes { .. }));
    assert!(matches!(count(11), BatchError::BadRecord { index: 10, .. }));
}

#[test]
fn zstd_below_version_7_is_refused() {
    let batch = build(
        Codec::Zstd,
        &random_records(&mut StdRng::seed_from_u64(1), 3, 10),
        None,
    );
    let rules = Rules {
        zstd_allowed: false,
        ..rules()
    };
    let error = validate(&batch, &rules, &mut Scratch::new()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedCompressionType);
}

/// Flips any byte behind the header, with the CRC made right: an answer, never a panic, and never
/// the error -1.
#[test]
fn damaged_records_are_refused_or_sound_but_never_panic() {
    let scratch = &mut Scratch::new();
    let limits = DecompressionLimits::default();
    for codec in CODECS {
        let random = &mut StdRng::seed_from_u64(4);
        let batch = build(codec, &random_records(random, 20, 60), None);
        for position in 61..batch.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = BytesMut::from(&batch[..]);
                damaged[position] ^= flip;
                store_crc(&mut damaged);
                if let Err(error) = validate(&damaged, &rules(), scratch) {
                    assert_ne!(error.code(), ErrorCode::UnknownServerError, "{error}");
                }
                if let Ok(records) = Records::open(&damaged.freeze(), &limits, scratch) {
                    records.iter().for_each(drop);
                }
            }
        }
        for length in 0..batch.len() {
            assert!(validate(&batch[..length], &rules(), scratch).is_err());
        }
    }
}

#[test]
fn bombs_are_refused_by_ratio_and_small_ones_pass() {
    let limits = DecompressionLimits {
        output_bytes: 64 << 20,
        ratio: 10,
        ratio_free_bytes: 1 << 20,
    };
    let rules = Rules {
        zstd_allowed: true,
        limits,
    };
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let value = vec![0; 2 << 20];
        let mut builder = BatchBuilder::new(codec);
        builder.append(&NewRecord {
            value: Some(&value),
            ..Default::default()
        });
        let bomb = builder.finish(None).unwrap().unwrap();
        let scratch = &mut Scratch::new();
        let error = validate(&bomb, &rules, scratch).unwrap_err();
        assert_eq!(error.code(), ErrorCode::MessageTooLarge, "{codec}: {error}");
        assert!(Records::open(&bomb, &limits, scratch).is_err());
        let free = DecompressionLimits {
            ratio_free_bytes: 4 << 20,
            ..limits
        };
        validate(
            &bomb,
            &Rules {
                zstd_allowed: true,
                limits: free,
            },
            scratch,
        )
        .unwrap();
    }
}

#[test]
fn bare_snappy_and_glued_streams_are_read() {
    let random = &mut StdRng::seed_from_u64(5);
    let plain = random_records(random, 50, 3000);
    let batch = build(Codec::None, &plain, None);
    let bare = snap::raw::Encoder::new()
        .compress_vec(&batch[61..])
        .unwrap();
    assert_eq!(read(&recompressed(&batch, Codec::Snappy, &bare)), plain);
    let half = batch.len() / 2;
    let mut glued = Vec::new();
    for part in [&batch[61..half], &batch[half..]] {
        let mut member = flate2::read::GzEncoder::new(part, flate2::Compression::fast());
        std::io::Read::read_to_end(&mut member, &mut glued).unwrap();
    }
    assert_eq!(read(&recompressed(&batch, Codec::Gzip, &glued)), plain);
}

fn recompressed(batch: &Bytes, codec: Codec, records: &[u8]) -> Bytes {
    let mut changed = BytesMut::from(&batch[..61]);
    changed.extend_from_slice(records);
    let length = changed.len() as i32 - 12;
    changed[8..12].copy_from_slice(&length.to_be_bytes());
    changed[22] = codec as u8;
    store_crc(&mut changed);
    let changed = changed.freeze();
    validate(&changed, &rules(), &mut Scratch::new()).unwrap();
    changed
}

#[test]
fn log_append_time_rewrites_what_readers_see() {
    let plain = random_records(&mut StdRng::seed_from_u64(6), 5, 30);
    let mut batch = BytesMut::from(&build(Codec::Lz4, &plain, None)[..]);
    set_log_append_time(&mut batch, 42);
    let batch = batch.freeze();
    assert!(BatchHeader::of(&batch).unwrap().is_log_append_time());
    assert!(read(&batch).iter().all(|record| record.timestamp == 42));
}

#[test]
fn a_fetch_may_end_in_the_middle_of_a_batch() {
    let plain = random_records(&mut StdRng::seed_from_u64(7), 5, 30);
    let batch = build(Codec::None, &plain, None);
    let mut fetched = BytesMut::new();
    for _ in 0..3 {
        fetched.extend_from_slice(&batch);
    }
    fetched.truncate(fetched.len() - 1);
    let whole: Vec<_> = Batches::new(fetched.freeze()).map(Result::unwrap).collect();
    assert_eq!(whole, [batch.clone(), batch]);
}

fn in_codec(batch: &Bytes, target: Target, limit_bytes: usize) -> Result<Bytes, RecompressError> {
    let has = BatchHeader::of(batch).unwrap().codec().unwrap();
    let limits = DecompressionLimits::default();
    let mut scratch = Scratch::new();
    let mut work = Recompress::new(batch, has, target, limit_bytes, &limits, &mut scratch)?;
    while !work.step()? {}
    work.finish()
}

#[test]
fn every_codec_is_made_of_every_other() {
    let mut random = StdRng::seed_from_u64(11);
    // More than one step of the work.
    let records = random_records(&mut random, 120, 1_500);
    let stamp = ProducerStamp {
        producer_id: 7,
        producer_epoch: 1,
        base_sequence: 9,
        is_transactional: false,
    };
    for has in CODECS {
        let batch = build(has, &records, Some(stamp));
        for codec in CODECS {
            for level in [None, Some(1), Some(19)] {
                let level = level.filter(|level| codec == Codec::Zstd || *level < 10);
                let made = in_codec(&batch, Target { codec, level }, 64 << 20).unwrap();
                let valid = validate(&made, &rules(), &mut Scratch::new()).unwrap();
                assert_eq!((valid.codec, valid.record_count), (codec, 120));
                assert_eq!(read(&made), records, "{codec} of {has}");
                let header = BatchHeader::of(&made).unwrap();
                assert_eq!((header.producer_id(), header.base_sequence()), (7, 9));
            }
        }
    }
}

#[test]
fn a_batch_too_large_in_another_codec_is_given_up_early() {
    let records = vec![
        Plain {
            value: Some(vec![7; 1 << 20]),
            ..Plain::default()
        };
        8
    ];
    let batch = build(Codec::Zstd, &records, None);
    let target = Target {
        codec: Codec::None,
        level: None,
    };
    let refused = in_codec(&batch, target, 1 << 20);
    assert!(
        matches!(refused, Err(RecompressError::TooLarge { .. })),
        "{refused:?}"
    );
}
