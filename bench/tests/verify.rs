//! `spate-bench verify` against a broker that lies: one that loses what it has acknowledged, writes
//! it twice, in another order, or with another content, now and then. Each lie must be found, and
//! an honest broker must pass: also one that deletes what is old, or refuses a batch.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use spate_net::kafka::KafkaString;
use spate_net::kafka::api::api_versions::{ApiVersion, ApiVersionsResponse};
use spate_net::kafka::api::create_topics::{CreatableTopicResult, CreateTopicsResponse};
use spate_net::kafka::api::delete_topics::{DeletableTopicResult, DeleteTopicsResponse};
use spate_net::kafka::api::fetch::{
    FetchRequest, FetchResponse, PartitionResponse as Fetched, TopicResponse as FetchedTopic,
};
use spate_net::kafka::api::init_producer_id::InitProducerIdResponse;
use spate_net::kafka::api::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use spate_net::kafka::api::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use spate_net::kafka::api::produce::{
    PartitionResponse, ProduceRequest, ProduceResponse, TopicResponse,
};
use spate_net::kafka::api::{Message, decode_request};
use spate_net::kafka::error::ErrorCode;
use spate_net::kafka::header::{Request, encode_response, parse_request};
use spate_net::kafka::record_batch::BatchHeader;
use spate_net::kafka::record_batch::header::store_crc;
use spate_net::kafka::versions::{ApiKey, served};

const PROGRAM: &str = env!("CARGO_BIN_EXE_spate-bench");
/// Every so many batches there is a lie.
const LIE_EVERY: u64 = 40;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    None,
    Lose,
    Double,
    Reorder,
    Change,
    /// No lie: a definite refusal.
    Refuse,
}

/// The one partition of the one topic.
struct Log {
    batches: Vec<(i64, i64, Bytes)>,
    start: i64,
    end: i64,
    /// Retention: how many records stay.
    keeps: i64,
    /// The next sequence number of each producer's epoch.
    sequences: HashMap<(i64, i16), i32>,
    producer_ids: i64,
    count: u64,
    exists: bool,
    held: Option<Bytes>,
}

impl Log {
    fn append(&mut self, batch: &Bytes) -> i64 {
        let header = BatchHeader::of(batch).expect("the driver sends batches");
        let (base, records) = (self.end, header.last_offset() - header.base_offset() + 1);
        let mut stored = BytesMut::from(&batch[..]);
        stored[..8].copy_from_slice(&base.to_be_bytes());
        self.end += records;
        self.batches.push((base, self.end, stored.freeze()));
        // In the middle of a batch, as DeleteRecords does it.
        self.start = self.start.max(self.end - self.keeps);
        self.batches.retain(|(_, end, _)| *end > self.start);
        base
    }

    /// What an honest broker says of an idempotent producer's batch.
    fn check(&mut self, batch: &Bytes) -> ErrorCode {
        let header = BatchHeader::of(batch).expect("the driver sends batches");
        let producer = (header.producer_id(), header.producer_epoch());
        let known = self.sequences.get(&producer).copied().unwrap_or(0);
        if header.base_sequence() != known {
            return ErrorCode::OutOfOrderSequenceNumber;
        }
        self.count += 1;
        if self.count.is_multiple_of(LIE_EVERY) {
            return ErrorCode::MessageTooLarge;
        }
        let records = header.last_offset() - header.base_offset() + 1;
        self.sequences.insert(producer, known + records as i32);
        ErrorCode::None
    }

    /// Writes a batch as an honest broker would, but for the lie whose turn it is.
    fn take(&mut self, batch: &Bytes, lie: Lie) -> i64 {
        self.count += 1;
        let lies = self.count.is_multiple_of(LIE_EVERY);
        if let Some(held) = self.held.take() {
            let base = self.append(batch);
            self.append(&held);
            return base;
        }
        match lie {
            Lie::Lose if lies => self.end,
            Lie::Double if lies => {
                let base = self.append(batch);
                self.append(batch);
                base
            }
            Lie::Reorder if lies => {
                self.held = Some(batch.clone());
                // Where it would have been.
                self.end
            }
            Lie::Change if lies => {
                let mut changed = BytesMut::from(&batch[..]);
                let last = changed.len() - 5;
                changed[last] ^= 1;
                store_crc(&mut changed);
                self.append(&changed.freeze())
            }
            _ => self.append(batch),
        }
    }
}

struct Liar {
    address: SocketAddr,
    lie: Lie,
    log: Mutex<Log>,
}

