//! Hostile frames against a real broker: requests mutated from real ones, and pure noise.
//!
//! The broker must answer or close, never panic, never take more memory than planned, and serve
//! everybody else all the while. `SPATE_FUZZ_FRAMES` (default 30,000) and `SPATE_FUZZ_SEED` choose
//! how much and which; a failure prints the seed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use bytes::Bytes;
use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};
use spate_net::kafka::{
    api::{
        TopicRef,
        create_topics::{CreatableTopic, CreateTopicsRequest},
        fetch::{FetchPartition, FetchRequest, FetchTopic},
        list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic},
        metadata::{MetadataRequest, MetadataRequestTopic},
        produce::{PartitionData, ProduceRequest, TopicData},
    },
    header::{encode_request, parse_response},
    record_batch::{BatchBuilder, Codec, NewRecord},
    versions::{ApiKey, range_of, served},
};

/// Frames sent on one connection before it is closed.
const FRAMES_PER_CONNECTION: usize = 32;

/// What the broker below may take for requests, open blocks, cache and answers, over both shards.
const PLANNED_BYTES: usize = 2 * 4 * (16 << 20);

/// Code, stacks, rings, metadata and the allocator's slack come on top of the plan.
const UNPLANNED_BYTES: usize = 96 << 20;

struct Broker {
    process: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    _data: tempfile::TempDir,
}

impl Broker {
    fn start() -> Broker {
        let data = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = Command::new(env!("CARGO_BIN_EXE_spate"));
        command.args([
            "serve",
            "--shards",
            "2",
            "--listen",
            &address.to_string(),
            "--data",
        ]);
        command.arg(data.path());
        for purpose in ["receive", "open", "cache", "fetch"] {
            command
                .arg("--set")
                .arg(format!("memory.{purpose}.bytes={}", 16 << 20));
        }
        command.args([
            "--set",
            "socket.request.max.bytes=8388608",
            "--set",
            "journal.bytes=16777216",
        ]);
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        collect(process.stderr.take().unwrap(), Arc::clone(&log));
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let is_ready = lines.any(|line| line.unwrap().starts_with("ready"));
        assert!(
            is_ready,
            "the broker did not start: {}",
            log.lock().unwrap()
        );
        thread::spawn(move || lines.for_each(drop));
        Broker {
            process,
            address,
            log,
            _data: data,
        }
    }

    fn resident_bytes(&self) -> usize {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib << 10
    }

    /// A metadata request as any client sends it.
    fn answers_others(&self) -> bool {
        let frame = encode_request(
            range_of(ApiKey::Metadata as i16).unwrap(),
            9,
            77,
            Some("bystander"),
            &MetadataRequest::default(),
        )
        .unwrap();
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(&frame).unwrap();
        let mut size = [0; 4];
        stream.read_exact(&mut size).unwrap();
        let mut body = vec![0; u32::from_be_bytes(size) as usize];
        stream.read_exact(&mut body).unwrap();
        let range = range_of(ApiKey::Metadata as i16).unwrap();
        parse_response(range, 9, &Bytes::from(body)).unwrap().0 == 77
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn collect(stream: impl Read + Send + 'static, log: Arc<Mutex<String>>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

/// Sound frames of every served API in every version, some with content.
fn corpus() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for range in served() {
        for version in range.min..=range.max {
            frames.push(frame_of(range.key, version));
        }
    }
    frames
}

fn frame_of(key: ApiKey, version: i16) -> Vec<u8> {
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

fn with_size(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

/// A frame as a broken or hostile client would send it.
fn hostile(corpus: &[Vec<u8>], random: &mut SmallRng) -> Vec<u8> {
    if random.random_ratio(1, 10) {
        let mut noise = vec![0; random.random_range(0..200)];
        random.fill_bytes(&mut noise);
        return with_size(&noise);
    }
    let mut body = corpus[random.random_range(0..corpus.len())][4..].to_vec();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..body.len());
        match random.random_range(0..5) {
            0 => body[at] ^= 1 << random.random_range(0..8),
            1 => body[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
            2 if at + 4 <= body.len() => {
                let extreme = [i32::MAX, i32::MIN, -1, 0, 0x00ff_ffff][random.random_range(0..5)];
                body[at..at + 4].copy_from_slice(&extreme.to_be_bytes());
            }
            3 => body.truncate(at.max(1)),
            _ => body.insert(at, random.random()),
        }
    }
    let mut frame = with_size(&body);
    if random.random_ratio(1, 50) {
        let size = [0, 1, -1, i32::MAX, i32::MIN, 9 << 20][random.random_range(0..6)];
        frame[..4].copy_from_slice(&size.to_be_bytes());
    }
    frame
}

/// Sends frames on one connection, then says so and reads until the broker closes its side.
fn attack(address: SocketAddr, frames: &[Vec<u8>]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    for frame in frames {
        if stream.write_all(frame).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut sink = Vec::new();
    match stream.read_to_end(&mut sink) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("the broker neither answered nor closed within 30 s");
        }
        // A reset: the broker closed with our bytes unread.
        Err(_) => {}
    }
}

#[test]
fn hostile_frames_harm_nobody() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .map_or(default, |text| text.parse().unwrap())
    };
    let frames = number("SPATE_FUZZ_FRAMES", 30_000) as usize;
    let seed = number("SPATE_FUZZ_SEED", 1);
    println!("SPATE_FUZZ_FRAMES={frames} SPATE_FUZZ_SEED={seed}");
    let mut broker = Broker::start();
    let corpus = corpus();
    let mut random = SmallRng::seed_from_u64(seed);
    let mut sent = 0;
    while sent < frames {
        let some: Vec<_> = (0..FRAMES_PER_CONNECTION)
            .map(|_| hostile(&corpus, &mut random))
            .collect();
        attack(broker.address, &some);
        sent += some.len();
        if sent % (FRAMES_PER_CONNECTION * 256) == 0 {
            assert!(broker.answers_others(), "after {sent} frames");
        }
    }
    assert!(broker.answers_others());
    assert!(
        broker.process.try_wait().unwrap().is_none(),
        "the broker has ended"
    );
    let resident = broker.resident_bytes();
    assert!(
        resident <= PLANNED_BYTES + UNPLANNED_BYTES,
        "{resident} bytes resident at the peak"
    );
    let log = broker.log.lock().unwrap();
    assert!(!log.contains("panicked"), "{log}");
}
