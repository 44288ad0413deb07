//! Produce and Fetch, parsed and encoded by hand, against two codecs made from Kafka's schemas:
//! what one writes the others read, in every version, and no truncated message is more than an
//! error.

#![allow(clippy::unwrap_used, reason = "a test may end by panicking")]

use bytes::{Bytes, BytesMut};
use kacrab_protocol::generated as schema;
use kafka_protocol::messages as their;
use kafka_protocol::protocol::{Decodable, Encodable};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use spate_net::kafka::api::{LeaderIdAndEpoch, Message, NodeEndpoint, TopicRef, fetch, produce};
use spate_net::kafka::error::ErrorCode;
use spate_net::kafka::{KafkaString, KafkaUuid};

const ROUNDS: u64 = 40;

fn string(random: &mut StdRng) -> KafkaString {
    let length = random.random_range(0..300);
    (0..length)
        .map(|_| random.random_range('a'..='z'))
        .collect::<String>()
        .into()
}

fn maybe<T>(random: &mut StdRng, make: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    random.random_bool(0.5).then(|| make(random))
}

fn several<T>(random: &mut StdRng, mut make: impl FnMut(&mut StdRng) -> T) -> Vec<T> {
    (0..random.random_range(0..4))
        .map(|_| make(random))
        .collect()
}

fn topic(random: &mut StdRng, by_id: bool) -> TopicRef {
    if by_id {
        TopicRef::Id(KafkaUuid::from_parts(random.random(), random.random()))
    } else {
        TopicRef::Name(string(random))
    }
}

fn records(random: &mut StdRng) -> Bytes {
    let length = random.random_range(0..3000);
    (0..length)
        .map(|_| random.random::<u8>())
        .collect::<Vec<_>>()
        .into()
}

fn leader(random: &mut StdRng) -> LeaderIdAndEpoch {
    LeaderIdAndEpoch {
        leader_id: random.random_range(0..9),
        leader_epoch: 7,
    }
}

fn endpoint(random: &mut StdRng) -> NodeEndpoint {
    NodeEndpoint {
        node_id: random.random(),
        host: string(random),
        port: random.random(),
        rack: maybe(random, string),
    }
}

fn produce_request(random: &mut StdRng, version: i16) -> produce::ProduceRequest {
    let partition = |random: &mut StdRng| produce::PartitionData {
        index: random.random(),
        records: maybe(random, records),
    };
    produce::ProduceRequest {
        transactional_id: maybe(random, string),
        acks: random.random(),
        timeout_ms: random.random(),
        topics: several(random, |random| produce::TopicData {
            topic: topic(random, version >= 13),
            partitions: several(random, partition),
        }),
    }
}

fn produce_partition_response(random: &mut StdRng, version: i16) -> produce::PartitionResponse {
    let error = ErrorCode::from(random.random_range(0..100));
    let mut response = produce::PartitionResponse::failed(random.random(), error);
    response.base_offset = random.random();
    response.log_append_time_ms = random.random();
    if version >= 5 {
        response.log_start_offset = random.random();
    }
    if version >= 8 {
        response.record_errors = several(random, |random| produce::RecordError {
            batch_index: random.random(),
            message: maybe(random, string),
        });
        response.error_message = maybe(random, string);
    }
    if version >= 10 {
        response.current_leader = maybe(random, leader);
    }
    response
}

fn produce_response(random: &mut StdRng, version: i16) -> produce::ProduceResponse {
    produce::ProduceResponse {
        topics: several(random, |random| produce::TopicResponse {
            topic: topic(random, version >= 13),
            partitions: several(random, |random| produce_partition_response(random, version)),
        }),
        throttle_time_ms: random.random(),
        node_endpoints: if version >= 10 {
            several(random, endpoint)
        } else {
            Vec::new()
        },
    }
}

fn fetch_partition(random: &mut StdRng, version: i16) -> fetch::FetchPartition {
    let mut partition = fetch::FetchPartition {
        index: random.random(),
        fetch_offset: random.random(),
        max_bytes: random.random(),
        ..Default::default()
    };
    if version >= 5 {
        partition.log_start_offset = random.random();
    }
    if version >= 9 {
        partition.current_leader_epoch = random.random();
    }
    if version >= 12 {
        partition.last_fetched_epoch = random.random();
    }
    if version >= 17 {
        partition.replica_directory_id = KafkaUuid::from_parts(0, random.random_range(0..2));
    }
    if version >= 18 {
        partition.high_watermark = random.random();
    }
    partition
}

