//! The client against a real broker, ours or Kafka's: every codec, every version of every API that
//! both sides speak. Needs one: `SPATE_TEST_BROKER=HOST:PORT cargo test -- --ignored`.

#![allow(clippy::unwrap_used, reason = "a test may end by panicking")]

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use spate_net::client::{
    Cluster, ClusterSettings, Connection, Fetcher, FetcherSettings, Producer, ProducerSettings,
};
use spate_net::kafka::api::Call;
use spate_net::kafka::api::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use spate_net::kafka::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use spate_net::kafka::api::delete_topics::DeleteTopicsRequest;
use spate_net::kafka::api::describe_cluster::DescribeClusterRequest;
use spate_net::kafka::api::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, resource_type,
};
use spate_net::kafka::api::init_producer_id::InitProducerIdRequest;
use spate_net::kafka::api::list_offsets::{
    EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsRequest,
};
use spate_net::kafka::api::metadata::MetadataRequest;
use spate_net::kafka::api::offset_for_leader_epoch::OffsetForLeaderEpochRequest;
use spate_net::kafka::api::produce::{PartitionData, ProduceRequest, TopicData};
use spate_net::kafka::api::{TopicRef, fetch, produce};
use spate_net::kafka::error::ErrorCode;
use spate_net::kafka::record_batch::header::store_crc;
use spate_net::kafka::record_batch::{
    BatchBuilder, Codec, DecompressionLimits, NewRecord, ProducerStamp, Rules, Scratch, validate,
};
use spate_net::reactor::{Reactor, ReactorConfig};

const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];
const PARTITIONS: i32 = 3;

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64
}

fn with_cluster<F: Future<Output = ()>>(test: impl FnOnce(Rc<Cluster>) -> F) {
    let Ok(broker) = std::env::var("SPATE_TEST_BROKER") else {
        panic!("set SPATE_TEST_BROKER=HOST:PORT");
    };
    Reactor::new(&ReactorConfig::default())
        .unwrap()
        .block_on(async {
            let bootstrap = vec!["127.0.0.1:1".to_owned(), broker];
            let retry_for = Duration::from_secs(15);
            let settings = ClusterSettings {
                bootstrap,
                retry_for,
                ..Default::default()
            };
            test(Cluster::connect(settings).await.unwrap()).await;
        });
}

async fn create_topic(cluster: &Cluster) -> String {
    let name = format!("wire-test-{}-{:?}", now_ms(), std::thread::current().id())
        .replace(['(', ')'], "-");
    let topic = CreatableTopic::default()
        .with_name(name.clone().into())
        .with_num_partitions(PARTITIONS)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(10_000);
    let response = cluster
        .controller()
        .await
        .unwrap()
        .call(&request)
        .await
        .unwrap();
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    name
}

fn value(partition: i32, number: i32) -> Vec<u8> {
    let mut value = format!("{partition}/{number}:").into_bytes();
    value.resize(10 + (number as usize * 37) % 700, b'x');
    value
}

#[test]
#[ignore = "needs a broker: SPATE_TEST_BROKER=HOST:PORT"]
fn what_is_produced_is_fetched_with_every_codec() {
    with_cluster(|cluster| async move {
        let topic = create_topic(&cluster).await;
        let producer = Producer::new(Rc::clone(&cluster), ProducerSettings::default());
        let mut number = 0;
        for _ in 0..4 {
            for codec in CODECS {
                for partition in 0..PARTITIONS {
                    let mut builder = BatchBuilder::new(codec);
                    for i in 0..20 {
                        let value = value(partition, number + i);
                        let record = NewRecord {
                            timestamp: now_ms(),
                            key: Some(b"key"),
                            value: Some(&value),
                            headers: &[("h", Some(b"v"))],
                        };
                        builder.append(&record);
                    }
                    let produced = producer
                        .send(&topic, partition, &mut builder)
                        .await
                        .unwrap();
                    assert_eq!(produced.base_offset, i64::from(number));
                }
                number += 20;
            }
        }
        let mut fetcher = Fetcher::new(Rc::clone(&cluster), FetcherSettings::default());
        for partition in 0..PARTITIONS {
            fetcher.add(&topic, partition, 3);
        }
        let mut next = vec![3; PARTITIONS as usize];
        while next.iter().any(|&next| next < i64::from(number)) {
            for fetched in fetcher.poll().await.unwrap() {
                let next = &mut next[fetched.partition as usize];
                for record in fetched.records() {
                    let record = record.unwrap();
                    assert_eq!(record.offset, *next);
                    assert_eq!(
                        record.value.unwrap(),
                        value(fetched.partition, *next as i32)
                    );
                    assert_eq!((record.key, record.headers.len()), (Some(&b"key"[..]), 1));
                    *next += 1;
                }
            }
        }
        let end = cluster
            .offset_at(&topic, 1, LATEST_TIMESTAMP)
            .await
            .unwrap();
        assert_eq!(end, Some(i64::from(number)));
        let start = cluster
            .offset_at(&topic, 1, EARLIEST_TIMESTAMP)
            .await
            .unwrap();
        assert_eq!(start, Some(0));
        assert_eq!(
            cluster
                .offset_at(&topic, 1, now_ms() + 60_000)
                .await
                .unwrap(),
            None
        );
    });
}

