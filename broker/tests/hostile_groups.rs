//! Sound requests about groups that ask for far more than they are large, against a real broker:
//! it must go on serving others within its planned memory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use bytes::Bytes;
use running::{
    Broker,
    frames::{bare, frame_of},
};
use spate_net::kafka::{
    KafkaString,
    api::{
        describe_groups::DescribeGroupsRequest,
        join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse},
        offset_commit::{
            OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
        },
        offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics},
    },
    error::ErrorCode,
    header::parse_response,
    versions::{ApiKey, range_of},
};

mod running;

/// More than what a broker under test has ever needed, and far less than what was to be had of it.
const MOST_BYTES: usize = 256 << 20;

/// Sends a frame; the answer without its size, or `None` if the broker closed the connection.
fn call(broker: &Broker, frame: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(broker.address).unwrap();
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).unwrap();
    stream.write_all(frame).unwrap();
    let mut size = [0; 4];
    if let Err(error) = stream.read_exact(&mut size) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "no answer");
        return None;
    }
    let mut body = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut body).unwrap();
    Some(body)
}

/// A broker with a topic and with coordinators.
fn broker() -> Broker {
    let broker = Broker::start();
    call(&broker, &frame_of(ApiKey::CreateTopics, 5)).unwrap();
    call(&broker, &frame_of(ApiKey::FindCoordinator, 4)).unwrap();
    broker
}

fn text(text: impl Into<String>) -> KafkaString {
    KafkaString::from(text.into())
}

fn stays_well(broker: &Broker) {
    assert!(broker.answers_others());
    let log = broker.log.lock().unwrap();
    assert!(!log.contains("panicked"), "{log}");
    drop(log);
    let resident = broker.resident_bytes();
    assert!(resident <= MOST_BYTES, "{resident} bytes resident");
}

fn commit(group: &str, metadata: &str, times: usize) -> Vec<u8> {
    let partition =
        OffsetCommitRequestPartition::default().with_committed_metadata(Some(text(metadata)));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(text("fuzz"))
        .with_partitions(vec![partition; times]);
    let asked = OffsetCommitRequest::default()
        .with_group_id(text(group))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    bare(8, &asked)
}

#[test]
fn a_text_that_is_longer_than_kafka_allows_ends_the_connection_alone() {
    let broker = broker();
    let long = "g".repeat(40_000);
    assert_eq!(call(&broker, &commit(&long, "", 1)), None);
    stays_well(&broker);
}

#[test]
fn a_commit_takes_no_more_memory_than_a_batch_may_have() {
    let broker = broker();
    let long = "g".repeat(30_000);
    assert!(call(&broker, &commit(&long, "", 10_000)).is_some());
    stays_well(&broker);
}

#[test]
fn an_offset_that_is_asked_for_many_times_is_told_once() {
    let broker = broker();
    call(&broker, &commit("g", &"m".repeat(4000), 1)).unwrap();
    let topic = OffsetFetchRequestTopics::default()
        .with_name(text("fuzz"))
        .with_partition_indexes(vec![0; 40_000]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(text("g"))
        .with_topics(Some(vec![topic.clone(), topic]));
    let asked = OffsetFetchRequest::default().with_groups(vec![group]);
    let answer = call(&broker, &bare(8, &asked)).unwrap();
    assert!((4000..10_000).contains(&answer.len()), "{}", answer.len());
    let whole = OffsetFetchRequestGroup::default()
        .with_group_id(text("g"))
        .with_topics(None);
    let asked = OffsetFetchRequest::default().with_groups(vec![whole; 40_000]);
    let answer = call(&broker, &bare(8, &asked)).unwrap();
    assert!(answer.len() < 1 << 20, "{}", answer.len());
    stays_well(&broker);
}

#[test]
fn many_groups_are_described_in_order_without_holding_up_others() {
    let broker = broker();
    let names: Vec<_> = (0..50_000).map(|n| text(format!("group-{n}"))).collect();
    let asked = DescribeGroupsRequest::default().with_groups(names);
    assert!(call(&broker, &bare(5, &asked)).is_some());
    let asked = DescribeGroupsRequest::default().with_groups(vec![text("g"); 50_000]);
    let answer = call(&broker, &bare(5, &asked)).unwrap();
    assert!(answer.len() < 1000, "{}", answer.len());
    stays_well(&broker);
}

fn join(group: &str, member: &KafkaString, metadata: usize) -> Vec<u8> {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from(vec![0; metadata]));
    let asked = JoinGroupRequest::default()
        .with_group_id(text(group))
        .with_member_id(member.clone())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    bare(9, &asked)
}

fn joined(body: Vec<u8>) -> JoinGroupResponse {
    let range = range_of(ApiKey::JoinGroup as i16).unwrap();
    let (_, rest) = parse_response(range, 9, &Bytes::from(body)).unwrap();
    JoinGroupResponse::read(&mut rest.clone(), 9).unwrap()
}

#[test]
fn a_member_that_comes_back_with_more_is_held_to_the_plan() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start_in(data, &["memory.groups.bytes=1048576"]);
    call(&broker, &frame_of(ApiKey::FindCoordinator, 4)).unwrap();
    let first = joined(call(&broker, &join("large", &KafkaString::default(), 0)).unwrap());
    assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
    let second = joined(call(&broker, &join("large", &first.member_id, 2 << 20)).unwrap());
    assert_eq!(second.error_code, ErrorCode::GroupMaxSizeReached.code());
}
