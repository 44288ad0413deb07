//! Sockets of the reactor, on both backends.

use std::{rc::Rc, time::Duration};

use crate::both::{loopback, on_both, pattern};
use bytes::{Bytes, BytesMut};
use spate_net::reactor::{
    Backend, Notify, TcpListener, TcpStream, counters, now, sleep, spawn, timeout,
};

const SOON: Duration = Duration::from_secs(20);

/// Sends back whatever comes until the peer closes.
async fn echo(stream: TcpStream) {
    loop {
        let Ok(chunk) = stream.receive().await else {
            return;
        };
        if chunk.is_empty() {
            return;
        }
        let answer = Bytes::copy_from_slice(&chunk);
        drop(chunk);
        if stream.send(vec![answer]).await.is_err() {
            return;
        }
    }
}

async fn echo_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind(loopback(), false).unwrap();
    let address = listener.local_addr().unwrap();
    spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            drop(spawn(echo(stream)));
        }
    })
    .detach();
    address
}

async fn receive_exactly(stream: &TcpStream, len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < len {
        let chunk = stream.receive().await.unwrap();
        assert!(
            !chunk.is_empty(),
            "the stream ended after {} of {len} bytes",
            all.len()
        );
        all.extend_from_slice(&chunk);
    }
    assert_eq!(all.len(), len);
    all
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(loopback(), false).unwrap();
    let address = listener.local_addr().unwrap();
    let connecting = spawn(TcpStream::connect(address));
    let (accepted, _) = listener.accept().await.unwrap();
    (accepted, connecting.await.unwrap())
}

#[test]
fn many_connections_echo() {
    on_both(|reactor| {
        reactor.block_on(async {
            let address = echo_server().await;
            let clients: Vec<_> = (0..200u32)
                .map(|client| {
                    spawn(async move {
                        let stream = TcpStream::connect(address).await.unwrap();
                        for round in 0..20u32 {
                            let message = pattern(100 + 37 * round as usize, client * 31 + round);
                            stream
                                .send(vec![Bytes::from(message.clone())])
                                .await
                                .unwrap();
                            assert_eq!(receive_exactly(&stream, message.len()).await, message);
                        }
                    })
                })
                .collect();
            for client in clients {
                client.await;
            }
        });
    });
}

#[test]
fn large_frame_is_received_straight_into_its_buffer() {
    on_both(|reactor| {
        reactor.block_on(async {
            let (server, client) = pair().await;
            let body = pattern(5_000_000, 7);
            let after = pattern(3000, 8);
            let sent = Bytes::from([&body[..], &after[..]].concat());
            let sending = spawn(async move { client.send(vec![sent]).await.map(|()| client) });
            // The head comes through the shared buffers, the rest directly.
            let head = server.receive().await.unwrap();
            let mut buf = BytesMut::from(&head[..]);
            let head_len = head.len();
            drop(head);
            assert!(head_len < body.len());
            let (outcome, filled) = server.receive_into(buf.split(), body.len()).await;
            assert_eq!(outcome.unwrap(), body.len() - head_len);
            assert!(filled[..] == body[..], "bytes differ");
            assert_eq!(receive_exactly(&server, after.len()).await, after);
            let client = sending.await.unwrap();
            drop(client);
            assert!(server.receive().await.unwrap().is_empty());
            let (outcome, filled) = server.receive_into(BytesMut::new(), 10).await;
            assert_eq!((outcome.unwrap(), filled.len()), (0, 0));
        });
    });
}

