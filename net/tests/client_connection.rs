//! The client's connection against brokers that this test plays: old ones, confused ones, dead
//! ones.

#![allow(clippy::unwrap_used, reason = "a test may end by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use spate_net::client::{ClientError, Connection, ConnectionSettings};
use spate_net::frame::{FrameLimits, FrameReader, Unplanned, read_frame};
use spate_net::kafka::api::api_versions::{self, ApiVersion, ApiVersionsResponse};
use spate_net::kafka::api::init_producer_id::InitProducerIdRequest;
use spate_net::kafka::error::ErrorCode;
use spate_net::kafka::header::encode_response;
use spate_net::kafka::versions::ApiKey;
use spate_net::reactor::{Reactor, ReactorConfig, TcpListener, TcpStream, spawn};

/// What a played broker does with a request: its number of arrival, key, version and correlation
/// id give the frames to send back.
type Script = fn(usize, i16, i16, i32) -> Vec<Bytes>;

/// A broker that follows a script; it hangs up after a request that the script answers with
/// an empty frame.
fn play(script: Script) -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
    let address = listener.local_addr().unwrap();
    spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut reader = FrameReader::new(FrameLimits::default());
        for number in 0.. {
            let Ok(Some(frame)) = read_frame(&stream, &mut reader, &Unplanned).await else {
                return;
            };
            if !answer(&stream, script, number, &frame.bytes).await {
                return stream.shutdown();
            }
        }
    })
    .detach();
    address
}

async fn answer(stream: &TcpStream, script: Script, number: usize, frame: &Bytes) -> bool {
    let short = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
    let correlation_id = i32::from_be_bytes(frame[4..8].try_into().unwrap());
    let frames = script(number, short(0), short(2), correlation_id);
    let hangs_up = frames.iter().any(Bytes::is_empty);
    let _ = stream.send(frames).await;
    !hangs_up
}

/// An ApiVersions answer in the version that was asked, or version 0 if the script says so.
fn versions(version: i16, correlation_id: i32, code: ErrorCode, max: i16) -> Bytes {
    let keys = [(ApiKey::ApiVersions, max), (ApiKey::InitProducerId, 1)];
    let keys = keys.map(|(key, max)| {
        ApiVersion::default()
            .with_api_key(key as i16)
            .with_max_version(max)
    });
    let response = ApiVersionsResponse::default()
        .with_error_code(code.code())
        .with_api_keys(keys.to_vec());
    encode_response(&api_versions::RANGE, version, correlation_id, &response).unwrap()
}

/// A bare answer: correlation id, throttle time, no error, producer id 7, epoch 1.
fn producer_id(correlation_id: i32) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(20);
    frame.put_i32(correlation_id);
    frame.put_i32(0);
    frame.put_i16(0);
    frame.put_i64(7);
    frame.put_i16(1);
    frame.freeze()
}

fn settings() -> ConnectionSettings {
    ConnectionSettings {
        request_timeout: Duration::from_millis(300),
        ..Default::default()
    }
}

fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    Reactor::new(&ReactorConfig::default())
        .unwrap()
        .block_on(async { test().await });
}

#[test]
fn an_older_broker_is_asked_again_in_its_version() {
    run(|| async {
        let broker = play(|number, key, version, id| match (number, key, version) {
            (0, 18, 4) => vec![versions(0, id, ErrorCode::UnsupportedVersion, 2)],
            (1, 18, 2) => vec![versions(2, id, ErrorCode::None, 2)],
            (2, 22, 1) => vec![producer_id(id)],
            unexpected => panic!("{unexpected:?}"),
        });
        let connection = Connection::connect(broker, settings()).await.unwrap();
        let response = connection
            .call(&InitProducerIdRequest::default())
            .await
            .unwrap();
        assert_eq!((response.producer_id, response.producer_epoch), (7, 1));
    });
}

#[test]
fn many_requests_are_under_way_at_once_and_keep_their_order() {
    run(|| async {
        let broker = play(|_, key, version, id| match key {
            18 => vec![versions(version, id, ErrorCode::None, 4)],
            _ => vec![producer_id(id)],
        });
        let connection = Connection::connect(broker, settings()).await.unwrap();
        let request = InitProducerIdRequest::default();
        let replies: Vec<_> = (0..500)
            .map(|_| connection.request(1, &request).unwrap())
            .collect();
        assert_eq!(connection.in_flight(), 500);
        let mut last = None;
        for reply in replies {
            let frame = reply.await.unwrap();
            let id = i32::from_be_bytes(frame[..4].try_into().unwrap());
            assert!(last.is_none_or(|last| last + 1 == id));
            last = Some(id);
        }
    });
}

#[test]
fn a_wrong_correlation_id_ends_the_connection() {
    run(|| async {
        let broker = play(|_, key, version, id| match key {
            18 => vec![versions(version, id, ErrorCode::None, 4)],
            _ => vec![producer_id(id + 1)],
        });
        let connection = Connection::connect(broker, settings()).await.unwrap();
        let request = InitProducerIdRequest::default();
        let second = connection.request(1, &request).unwrap();
        let error = connection.call(&request).await.unwrap_err();
        assert!(matches!(error, ClientError::Closed { .. }), "{error}");
        assert!(second.await.is_err());
        assert!(connection.failure().unwrap().contains("correlation id"));
    });
}

#[test]
fn a_broker_that_hangs_up_fails_all_that_wait() {
    run(|| async {
        let broker = play(|_, key, version, id| match key {
            18 => vec![versions(version, id, ErrorCode::None, 4)],
            _ => vec![Bytes::new()],
        });
        let connection = Connection::connect(broker, settings()).await.unwrap();
        let request = InitProducerIdRequest::default();
        let replies = [0, 1, 2].map(|_| connection.request(1, &request).unwrap());
        for reply in replies {
            assert!(matches!(reply.await, Err(ClientError::Closed { .. })));
        }
        assert!(connection.request(1, &request).is_err());
    });
}

#[test]
fn a_silent_broker_is_given_up() {
    run(|| async {
        let broker = play(|_, _, _, _| Vec::new());
        let error = Connection::connect(broker, settings()).await.unwrap_err();
        assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
        assert!(error.is_retriable());
    });
}

#[test]
fn an_api_that_the_broker_lacks_is_an_error_of_its_own() {
    run(|| async {
        let broker = play(|_, _, version, id| vec![versions(version, id, ErrorCode::None, 4)]);
        let connection = Connection::connect(broker, settings()).await.unwrap();
        let request = spate_net::kafka::api::metadata::MetadataRequest::default();
        let error = connection.call(&request).await.unwrap_err();
        assert!(
            matches!(error, ClientError::Version { min: -1, .. }),
            "{error}"
        );
    });
}