fn fetch_request(random: &mut StdRng, version: i16) -> fetch::FetchRequest {
    let mut request = fetch::FetchRequest {
        replica_id: random.random_range(-1..3),
        max_wait_ms: random.random(),
        min_bytes: random.random(),
        max_bytes: random.random(),
        isolation_level: random.random_range(0..2),
        topics: several(random, |random| fetch::FetchTopic {
            topic: topic(random, version >= 13),
            partitions: several(random, |random| fetch_partition(random, version)),
        }),
        ..Default::default()
    };
    if version >= 7 {
        request.session_id = random.random();
        request.session_epoch = random.random();
        request.forgotten = several(random, |random| fetch::ForgottenTopic {
            topic: topic(random, version >= 13),
            partitions: several(random, |random| random.random()),
        });
    }
    if version >= 11 {
        request.rack_id = string(random);
    }
    if version >= 12 {
        request.cluster_id = maybe(random, string);
    }
    if version >= 15 {
        request.replica_epoch = random.random_range(-1..2);
    }
    request
}

fn fetch_partition_response(random: &mut StdRng, version: i16) -> fetch::PartitionResponse {
    let error = ErrorCode::from(random.random_range(0..100));
    let mut response = fetch::PartitionResponse::empty(random.random(), error);
    response.high_watermark = random.random();
    response.last_stable_offset = random.random();
    response.aborted_transactions = maybe(random, |random| {
        several(random, |random| fetch::AbortedTransaction {
            producer_id: random.random(),
            first_offset: random.random(),
        })
    });
    // Reading gives one slice, or none.
    let slice = records(random);
    response
        .records
        .extend((!slice.is_empty()).then_some(slice));
    if version >= 5 {
        response.log_start_offset = random.random();
    }
    if version >= 11 {
        response.preferred_read_replica = random.random();
    }
    if version >= 12 {
        response.diverging_epoch = maybe(random, |random| fetch::EpochEndOffset {
            epoch: random.random_range(0..9),
            end_offset: random.random(),
        });
        response.current_leader = maybe(random, leader);
        response.snapshot_id = maybe(random, |random| fetch::SnapshotId {
            end_offset: random.random(),
            epoch: random.random_range(0..9),
        });
    }
    response
}

fn fetch_response(random: &mut StdRng, version: i16) -> fetch::FetchResponse {
    fetch::FetchResponse {
        throttle_time_ms: random.random(),
        error: ErrorCode::from(if version >= 7 {
            random.random_range(0..100)
        } else {
            0
        }),
        session_id: if version >= 7 { random.random() } else { 0 },
        topics: several(random, |random| fetch::TopicResponse {
            topic: topic(random, version >= 13),
            partitions: several(random, |random| fetch_partition_response(random, version)),
        }),
        node_endpoints: if version >= 16 {
            several(random, endpoint)
        } else {
            Vec::new()
        },
    }
}

/// Ours, written by us, read and written again by the generated codec, read by us: unchanged, and
/// the same bytes. Cut anywhere it is an error and not a panic.
fn check<M: Message + PartialEq + std::fmt::Debug>(
    message: &M,
    version: i16,
    rewrite: impl Fn(&mut Bytes) -> BytesMut,
    their_rewrite: impl Fn(&mut Bytes) -> Bytes,
) {
    let mut written = BytesMut::new();
    message.write(&mut written, version).unwrap();
    let written = written.freeze();
    let mut rest = written.clone();
    let rewritten = rewrite(&mut rest).freeze();
    assert!(
        rest.is_empty(),
        "version {version}: the schema leaves {} bytes",
        rest.len()
    );
    assert_eq!(rewritten, written, "version {version}: {message:?}");
    let mut rest = their_rewrite(&mut written.clone());
    assert_eq!(rest, written, "version {version}: {message:?}");
    assert_eq!(
        M::read(&mut rest, version).unwrap(),
        *message,
        "version {version}"
    );
    assert!(rest.is_empty());
    let step = 1 + written.len() / 200;
    for length in (0..written.len()).step_by(step) {
        let cut = M::read(&mut written.slice(..length), version);
        assert!(
            cut.is_err(),
            "version {version} cut to {length} of {} bytes",
            written.len()
        );
    }
}