fn serve(lie: Lie, keeps: i64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    let log = Mutex::new(Log {
        batches: Vec::new(),
        start: 0,
        end: 0,
        keeps,
        sequences: HashMap::new(),
        producer_ids: 0,
        count: 0,
        exists: false,
        held: None,
    });
    let liar = Arc::new(Liar { address, lie, log });
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let liar = Arc::clone(&liar);
            // A client that goes away is not the broker's concern.
            thread::spawn(move || liar.answer_all(stream).unwrap_or_default());
        }
    });
    address
}

impl Liar {
    fn answer_all(&self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let mut size = [0; 4];
            stream.read_exact(&mut size)?;
            let mut frame = vec![0; i32::from_be_bytes(size) as usize];
            stream.read_exact(&mut frame)?;
            let request = parse_request(&frame.into()).expect("the driver speaks Kafka");
            for part in self.answer(&request) {
                stream.write_all(&part)?;
            }
        }
    }

    fn answer(&self, request: &Request) -> Vec<Bytes> {
        let (body, version) = (&request.body, request.header.version);
        let id = request.header.correlation_id;
        match request.header.api.key {
            ApiKey::Produce => {
                let produce = ProduceRequest::parse(body, version).expect("it is one");
                vec![self.produce(produce).encode(version, id).expect("it fits")]
            }
            ApiKey::Fetch => {
                let fetch = FetchRequest::parse(body, version).expect("it is one");
                self.fetch(fetch).encode(version, id).expect("it fits")
            }
            ApiKey::ApiVersions => encoded(request, &versions()),
            ApiKey::Metadata => {
                let asked = decode_request(body, version).expect("it is one");
                encoded(request, &self.metadata(&asked))
            }
            ApiKey::ListOffsets => {
                let asked = decode_request(body, version).expect("it is one");
                encoded(request, &self.offsets(asked))
            }
            ApiKey::InitProducerId => {
                let mut log = self.log.lock().expect("no panic");
                log.producer_ids += 1;
                // One epoch is left: then the driver has to ask again.
                let identity = InitProducerIdResponse::default()
                    .with_producer_id(log.producer_ids)
                    .with_producer_epoch(i16::MAX - 1);
                encoded(request, &identity)
            }
            ApiKey::CreateTopics => {
                // A topic is made once.
                let exists = &mut self.log.lock().expect("no panic").exists;
                let code = match std::mem::replace(exists, true) {
                    true => ErrorCode::TopicAlreadyExists,
                    false => ErrorCode::None,
                };
                let made = CreatableTopicResult::default()
                    .with_error_code(code.code())
                    .with_configs(Some(Vec::new()));
                encoded(
                    request,
                    &CreateTopicsResponse::default().with_topics(vec![made]),
                )
            }
            _ => {
                let gone = vec![DeletableTopicResult::default()];
                encoded(
                    request,
                    &DeleteTopicsResponse::default().with_responses(gone),
                )
            }
        }
    }

    fn produce(&self, request: ProduceRequest) -> ProduceResponse {
        let topics = request.topics.into_iter().map(|topic| TopicResponse {
            topic: topic.topic,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| {
                    let batch = partition.records.as_ref().expect("it has records");
                    let mut log = self.log.lock().expect("no panic");
                    let code = match self.lie {
                        Lie::Refuse => log.check(batch),
                        _ => ErrorCode::None,
                    };
                    let index = partition.index;
                    match code {
                        ErrorCode::None => {
                            let base = match self.lie {
                                Lie::Refuse => log.append(batch),
                                lie => log.take(batch, lie),
                            };
                            PartitionResponse::written(index, base, log.start)
                        }
                        code => PartitionResponse::failed(index, code),
                    }
                })
                .collect(),
        });
        ProduceResponse {
            topics: topics.collect(),
            ..ProduceResponse::default()
        }
    }

    fn fetch(&self, request: FetchRequest) -> FetchResponse {
        // Nobody is to spin: the driver asks again at once.
        thread::sleep(Duration::from_millis(5));
        let log = self.log.lock().expect("no panic");
        let topics = request.topics.into_iter().map(|topic| FetchedTopic {
            topic: topic.topic,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| {
                    let outside = partition.fetch_offset < log.start;
                    if outside || partition.fetch_offset > log.end {
                        // Kafka says no more than that.
                        return Fetched::empty(partition.index, ErrorCode::OffsetOutOfRange);
                    }
                    let behind = |batch: &&(i64, i64, Bytes)| batch.1 > partition.fetch_offset;
                    let found = log.batches.iter().filter(behind).take(50);
                    Fetched {
                        index: partition.index,
                        high_watermark: log.end,
                        last_stable_offset: log.end,
                        log_start_offset: log.start,
                        records: found.map(|(_, _, bytes)| bytes.clone()).collect(),
                        ..Fetched::empty(partition.index, ErrorCode::None)
                    }
                })
                .collect(),
        });
        FetchResponse {
            topics: topics.collect(),
            ..FetchResponse::default()
        }
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let partition = MetadataResponsePartition::default()
            .with_leader_id(1)
            .with_replica_nodes(vec![1])
            .with_isr_nodes(vec![1]);
        let topics = request.topics.iter().flatten().map(|topic| {
            MetadataResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(vec![partition.clone()])
        });
        let broker = MetadataResponseBroker::default()
            .with_node_id(1)
            .with_host(KafkaString::from(self.address.ip().to_string()))
            .with_port(self.address.port().into());
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_controller_id(1)
            .with_topics(topics.collect())
    }

    fn offsets(&self, request: ListOffsetsRequest) -> ListOffsetsResponse {
        let log = self.log.lock().expect("no panic");
        let (start, end) = (log.start, log.end);
        drop(log);
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(partition.partition_index)
                    .with_offset(if partition.timestamp == -2 {
                        start
                    } else {
                        end
                    })
            });
            ListOffsetsTopicResponse::default()
                .with_name(topic.name)
                .with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }
}

