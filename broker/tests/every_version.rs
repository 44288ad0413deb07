//! Every API in every version that ApiVersions names gets an answer from a real broker.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use bytes::Bytes;
use running::{Broker, frames::frame_of};
use spate_net::kafka::{header::parse_response, versions::served};

mod running;

#[test]
fn every_version_of_every_api_is_answered() {
    let broker = Broker::start();
    for range in served() {
        for version in range.min..=range.max {
            let mut stream = TcpStream::connect(broker.address).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            stream.write_all(&frame_of(range.key, version)).unwrap();
            let mut size = [0; 4];
            let answered = stream.read_exact(&mut size);
            assert!(answered.is_ok(), "{:?} v{version}: {answered:?}", range.key);
            let mut body = vec![0; u32::from_be_bytes(size) as usize];
            stream.read_exact(&mut body).unwrap();
            let (correlation_id, _) = parse_response(range, version, &Bytes::from(body)).unwrap();
            assert_eq!(correlation_id, 1, "{:?} v{version}", range.key);
        }
    }
    // Files for the records are made ready in the background; give that time to fail.
    std::thread::sleep(Duration::from_millis(500));
    let log = broker.log.lock().unwrap();
    let complaints: Vec<_> = log
        .lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