fn through_theirs<T: Decodable + Encodable>(version: i16) -> impl Fn(&mut Bytes) -> Bytes {
    move |body| {
        let mut out = BytesMut::new();
        T::decode(body, version)
            .unwrap()
            .encode(&mut out, version)
            .unwrap();
        out.freeze()
    }
}

macro_rules! through_schema {
    ($schema:ty, $version:expr) => {
        |body: &mut Bytes| {
            let mut out = BytesMut::new();
            <$schema>::read(body, $version)
                .unwrap()
                .write(&mut out, $version)
                .unwrap();
            out
        }
    };
}

#[test]
fn produce_agrees_with_generated_codecs_in_every_version() {
    type Request = schema::produce_request::ProduceRequestData;
    type Response = schema::produce_response::ProduceResponseData;
    for seed in 0..ROUNDS {
        let random = &mut StdRng::seed_from_u64(seed);
        for version in produce::RANGE.min..=produce::RANGE.max {
            let request = produce_request(random, version);
            let theirs = through_theirs::<their::ProduceRequest>(version);
            check(&request, version, through_schema!(Request, version), theirs);
            let response = produce_response(random, version);
            let theirs = through_theirs::<their::ProduceResponse>(version);
            check(
                &response,
                version,
                through_schema!(Response, version),
                theirs,
            );
        }
    }
}

#[test]
fn fetch_agrees_with_generated_codecs_in_every_version() {
    type Request = schema::fetch_request::FetchRequestData;
    type Response = schema::fetch_response::FetchResponseData;
    for seed in 0..ROUNDS {
        let random = &mut StdRng::seed_from_u64(seed);
        for version in fetch::RANGE.min..=fetch::RANGE.max {
            let request = fetch_request(random, version);
            let theirs = through_theirs::<their::FetchRequest>(version);
            check(&request, version, through_schema!(Request, version), theirs);
            let response = fetch_response(random, version);
            let theirs = through_theirs::<their::FetchResponse>(version);
            check(
                &response,
                version,
                through_schema!(Response, version),
                theirs,
            );
        }
    }
}

#[test]
fn record_slices_reach_the_frame_without_being_copied() {
    let slices: Vec<Bytes> = (0..3u8).map(|fill| vec![fill; 5000].into()).collect();
    let mut partition = fetch::PartitionResponse::empty(0, ErrorCode::None);
    partition.records.clone_from(&slices);
    let topic = TopicRef::Name("t".to_owned().into());
    let response = fetch::FetchResponse {
        topics: vec![fetch::TopicResponse {
            topic,
            partitions: vec![partition],
        }],
        ..Default::default()
    };
    let parts = response.encode(12, 5).unwrap();
    for slice in &slices {
        assert!(parts.iter().any(|part| part.as_ptr() == slice.as_ptr()));
    }
    let frame = parts.concat();
    let size = i32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(size as usize, frame.len() - 4);
    assert_eq!(frame[4..8], 5i32.to_be_bytes());
}

#[test]
fn records_of_a_produce_are_slices_of_the_frame() {
    let random = &mut StdRng::seed_from_u64(1);
    let partition = produce::PartitionData {
        index: 3,
        records: Some(vec![7; 100].into()),
    };
    let topic = topic(random, false);
    let request = produce::ProduceRequest {
        topics: vec![produce::TopicData {
            topic,
            partitions: vec![partition],
        }],
        ..Default::default()
    };
    let mut body = BytesMut::new();
    request.write(&mut body, 9).unwrap();
    let body = body.freeze();
    let parsed = produce::ProduceRequest::parse(&body, 9).unwrap();
    let records = parsed.topics[0].partitions[0].records.clone().unwrap();
    assert!(body.as_ptr_range().contains(&records.as_ptr()));
}

#[test]
fn lying_array_lengths_are_refused_before_allocation() {
    // Null transactional id, acks, timeout, then the topics' length.
    let mut old = vec![0xff, 0xff, 0, 1, 0, 0, 0, 0];
    old.extend_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
    assert!(produce::ProduceRequest::parse(&old.into(), 3).is_err());
    let mut flexible = vec![0, 0, 1, 0, 0, 0, 0];
    flexible.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(produce::ProduceRequest::parse(&flexible.into(), 9).is_err());
}
