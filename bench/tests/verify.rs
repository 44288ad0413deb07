//! `spate-bench verify` against a broker that lies: one that loses what it has acknowledged, writes
//! it twice, in another order, or with another content, now and then. Each lie must be found, and
//! an honest broker must pass: also one that deletes what is old, or refuses a batch.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, MutexGuard};
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
/// A broker that gets stuck hands out no records from there on.
const STUCK_AT: i64 = 300;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    None,
    Lose,
    Double,
    Reorder,
    Change,
    /// No lie: a definite refusal.
    Refuse,
    /// No lie: a written batch is said to have timed out.
    TimeOut,
    /// The same, and it is refused when it is sent again.
    Disown,
    /// No lie: the last partition has no leader at times.
    Waver,
    /// No lie: a batch at a time is handed out.
    Slow,
    /// No lie: from some offset on nothing is handed out.
    Stuck,
}

/// A partition of the one topic.
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
    /// Written, and said to have timed out.
    disowned: Vec<Bytes>,
    fetches: u64,
}

impl Log {
    fn keeping(keeps: i64) -> Log {
        Log {
            batches: Vec::new(),
            start: 0,
            end: 0,
            keeps,
            sequences: HashMap::new(),
            producer_ids: 0,
            count: 0,
            exists: false,
            held: None,
            disowned: Vec::new(),
            fetches: 0,
        }
    }

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

    /// What becomes of a batch whose answer is late.
    fn time_out(&mut self, batch: &Bytes, lie: Lie) -> ErrorCode {
        if lie == Lie::Disown && self.disowned.contains(batch) {
            return ErrorCode::MessageTooLarge;
        }
        self.count += 1;
        if !self.count.is_multiple_of(LIE_EVERY) {
            return ErrorCode::None;
        }
        self.append(batch);
        self.disowned.push(batch.clone());
        ErrorCode::RequestTimedOut
    }

    /// Writes a batch as an honest broker would, but for the lie whose turn it is.
    fn take(&mut self, batch: &Bytes, lie: Lie) -> i64 {
        self.count += 1;
        let lies = self.count.is_multiple_of(LIE_EVERY);
        // Behind the next one of its producer: among batches of others there is no order.
        if let Some(held) = self.held.take_if(|held| is_of_same_producer(held, batch)) {
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
            Lie::Reorder if lies && self.held.is_none() => {
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

fn is_of_same_producer(one: &Bytes, other: &Bytes) -> bool {
    let producer = |batch| BatchHeader::of(batch).map(|header| header.producer_id());
    producer(one) == producer(other)
}

struct Liar {
    /// The brokers: each leads the partitions whose turn it is.
    addresses: Vec<SocketAddr>,
    lie: Lie,
    logs: Vec<Mutex<Log>>,
}

fn serve(lie: Lie, keeps: i64) -> SocketAddr {
    serve_all(lie, keeps, (1, 1)).addresses[0]
}

/// So many brokers with so many partitions.
fn serve_all(lie: Lie, keeps: i64, (brokers, partitions): (usize, usize)) -> Arc<Liar> {
    let listen = |_| TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listeners: Vec<TcpListener> = (0..brokers).map(listen).collect();
    let addresses = listeners.iter().map(|listener| listener.local_addr());
    let addresses: Result<Vec<SocketAddr>, _> = addresses.collect();
    let liar = Arc::new(Liar {
        addresses: addresses.expect("they have one"),
        lie,
        logs: (0..partitions)
            .map(|_| Mutex::new(Log::keeping(keeps)))
            .collect(),
    });
    for (number, listener) in listeners.into_iter().enumerate() {
        let liar = Arc::clone(&liar);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let liar = Arc::clone(&liar);
                // A client that goes away is not the broker's concern.
                thread::spawn(move || liar.answer_all(number, stream).unwrap_or_default());
            }
        });
    }
    liar
}

impl Liar {
    /// A partition, if that broker leads it.
    fn led(&self, broker: usize, partition: i32) -> Option<MutexGuard<'_, Log>> {
        let index = usize::try_from(partition).expect("partitions count from 0");
        let is_led = index % self.addresses.len() == broker;
        is_led.then(|| self.logs[index].lock().expect("no panic"))
    }

