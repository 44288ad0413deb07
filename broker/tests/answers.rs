//! What a real broker answers where a wrong answer would cost a client records, time or memory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use running::{Broker, frames::frame_of};
use spate_net::kafka::{
    KafkaString,
    api::{
        Call, Message, TopicRef,
        delete_topics::DeleteTopicsRequest,
        describe_configs::{DescribeConfigsRequest, DescribeConfigsResource},
        fetch::{FetchPartition, FetchRequest, FetchTopic},
        metadata::{MetadataRequest, MetadataRequestTopic},
        offset_for_leader_epoch::{
            OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
        },
        produce::{PartitionData, ProduceRequest, TopicData},
    },
    error::ErrorCode,
    header::parse_response,
    record_batch::{BatchBuilder, Codec, NewRecord},
    versions::ApiKey,
};

mod running;

struct Client(TcpStream);

impl Client {
    fn of(broker: &Broker) -> Client {
        let stream = TcpStream::connect(broker.address).unwrap();
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).unwrap();
        Client(stream)
    }

    fn send<R: Call>(&mut self, version: i16, request: &R) {
        for part in request.frame(version, 1, Some("test")).unwrap() {
            self.0.write_all(&part).unwrap();
        }
    }

    fn receive<R: Call>(&mut self, version: i16) -> R::Answer {
        let mut size = [0; 4];
        self.0.read_exact(&mut size).unwrap();
        let mut frame = BytesMut::zeroed(u32::from_be_bytes(size) as usize);
        self.0.read_exact(&mut frame).unwrap();
        let (_, mut body) = parse_response(&R::RANGE, version, &frame.freeze()).unwrap();
        R::Answer::read(&mut body, version).unwrap()
    }

    fn ask<R: Call>(&mut self, version: i16, request: &R) -> R::Answer {
        self.send(version, request);
        self.receive::<R>(version)
    }

    /// Has the broker create the topic that the frames of [`running::frames`] name.
    fn create_topic(&mut self) {
        self.0
            .write_all(&frame_of(ApiKey::CreateTopics, 7))
            .unwrap();
        let mut size = [0; 4];
        self.0.read_exact(&mut size).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        self.0.read_exact(&mut frame).unwrap();
    }
}

fn name() -> KafkaString {
    String::from("fuzz").into()
}

fn fetch(max_wait_ms: i32, min_bytes: i32, max_bytes: i32) -> FetchRequest {
    let partition = FetchPartition::default();
    FetchRequest {
        max_wait_ms,
        min_bytes,
        max_bytes,
        topics: vec![FetchTopic {
            topic: TopicRef::Name(name()),
            partitions: vec![partition],
        }],
        ..FetchRequest::default()
    }
}

/// A consumer that stands at the start of an empty partition was told that its epoch is unknown: it
/// reset its position over and over, and with `latest` skipped the first records.
#[test]
fn the_present_epoch_of_an_empty_partition_ends_at_its_start() {
    let broker = Broker::start();
    let mut client = Client::of(&broker);
    client.create_topic();
    let partition = OffsetForLeaderPartition::default()
        .with_partition(0)
        .with_current_leader_epoch(0)
        .with_leader_epoch(0);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(name())
        .with_partitions(vec![partition]);
    let asked = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    let answer = client.ask(4, &asked);
    let told = &answer.topics[0].partitions[0];
    assert_eq!(
        (told.error_code, told.leader_epoch, told.end_offset),
        (0, 0, 0)
    );
}

