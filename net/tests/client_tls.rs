//! The client's TLS against a peer of rustls that this test plays.

#![allow(clippy::unwrap_used, reason = "a test may end by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};
use spate_net::client::{Channel, Tls, TlsOptions};
use spate_net::reactor::{Reactor, ReactorConfig};

/// More than a session takes in at a time.
const AFTERWARDS_BYTES: usize = 64 << 10;

/// A peer that says a word, takes its leave, and sends more all the same.
fn play_a_peer_that_goes_on(certified: rcgen::CertifiedKey<rcgen::KeyPair>) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certified.cert.der().clone()],
            PrivateKeyDer::Pkcs8(key),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut session = ServerConnection::new(Arc::new(config)).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut socket).unwrap();
        }
        session.writer().write_all(b"word").unwrap();
        session.send_close_notify();
        let mut bytes = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut bytes).unwrap();
        }
        bytes.resize(bytes.len() + AFTERWARDS_BYTES, 7);
        socket.write_all(&bytes).unwrap();
        // Until the client has gone.
        let _ = socket.read_to_end(&mut Vec::new());
    });
    address
}

#[test]
fn bytes_after_the_end_of_a_session_are_not_waited_for() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), certified.cert.pem()).unwrap();
    let peer = play_a_peer_that_goes_on(certified);
    let tls = Tls::new(&TlsOptions {
        ca: Some(ca.path().to_owned()),
        ..TlsOptions::default()
    })
    .unwrap();
    let mut reactor = Reactor::new(&ReactorConfig::default()).unwrap();
    reactor.block_on(async move {
        let channel = Channel::connect(peer, Some("localhost"), Some(&tls)).await;
        let channel = channel.unwrap();
        let mut heard = Vec::new();
        loop {
            let chunk = channel.receive().await.unwrap();
            if chunk.is_empty() {
                break;
            }
            heard.extend_from_slice(&chunk);
        }
        assert_eq!(heard, b"word");
    });
}
