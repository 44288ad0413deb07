//! A real broker process for a test, and the frames that tests send to it.

#![allow(dead_code, reason = "each test uses its part")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use bytes::Bytes;
use spate_net::kafka::{
    api::metadata::MetadataRequest,
    header::{encode_request, parse_response},
    versions::{ApiKey, range_of},
};

pub mod frames;
mod group_frames;

/// A broker that ends with its owner.
pub struct Broker {
    pub process: Child,
    pub address: SocketAddr,
    pub log: Arc<Mutex<String>>,
    _data: tempfile::TempDir,
}

impl Broker {
    pub fn start() -> Broker {
        Broker::start_in(tempfile::tempdir().unwrap(), &[])
    }

    /// A broker whose data directory is `spate-data` in this folder, with these settings.
    pub fn start_in(data: tempfile::TempDir, settings: &[&str]) -> Broker {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = Command::new(env!("CARGO_BIN_EXE_spate"));
        // The default data directory is a relative one, which not every part of a broker can take.
        command.current_dir(data.path()).args([
            "serve",
            "--shards",
            "2",
            "--listen",
            &address.to_string(),
        ]);
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
            "--set",
            "metrics.listen=",
        ]);
        for setting in settings {
            command.args(["--set", setting]);
        }
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

    pub fn resident_bytes(&self) -> usize {
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
    pub fn answers_others(&self) -> bool {
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