#[test]
fn a_fetch_that_waits_for_a_deleted_topic_is_told_at_once() {
    let broker = Broker::start();
    let mut client = Client::of(&broker);
    client.create_topic();
    let mut reader = Client::of(&broker);
    reader.send(12, &fetch(15_000, 1, 1 << 20));
    std::thread::sleep(Duration::from_millis(300));
    let deleted = Instant::now();
    client.ask(
        5,
        &DeleteTopicsRequest::default()
            .with_topic_names(vec![name()])
            .with_timeout_ms(5000),
    );
    let answer = reader.receive::<FetchRequest>(12);
    assert!(deleted.elapsed() < Duration::from_secs(5));
    let error = answer.topics[0].partitions[0].error;
    assert_eq!(error, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn a_fetch_waits_for_no_more_bytes_than_it_may_take() {
    let broker = Broker::start();
    let mut client = Client::of(&broker);
    client.create_topic();
    let produce = frame_of(ApiKey::Produce, 9);
    client.0.write_all(&produce).unwrap();
    let began = Instant::now();
    client.send(12, &fetch(15_000, 1 << 20, 16));
    let mut size = [0; 4];
    client.0.read_exact(&mut size).unwrap();
    let mut produced = vec![0; u32::from_be_bytes(size) as usize];
    client.0.read_exact(&mut produced).unwrap();
    let answer = client.receive::<FetchRequest>(12);
    assert!(!answer.topics[0].partitions[0].records.is_empty());
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// Else a request of some kilobytes is answered with gigabytes.
#[test]
fn what_is_named_often_is_answered_once() {
    let broker = Broker::start();
    let mut client = Client::of(&broker);
    client.create_topic();
    let topic = MetadataRequestTopic::default().with_name(Some(name()));
    let asked = MetadataRequest::default().with_topics(Some(vec![topic; 1000]));
    assert_eq!(client.ask(9, &asked).topics.len(), 1);
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(name())
        .with_configuration_keys(None);
    let asked = DescribeConfigsRequest::default().with_resources(vec![resource; 1000]);
    assert_eq!(client.ask(4, &asked).results.len(), 1);
}

#[test]
fn a_bad_topic_name_is_said_to_be_bad() {
    let broker = Broker::start();
    let topic = MetadataRequestTopic::default().with_name(Some(String::from("a b").into()));
    let asked = MetadataRequest::default()
        .with_topics(Some(vec![topic]))
        .with_allow_auto_topic_creation(false);
    let answer = Client::of(&broker).ask(9, &asked);
    let code = answer.topics[0].error_code;
    assert_eq!(code, ErrorCode::InvalidTopicException.code());
}

/// The batch is in the log: that the next request is garbage does not take its answer away.
#[test]
fn what_came_before_an_unreadable_request_is_still_answered() {
    let broker = Broker::start();
    let mut client = Client::of(&broker);
    client.create_topic();
    let mut frames = frame_of(ApiKey::Produce, 9);
    frames.extend([0, 0, 0, 4, 0x7f, 0x7f, 0, 0]);
    client.0.write_all(&frames).unwrap();
    let mut answers = Vec::new();
    client.0.read_to_end(&mut answers).unwrap();
    let range = spate_net::kafka::versions::range_of(ApiKey::Produce as i16).unwrap();
    assert!(answers.len() > 4, "closed without the answer");
    let frame = Bytes::from(answers).slice(4..);
    assert_eq!(parse_response(range, 9, &frame).unwrap().0, 1);
}

/// Their senders have minutes; a client with a small request must not wait for them.
#[test]
fn large_frames_that_do_not_come_hold_up_no_small_ones() {
    let broker = Broker::start();
    // More than the memory for requests of both shards.
    let stalled: Vec<_> = (0..16)
        .map(|_| {
            let mut stalled = Client::of(&broker);
            stalled.0.write_all(&(8_i32 << 20).to_be_bytes()).unwrap();
            stalled
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..8 {
        assert!(broker.answers_others());
    }
    drop(stalled);
}

fn produce_large_batches(client: &mut Client, count: usize) {
    let value = vec![7; 1_000_000];
    for _ in 0..count {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.append(&NewRecord {
            timestamp: 1_700_000_000_000,
            value: Some(&value),
            ..NewRecord::default()
        });
        let records = builder.finish(None).unwrap();
        let answer = client.ask(
            9,
            &ProduceRequest {
                acks: -1,
                timeout_ms: 10_000,
                topics: vec![TopicData {
                    topic: TopicRef::Name(name()),
                    partitions: vec![PartitionData { index: 0, records }],
                }],
                ..ProduceRequest::default()
            },
        );
        assert_eq!(answer.topics[0].partitions[0].error, ErrorCode::None);
    }
}

/// They took all memory for answers, and whoever came next waited for as long as they did not read.
#[test]
fn readers_that_stop_reading_hold_up_no_others() {
    let broker = Broker::start();
    let mut client = Client::of(&broker);
    client.create_topic();
    produce_large_batches(&mut client, 24);
    let stalled: Vec<_> = (0..6)
        .map(|_| {
            let mut stalled = Client::of(&broker);
            stalled.send(12, &fetch(0, 1, i32::MAX));
            std::thread::sleep(Duration::from_millis(200));
            stalled
        })
        .collect();
    for _ in 0..4 {
        let mut reader = Client::of(&broker);
        let wait = Some(Duration::from_secs(10));
        reader.0.set_read_timeout(wait).unwrap();
        let answer = reader.ask(12, &fetch(0, 1, 1 << 20));
        assert!(!answer.topics[0].partitions[0].records.is_empty());
    }
    drop(stalled);
}