    fn answer_all(&self, broker: usize, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let mut size = [0; 4];
            stream.read_exact(&mut size)?;
            let mut frame = vec![0; i32::from_be_bytes(size) as usize];
            stream.read_exact(&mut frame)?;
            let request = parse_request(&frame.into()).expect("the driver speaks Kafka");
            for part in self.answer(broker, &request) {
                stream.write_all(&part)?;
            }
        }
    }

    fn answer(&self, broker: usize, request: &Request) -> Vec<Bytes> {
        let (body, version) = (&request.body, request.header.version);
        let id = request.header.correlation_id;
        match request.header.api.key {
            ApiKey::Produce => {
                let produce = ProduceRequest::parse(body, version).expect("it is one");
                let produced = self.produce(broker, produce);
                vec![produced.encode(version, id).expect("it fits")]
            }
            ApiKey::Fetch => {
                let fetch = FetchRequest::parse(body, version).expect("it is one");
                self.fetch(broker, fetch)
                    .encode(version, id)
                    .expect("it fits")
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
                let mut log = self.logs[0].lock().expect("no panic");
                log.producer_ids += 1;
                // One epoch is left: then the driver has to ask again.
                let identity = InitProducerIdResponse::default()
                    .with_producer_id(log.producer_ids)
                    .with_producer_epoch(i16::MAX - 1);
                encoded(request, &identity)
            }
            ApiKey::CreateTopics => {
                // A topic is made once.
                let exists = &mut self.logs[0].lock().expect("no panic").exists;
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

    fn produce(&self, broker: usize, request: ProduceRequest) -> ProduceResponse {
        let topics = request.topics.into_iter().map(|topic| TopicResponse {
            topic: topic.topic,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| {
                    let batch = partition.records.as_ref().expect("it has records");
                    let index = partition.index;
                    let Some(mut log) = self.led(broker, index) else {
                        return PartitionResponse::failed(index, ErrorCode::NotLeaderOrFollower);
                    };
                    let code = match self.lie {
                        Lie::Refuse => log.check(batch),
                        lie @ (Lie::TimeOut | Lie::Disown) => log.time_out(batch, lie),
                        _ => ErrorCode::None,
                    };
                    match code {
                        ErrorCode::None => {
                            let base = match self.lie {
                                Lie::Refuse | Lie::TimeOut | Lie::Disown => log.append(batch),
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

    fn fetch(&self, broker: usize, request: FetchRequest) -> FetchResponse {
        // Nobody is to spin: the driver asks again at once.
        thread::sleep(Duration::from_millis(5));
        let topics = request.topics.into_iter().map(|topic| FetchedTopic {
            topic: topic.topic,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| {
                    let Some(mut log) = self.led(broker, partition.index) else {
                        return Fetched::empty(partition.index, ErrorCode::NotLeaderOrFollower);
                    };
                    log.fetches += 1;
                    let is_last = partition.index + 1 == self.logs.len() as i32;
                    if self.lie == Lie::Waver && is_last && log.fetches.is_multiple_of(10) {
                        return Fetched::empty(partition.index, ErrorCode::NotLeaderOrFollower);
                    }
                    let outside = partition.fetch_offset < log.start;
                    if outside || partition.fetch_offset > log.end {
                        // Kafka says no more than that.
                        return Fetched::empty(partition.index, ErrorCode::OffsetOutOfRange);
                    }
                    let behind = |batch: &&(i64, i64, Bytes)| batch.1 > partition.fetch_offset;
                    let (count, until) = match self.lie {
                        Lie::Slow => (1, i64::MAX),
                        Lie::Stuck => (50, STUCK_AT),
                        _ => (50, i64::MAX),
                    };
                    let found = log.batches.iter().filter(behind).take(count);
                    let found = found.filter(|(base, ..)| *base < until);
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
        let node = |number: usize| (number % self.addresses.len()) as i32 + 1;
        let partition = |index: usize| {
            MetadataResponsePartition::default()
                .with_partition_index(index as i32)
                .with_leader_id(node(index))
                .with_replica_nodes(vec![node(index)])
                .with_isr_nodes(vec![node(index)])
        };
        let partitions: Vec<_> = (0..self.logs.len()).map(partition).collect();
        let topics = request.topics.iter().flatten().map(|topic| {
            MetadataResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.clone())
        });
        let brokers = self.addresses.iter().enumerate().map(|(number, address)| {
            MetadataResponseBroker::default()
                .with_node_id(node(number))
                .with_host(KafkaString::from(address.ip().to_string()))
                .with_port(address.port().into())
        });
        MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_controller_id(1)
            .with_topics(topics.collect())
    }

    fn offsets(&self, request: ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let log = self.logs[index as usize].lock().expect("no panic");
                let offset = match partition.timestamp {
                    -2 => log.start,
                    _ => log.end,
                };
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(index)
                    .with_offset(offset)
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
    let idempotence = match lie {
        // What is held back is known by its producer's id.
        Lie::Refuse | Lie::Reorder => "",
        _ => "--not-idempotent",
    };
    let flags = format!(
        "--duration 2s --drain 5s --rate 1000 --producers 2 --consumers 1 --partitions 1 \
         {idempotence} --json"
    );
    asked("verify", &serve(lie, keeps), &flags)
}

/// What the program says about a broker, as JSON.
fn asked(command: &str, address: &SocketAddr, flags: &str) -> (Output, Value) {
    let output = Command::new(PROGRAM)
        .args([command, "--broker", &address.to_string()])
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

#[test]
fn a_partition_with_an_error_makes_no_consumer_skip_the_others() {
    let address = serve_all(Lie::Waver, i64::MAX, (1, 2)).addresses[0];
    let flags = "--duration 2s --drain 5s --rate 1000 --producers 2 --consumers 1 --partitions 2 \
                 --not-idempotent --json";
    let (output, verified) = asked("verify", &address, flags);
    assert!(output.status.success(), "{verified:#}");
    assert_eq!(count(&verified, "seen"), 2_000, "{verified:#}");
}

#[test]
fn one_connection_each_way_reaches_the_partitions_of_all_brokers() {
    let brokers = serve_all(Lie::None, i64::MAX, (2, 4));
    let flags = "--duration 2s --drain 5s --rate 1000 --producers 1 --consumers 1 --partitions 4 \
                 --not-idempotent --json";
    let (output, verified) = asked("verify", &brokers.addresses[0], flags);
    assert!(output.status.success(), "{verified:#}");
    assert_eq!(count(&verified, "seen"), 2_000, "{verified:#}");
    let ends = brokers
        .logs
        .iter()
        .map(|log| log.lock().expect("no panic").end);
    let ends: Vec<i64> = ends.collect();
    assert!(ends.iter().all(|end| *end > 200), "{ends:?}");
}

#[test]
fn a_slow_reader_comes_to_the_end_as_long_as_it_comes_on() {
    let address = serve(Lie::Slow, i64::MAX);
    let flags = "--duration 2s --drain 1s --rate 1000 --producers 10 --consumers 0 \
                 --partitions 1 --not-idempotent --json";
    let (output, verified) = asked("verify", &address, flags);
    assert!(output.status.success(), "{verified:#}");
    assert_eq!(count(&verified, "seen"), 2_000, "{verified:#}");
}

#[test]
fn what_was_not_read_in_time_is_not_lost() {
    let flags = "--duration 1s --drain 1s --rate 1000 --producers 1 --consumers 1 --partitions 1 \
                 --json";
    let stuck = serve(Lie::Stuck, i64::MAX);
    let (output, verified) = asked("verify", &stuck, &format!("{flags} --not-idempotent"));
    assert!(!output.status.success(), "{verified:#}");
    let counts = ["lost", "unseen"].map(|anomaly| count(&verified, anomaly));
    assert_eq!(counts, [0, 0], "{verified:#}");
    assert!(count(&verified, "unread") > 0, "{verified:#}");

    let stuck = serve(Lie::Stuck, i64::MAX);
    let (output, outcome) = asked("run", &stuck, &format!("{flags} --warm-up 0s"));
    assert!(output.status.success(), "{outcome:#}");
    let consumed = &outcome["consumed"];
    let (found, latency) = (&consumed["verification"], &consumed["end_to_end"]);
    assert_eq!(found["lost"], 0, "{outcome:#}");
    assert_eq!(found["unread"], 1_000 - STUCK_AT, "{outcome:#}");
    // They count as read when the waiting was over.
    assert_eq!(latency["count"], 1_000, "{latency:#}");
    assert!(
        latency["p99_ns"].as_u64() >= Some(990_000_000),
        "{latency:#}"
    );
    assert!(
        outcome["warnings"]
            .to_string()
            .contains("were not read within the drain time")
    );
}

#[test]
fn a_batch_that_may_have_been_written_is_not_refused_by_a_later_answer() {
    let (output, verified) = verify(Lie::Disown, i64::MAX);
    assert!(output.status.success(), "{verified:#}");
    assert!(count(&verified, "unknown") > 0, "{verified:#}");
    assert_eq!(count(&verified, "refused"), 0, "{verified:#}");
}

#[test]
fn what_is_sent_again_without_idempotence_may_be_there_twice() {
    let address = serve(Lie::TimeOut, i64::MAX);
    let flags = "--rate 300 --producers 2 --consumers 1 --warm-up 0s --duration 2s --json";
    let (output, outcome) = asked("run", &address, flags);
    assert!(output.status.success(), "{outcome:#}");
    assert!(
        outcome["produced"]["resent"].as_u64() > Some(5),
        "{outcome:#}"
    );
    assert_eq!(
        outcome["consumed"]["verification"]["lost"], 0,
        "{outcome:#}"
    );
}
