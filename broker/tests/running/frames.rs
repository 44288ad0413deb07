//! Sound requests of every served API in every version, some with content.

use spate_net::kafka::{
    api::{
        TopicRef,
        create_topics::{CreatableTopic, CreateTopicsRequest},
        fetch::{FetchPartition, FetchRequest, FetchTopic},
        list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic},
        metadata::{MetadataRequest, MetadataRequestTopic},
        produce::{PartitionData, ProduceRequest, TopicData},
    },
    header::encode_request,
    record_batch::{BatchBuilder, Codec, NewRecord},
    versions::{ApiKey, range_of, served},
};

/// Sound frames of every served API in every version, some with content.
pub fn corpus() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for range in served() {
        for version in range.min..=range.max {
            frames.push(frame_of(range.key, version));
        }
    }
    frames
}

/// One request, its size in front.
pub fn frame_of(key: ApiKey, version: i16) -> Vec<u8> {
    let range = range_of(key as i16).unwrap();
    let name = || String::from("fuzz").into();
    match key {
        ApiKey::Produce => produce_frame(version),
        ApiKey::Fetch => fetch_frame(version),
        ApiKey::Metadata => {
            let topic = MetadataRequestTopic::default().with_name(Some(name()));
            let asked = MetadataRequest::default().with_topics(Some(vec![topic]));
            encode_request(range, version, 1, Some("f"), &asked)
                .unwrap()
                .to_vec()
        }
        ApiKey::CreateTopics => {
            let topic = CreatableTopic::default()
                .with_name(name())
                .with_num_partitions(2)
                .with_replication_factor(1);
            let asked = CreateTopicsRequest::default().with_topics(vec![topic]);
            encode_request(range, version, 1, Some("f"), &asked)
                .unwrap()
                .to_vec()
        }
        ApiKey::ListOffsets => {
            let partition = ListOffsetsPartition::default().with_timestamp(-1);
            let topic = ListOffsetsTopic::default()
                .with_name(name())
                .with_partitions(vec![partition]);
            let asked = ListOffsetsRequest::default().with_topics(vec![topic]);
            encode_request(range, version, 1, Some("f"), &asked)
                .unwrap()
                .to_vec()
        }
        key => bare_frame(key as i16, version, range.is_flexible(version)),
    }
}

/// A header and a body of zeros: empty lists and absent fields, whatever they mean.
fn bare_frame(key: i16, version: i16, flexible: bool) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(key.to_be_bytes());
    body.extend(version.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend((-1_i16).to_be_bytes());
    if flexible {
        body.push(0);
    }
    body.extend([0; 24]);
    with_size(&body)
}

fn produce_frame(version: i16) -> Vec<u8> {
    let codec = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4][version as usize % 4];
    let mut builder = BatchBuilder::new(codec);
    for number in 0..3 {
        let value = format!("value {number}").into_bytes();
        builder.append(&NewRecord {
            timestamp: 1_700_000_000_000,
            value: Some(&value),
            ..NewRecord::default()
        });
    }
    let records = builder.finish(None).unwrap();
    let topic = if version >= 13 {
        TopicRef::Id(spate_net::kafka::KafkaUuid::ONE)
    } else {
        TopicRef::Name(String::from("fuzz").into())
    };
    let partitions = vec![PartitionData { index: 0, records }];
    let asked = ProduceRequest {
        acks: -1,
        timeout_ms: 1000,
        topics: vec![TopicData { topic, partitions }],
        ..ProduceRequest::default()
    };
    asked.encode(version, 1, Some("f")).unwrap().concat()
}

fn fetch_frame(version: i16) -> Vec<u8> {
    let topic = if version >= 13 {
        TopicRef::Id(spate_net::kafka::KafkaUuid::ONE)
    } else {
        TopicRef::Name(String::from("fuzz").into())
    };
    let partitions = vec![FetchPartition {
        max_bytes: 1 << 20,
        ..FetchPartition::default()
    }];
    let asked = FetchRequest {
        max_bytes: 1 << 20,
        topics: vec![FetchTopic { topic, partitions }],
        ..FetchRequest::default()
    };
    asked.encode(version, 1, Some("f")).unwrap().to_vec()
}

/// A body behind its size.
pub fn with_size(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}