fn encoded(request: &Request, body: &impl Message) -> Vec<Bytes> {
    let header = &request.header;
    let frame = encode_response(header.api, header.version, header.correlation_id, body);
    vec![frame.expect("it fits")]
}

fn versions() -> ApiVersionsResponse {
    let keys = served().iter().map(|api| {
        ApiVersion::default()
            .with_api_key(api.key as i16)
            .with_min_version(api.min)
            .with_max_version(api.max)
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}

/// What `verify` says about a broker with that habit.
fn verify(lie: Lie, keeps: i64) -> (Output, Value) {
    let address = serve(lie, keeps).to_string();
    let idempotence = match lie {
        Lie::Refuse => "",
        _ => "--not-idempotent",
    };
    let flags = format!(
        "--duration 2s --drain 5s --rate 1000 --producers 2 --consumers 1 --partitions 1 \
         {idempotence} --json"
    );
    let output = Command::new(PROGRAM)
        .args(["verify", "--broker", &address])
        .args(flags.split_whitespace())
        .output()
        .expect("the program starts");
    let verified = serde_json::from_slice(&output.stdout);
    let verified = verified.unwrap_or_else(|_| panic!("{output:?}"));
    (output, verified)
}

fn count(verified: &Value, anomaly: &str) -> u64 {
    let found = &verified["verdict"][anomaly];
    found["count"]
        .as_u64()
        .or(found.as_u64())
        .expect("it is counted")
}

#[test]
fn an_honest_broker_passes() {
    let (output, verified) = verify(Lie::None, i64::MAX);
    assert!(output.status.success(), "{verified:#}");
    assert_eq!(count(&verified, "acknowledged"), 2_000);
    assert_eq!(count(&verified, "seen"), 2_000);
}

#[test]
fn every_lie_is_found() {
    for (lie, anomaly) in [
        (Lie::Lose, "lost"),
        (Lie::Double, "duplicated"),
        (Lie::Reorder, "reordered"),
        (Lie::Change, "corrupt"),
    ] {
        let (output, verified) = verify(lie, i64::MAX);
        assert!(!output.status.success(), "{lie:?}: {verified:#}");
        assert!(count(&verified, anomaly) > 0, "{lie:?}: {verified:#}");
    }
}

#[test]
fn what_retention_deletes_is_not_lost_and_what_is_lost_is_found_nevertheless() {
    let (output, verified) = verify(Lie::None, 50);
    assert!(output.status.success(), "{verified:#}");
    assert_eq!(count(&verified, "acknowledged"), 2_000);
    let (output, verified) = verify(Lie::Lose, 50);
    assert!(!output.status.success(), "{verified:#}");
    assert!(count(&verified, "lost") > 0, "{verified:#}");
}

#[test]
fn consumers_that_retention_outruns_do_not_call_it_loss() {
    let address = serve(Lie::None, 50).to_string();
    // The one that reads the backlog slowly, and begins anew again and again, is outrun.
    let flags = "--rate 1000 --producers 2 --consumers 1 --backfill 1 --backfill-rate 200000 \
                 --warm-up 0s --duration 3s";
    let output = Command::new(PROGRAM)
        .args(["run", "--broker", &address])
        .args(flags.split_whitespace())
        .output()
        .expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("deleted before they were read"), "{text}");
}

#[test]
fn a_refused_batch_takes_no_others_with_it() {
    let (output, verified) = verify(Lie::Refuse, i64::MAX);
    assert!(output.status.success(), "{verified:#}");
    let (written, refused) = (
        count(&verified, "acknowledged"),
        count(&verified, "refused"),
    );
    assert_eq!(
        (written, refused),
        (count(&verified, "seen"), 2_000 - written)
    );
    // One batch of forty, and not those behind it.
    assert!((20..=100).contains(&refused), "{verified:#}");
}