/// The multishot receive used to take the next large frame apart while it was being stopped for the
/// last one: 17 completions for a frame of 128 KiB.
#[test]
fn large_frames_in_a_row_come_in_two_receives_each() {
    const FRAMES: usize = 20;
    const FRAME_BYTES: usize = 300_000;
    on_both(|reactor| {
        let is_ring = reactor.backend() == Backend::IoUring;
        reactor.block_on(async {
            let (server, client) = pair().await;
            let sending = spawn(async move {
                for n in 0..FRAMES {
                    let frame = pattern(FRAME_BYTES, n as u32);
                    client.send(vec![Bytes::from(frame)]).await.unwrap();
                }
                client
                    .send(vec![Bytes::from_static(b"small")])
                    .await
                    .unwrap();
                client
            });
            let before = counters();
            for n in 0..FRAMES {
                let mut frame = BytesMut::from(&server.receive().await.unwrap()[..]);
                let (outcome, filled) = server.receive_into(frame.split(), FRAME_BYTES).await;
                outcome.unwrap();
                assert!(
                    filled[..] == pattern(FRAME_BYTES, n as u32)[..],
                    "{n}: bytes differ"
                );
            }
            // A receive each for head and rest, a send, and what stopping the first multishot took.
            let completions = counters().completions - before.completions;
            assert!(
                !is_ring || completions < 4 * FRAMES as u64 + 80,
                "{completions}"
            );
            assert_eq!(receive_exactly(&server, 5).await, b"small");
            drop(sending.await);
            assert!(server.receive().await.unwrap().is_empty());
        });
    });
}

#[test]
fn receive_into_is_short_at_the_end_of_the_stream() {
    on_both(|reactor| {
        reactor.block_on(async {
            let (server, client) = pair().await;
            client.send(vec![Bytes::from_static(b"abc")]).await.unwrap();
            drop(client);
            let (outcome, buf) = server.receive_into(BytesMut::new(), 10).await;
            assert_eq!(outcome.unwrap(), 3);
            assert_eq!(&buf[..], b"abc");
        });
    });
}

#[test]
fn vectored_send_reaches_a_slow_reader_whole() {
    on_both(|reactor| {
        reactor.block_on(async {
            let (server, client) = pair().await;
            let pieces: Vec<Bytes> = (0..3000)
                .map(|n| Bytes::from(pattern(n % 3001, n as u32)))
                .collect();
            let expected = pieces.concat();
            let sending = spawn(async move { server.send(pieces).await });
            let mut all = Vec::new();
            while all.len() < expected.len() {
                if all.len() < 1_000_000 {
                    sleep(Duration::from_millis(1)).await;
                }
                let chunk = client.receive().await.unwrap();
                assert!(!chunk.is_empty());
                all.extend_from_slice(&chunk);
            }
            assert!(all == expected, "bytes differ");
            sending.await.unwrap();
        });
    });
}

#[test]
fn stalled_readers_do_not_starve_others() {
    on_both(|reactor| {
        reactor.block_on(async {
            let mut stalled = Vec::new();
            for _ in 0..40 {
                let (server, client) = pair().await;
                // One read arms the multishot; nobody reads after it.
                client.send(vec![Bytes::from_static(b"x")]).await.unwrap();
                assert_eq!(receive_exactly(&server, 1).await, b"x");
                let flood = Bytes::from(vec![1; 4 << 20]);
                let flooding = client.clone();
                spawn(async move {
                    let _ = flooding.send(vec![flood]).await;
                })
                .detach();
                stalled.push((server, client));
            }
            let address = echo_server().await;
            let stream = TcpStream::connect(address).await.unwrap();
            for _ in 0..50 {
                stream
                    .send(vec![Bytes::from_static(b"hello")])
                    .await
                    .unwrap();
                let answer = timeout(SOON, receive_exactly(&stream, 5)).await.unwrap();
                assert_eq!(answer, b"hello");
            }
            // And none of the flood is lost.
            let (server, _client) = &stalled[7];
            let (outcome, _) = server.receive_into(BytesMut::new(), 4 << 20).await;
            assert_eq!(outcome.unwrap(), 4 << 20);
        });
    });
}