/// Versions that both sides speak.
fn common<R: Call>(connection: &Connection) -> std::ops::RangeInclusive<i16> {
    R::RANGE.min..=connection.version_of(&R::RANGE).unwrap()
}

async fn in_every_version<R: Call>(connection: &Connection, request: &R) {
    for version in common::<R>(connection) {
        let answer = connection.call_at(version, request).await;
        assert!(
            answer.is_ok(),
            "{:?} version {version}: {:?}",
            R::RANGE.key,
            answer.err()
        );
    }
}

#[test]
#[ignore = "needs a broker: SPATE_TEST_BROKER=HOST:PORT"]
fn every_version_of_every_api_is_understood() {
    with_cluster(|cluster| async move {
        let topic = create_topic(&cluster).await;
        let leader = cluster.leader(&topic, 0).await.unwrap();
        let connection = &leader.connection;
        let all = MetadataRequest::default().with_topics(Some(Vec::new()));
        in_every_version(connection, &all).await;
        in_every_version(connection, &InitProducerIdRequest::default()).await;
        in_every_version(connection, &DescribeClusterRequest::default()).await;
        in_every_version(
            connection,
            &ListOffsetsRequest::default().with_replica_id(-1),
        )
        .await;
        // The default replica id has no place in version 2, but as a debugging consumer's.
        let epochs = OffsetForLeaderEpochRequest::default().with_replica_id(-2);
        in_every_version(connection, &epochs).await;
        let resource = DescribeConfigsResource::default()
            .with_resource_type(resource_type::TOPIC)
            .with_resource_name(topic.clone().into())
            .with_configuration_keys(None);
        let configs = DescribeConfigsRequest::default().with_resources(vec![resource]);
        in_every_version(connection, &configs).await;
        let more = CreatePartitionsTopic::default()
            .with_name(topic.clone().into())
            .with_count(PARTITIONS)
            .with_assignments(None);
        let more = CreatePartitionsRequest::default()
            .with_topics(vec![more])
            .with_timeout_ms(100);
        in_every_version(connection, &more).await;
        in_every_version(
            connection,
            &CreateTopicsRequest::default().with_timeout_ms(1),
        )
        .await;
        in_every_version(
            connection,
            &DeleteTopicsRequest::default().with_timeout_ms(1),
        )
        .await;
    });
}

#[test]
#[ignore = "needs a broker: SPATE_TEST_BROKER=HOST:PORT"]
fn produce_and_fetch_work_in_every_version() {
    with_cluster(|cluster| async move {
        let topic = create_topic(&cluster).await;
        let leader = cluster.leader(&topic, 0).await.unwrap();
        let name = |by_id| match by_id {
            true => TopicRef::Id(leader.topic_id),
            false => TopicRef::Name(topic.clone().into()),
        };
        // The producer is patient until the new topic is really there.
        let producer = Producer::new(Rc::clone(&cluster), ProducerSettings::default());
        let mut builder = BatchBuilder::new(Codec::None);
        builder.append(&NewRecord {
            timestamp: now_ms(),
            ..Default::default()
        });
        producer.send(&topic, 0, &mut builder).await.unwrap();
        let mut offset = 1;
        for version in common::<ProduceRequest>(&leader.connection) {
            let mut builder = BatchBuilder::new(Codec::Lz4);
            builder.append(&NewRecord {
                timestamp: now_ms(),
                value: Some(b"v"),
                ..Default::default()
            });
            let records = builder.finish(None).unwrap();
            let request = ProduceRequest {
                acks: 1,
                timeout_ms: 1000,
                topics: vec![TopicData {
                    topic: name(version >= produce::IDS_FROM),
                    partitions: vec![PartitionData { index: 0, records }],
                }],
                ..Default::default()
            };
            let answer = leader.connection.call_at(version, &request).await.unwrap();
            let partition = &answer.topics[0].partitions[0];
            assert_eq!(
                partition.error,
                ErrorCode::None,
                "version {version}: {partition:?}"
            );
            assert_eq!(partition.base_offset, offset);
            offset += 1;
        }
        for version in common::<fetch::FetchRequest>(&leader.connection) {
            let partition = fetch::FetchPartition {
                fetch_offset: 1,
                ..Default::default()
            };
            let request = fetch::FetchRequest {
                topics: vec![fetch::FetchTopic {
                    topic: name(version >= fetch::IDS_FROM),
                    partitions: vec![partition],
                }],
                ..Default::default()
            };
            let answer = leader.connection.call_at(version, &request).await.unwrap();
            assert_eq!(answer.error, ErrorCode::None);
            let partition = &answer.topics[0].partitions[0];
            assert_eq!(
                partition.error,
                ErrorCode::None,
                "version {version}: {partition:?}"
            );
            assert_eq!(partition.high_watermark, offset);
            assert!(partition.record_bytes() > 0);
        }
    });
}

/// A name, whether the CRC is made right afterwards, and what is done to a batch.
type Fault = (&'static str, bool, fn(&mut BytesMut));

const FAULTS: [Fault; 19] = [
    ("nothing at all", false, |batch| batch.clear()),
    ("half a header", false, |batch| batch.truncate(40)),
    ("half a record", false, |batch| batch.truncate(100)),
    ("magic 1", false, |batch| batch[16] = 1),
    ("magic 9", false, |batch| batch[16] = 9),
    ("negative length", false, |batch| batch[8] = 0xff),
    ("length of 3", false, |batch| {
        batch[8..12].copy_from_slice(&[0, 0, 0, 3])
    }),
    ("a flipped bit", false, |batch| batch[80] ^= 1),
    ("base offset 1", true, |batch| batch[7] = 1),
    ("count 9 of 10", true, |batch| batch[60] = 9),
    ("count 9 of 10 and delta 8", true, |batch| {
        (batch[60], batch[26]) = (9, 8)
    }),
    ("count 11 of 10 and delta 10", true, |batch| {
        (batch[60], batch[26]) = (11, 10)
    }),
    ("count 0", true, |batch| batch[57..61].fill(0)),
    ("negative sequence", true, |batch| batch[53] = 0xff),
    ("control batch", true, |batch| batch[22] |= 0x20),
    ("codec 7", true, |batch| batch[22] |= 0x07),
    ("no gzip", true, |batch| batch[22] |= 0x01),
    ("record length off by one", true, |batch| batch[61] += 2),
    ("twice", false, |batch| {
        let copy = batch.clone();
        batch.extend_from_slice(&copy);
    }),
];

fn faulty(fix_crc: bool, change: fn(&mut BytesMut)) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..10 {
        let record = NewRecord {
            timestamp: now_ms(),
            value: Some(&[7; 20]),
            ..Default::default()
        };
        builder.append(&record);
    }
    let (producer_id, producer_epoch, base_sequence) = (900_000, 0, 0);
    let stamp = ProducerStamp {
        producer_id,
        producer_epoch,
        base_sequence,
        is_transactional: false,
    };
    let mut batch = BytesMut::from(&builder.finish(Some(stamp)).unwrap().unwrap()[..]);
    change(&mut batch);
    if fix_crc {
        store_crc(&mut batch);
    }
    batch.freeze()
}

#[test]
#[ignore = "needs a broker: SPATE_TEST_BROKER=HOST:PORT"]
fn the_broker_refuses_unsound_batches_as_validation_says() {
    with_cluster(|cluster| async move {
        let topic = create_topic(&cluster).await;
        let leader = cluster.leader(&topic, 0).await.unwrap();
        let rules = Rules {
            zstd_allowed: true,
            limits: DecompressionLimits::default(),
        };
        let mut differences = Vec::new();
        for (name, fix_crc, change) in FAULTS {
            let batch = faulty(fix_crc, change);
            let ours = validate(&batch, &rules, &mut Scratch::new()).unwrap_err();
            let request = ProduceRequest {
                acks: 1,
                timeout_ms: 1000,
                topics: vec![TopicData {
                    topic: TopicRef::Name(topic.clone().into()),
                    partitions: vec![PartitionData {
                        index: 0,
                        records: Some(batch),
                    }],
                }],
                ..Default::default()
            };
            let connection = cluster.node(leader.node_id).await.unwrap();
            match connection.call_at(9, &request).await {
                Ok(answer) => {
                    let partition = &answer.topics[0].partitions[0];
                    // Where Kafka stumbles (unknown server error) we have an answer that is final.
                    let stumbled = partition.error == ErrorCode::UnknownServerError;
                    if partition.error != ours.code() && !stumbled {
                        let theirs = (partition.error, &partition.error_message);
                        differences.push(format!("{name}: {theirs:?}, here {ours}"));
                    }
                }
                Err(error) => differences.push(format!("{name}: {error}, here {ours}")),
            }
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    });
}