#[test]
fn closed_notices_the_peer_while_nobody_reads() {
    on_both(|reactor| {
        reactor.block_on(async {
            // Without any read before, with the receive armed, and with its queue full (by what
            // still fits the window: a FIN behind more would not even arrive).
            for case in ["fresh", "armed", "full"] {
                let (server, client) = pair().await;
                if case != "fresh" {
                    client.send(vec![Bytes::from_static(b"x")]).await.unwrap();
                    assert_eq!(receive_exactly(&server, 1).await, b"x");
                }
                if case == "full" {
                    client
                        .send(vec![Bytes::from(vec![2; 60_000])])
                        .await
                        .unwrap();
                }
                let gone = timeout(Duration::from_millis(50), server.closed()).await;
                assert!(gone.is_err(), "{case}: the peer is still there");
                drop(client);
                timeout(SOON, server.closed())
                    .await
                    .unwrap_or_else(|_| panic!("{case}"));
            }
        });
    });
}

#[test]
fn shutdown_ends_pending_operations() {
    on_both(|reactor| {
        reactor.block_on(async {
            let (server, client) = pair().await;
            let reading = server.clone();
            let reader = spawn(async move { reading.receive().await.map(|chunk| chunk.len()) });
            let writing = server.clone();
            let big = Bytes::from(vec![0; 64 << 20]);
            let writer = spawn(async move { writing.send(vec![big]).await });
            sleep(Duration::from_millis(20)).await;
            server.shutdown();
            assert_eq!(timeout(SOON, reader).await.unwrap().unwrap_or(0), 0);
            assert!(timeout(SOON, writer).await.unwrap().is_err());
            drop(client);
        });
    });
}

#[test]
fn failed_connect_is_an_error() {
    on_both(|reactor| {
        reactor.block_on(async {
            let listener = TcpListener::bind(loopback(), false).unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            // The listener is let go of once its accept has been cancelled.
            sleep(Duration::from_millis(20)).await;
            let error = TcpStream::connect(address).await.err().unwrap();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        });
    });
}

#[test]
fn probe_bind_finds_a_taken_port() {
    on_both(|reactor| {
        reactor.block_on(async {
            let first = TcpListener::bind(loopback(), true).unwrap();
            let address = first.local_addr().unwrap();
            assert!(TcpListener::bind(address, false).is_err());
            let second = TcpListener::bind(address, true).unwrap();
            let served = Rc::new(Notify::new());
            for listener in [first, second] {
                let served = Rc::clone(&served);
                spawn(async move {
                    listener.accept().await.unwrap();
                    served.notify_one();
                })
                .detach();
            }
            let _stream = TcpStream::connect(address).await.unwrap();
            timeout(SOON, served.notified()).await.unwrap();
        });
    });
}

#[test]
fn steady_turns_enter_the_kernel_once() {
    on_both(|reactor| {
        reactor.block_on(async {
            let address = echo_server().await;
            let stream = TcpStream::connect(address).await.unwrap();
            let began = now();
            for _ in 0..1000 {
                stream
                    .send(vec![Bytes::from_static(b"ping")])
                    .await
                    .unwrap();
                receive_exactly(&stream, 4).await;
            }
            assert!(now() > began);
        });
        let counters = reactor.counters();
        assert!(counters.enters <= counters.turns, "{counters:?}");
        assert!(counters.completions > 1000, "{counters:?}");
    });
}

#[test]
fn flood_beyond_the_shared_buffers_loses_nothing() {
    on_both(|reactor| {
        reactor.block_on(async {
            let mut readers = Vec::new();
            for n in 0..6u32 {
                let (server, client) = pair().await;
                let sent = Bytes::from(pattern(3_000_000, n));
                let expected = sent.clone();
                spawn(async move { client.send(vec![sent]).await }).detach();
                readers.push(spawn(async move {
                    let all = receive_exactly(&server, expected.len()).await;
                    assert!(all[..] == expected[..], "bytes differ");
                }));
            }
            for reader in readers {
                timeout(SOON, reader).await.unwrap();
            }
        });
    });
}
