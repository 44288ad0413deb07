//! Frames over real sockets, on both backends: cut in every way, many at once, large, hostile,
//! slow.

#![allow(clippy::unwrap_used, reason = "a test may end by panicking")]

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use spate_net::frame::{
    Frame, FrameError, FrameLimits, FrameReader, Reserve, SMALL_FRAME_BYTES, Unplanned, read_frame,
};
use spate_net::reactor::{
    Reactor, ReactorChoice, ReactorConfig, TcpListener, TcpStream, sleep, spawn,
};

/// Runs a test on each backend that the kernel offers.
fn on_each_backend<F: Future>(mut test: impl FnMut() -> F) {
    for choice in [ReactorChoice::Auto, ReactorChoice::Epoll] {
        let config = ReactorConfig {
            choice,
            ..ReactorConfig::default()
        };
        Reactor::new(&config).unwrap().block_on(test());
    }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
    let address = listener.local_addr().unwrap();
    let connecting = spawn(async move { TcpStream::connect(address).await.unwrap() });
    let (accepted, _) = listener.accept().await.unwrap();
    (connecting.await, accepted)
}

fn framed(contents: &[Vec<u8>]) -> Bytes {
    let mut stream = BytesMut::new();
    for content in contents {
        stream.put_i32(content.len() as i32);
        stream.put_slice(content);
    }
    stream.freeze()
}

fn contents() -> Vec<Vec<u8>> {
    let lengths = [
        0,
        1,
        100,
        5000,
        SMALL_FRAME_BYTES,
        SMALL_FRAME_BYTES + 1,
        3,
        700_000,
        8,
        40_000,
    ];
    let content = |(index, length): (usize, &usize)| vec![index as u8; *length];
    lengths.iter().enumerate().map(content).collect()
}

async fn next(stream: &TcpStream, reader: &mut FrameReader) -> Result<Option<Bytes>, FrameError> {
    let frame = read_frame(stream, reader, &Unplanned).await?;
    Ok(frame.map(|frame: Frame<()>| frame.bytes))
}

#[test]
fn frames_arrive_whole_however_the_stream_is_cut() {
    for piece_bytes in [usize::MAX, 70_000, 4096, 1001] {
        on_each_backend(|| async {
            let (sender, receiver) = pair().await;
            let sending = spawn(async move {
                let mut rest = framed(&contents());
                while !rest.is_empty() {
                    let piece = rest.split_to(piece_bytes.min(rest.len()));
                    sender.send(vec![piece]).await.unwrap();
                }
            });
            let mut reader = FrameReader::new(FrameLimits::default());
            for content in contents() {
                let frame = next(&receiver, &mut reader).await.unwrap().unwrap();
                assert!(frame == content, "{} bytes", content.len());
            }
            sending.await;
            assert!(next(&receiver, &mut reader).await.unwrap().is_none());
        });
    }
}

#[test]
fn single_bytes_make_a_frame_too() {
    on_each_backend(|| async {
        let (sender, receiver) = pair().await;
        let stream = framed(&[vec![1, 2, 3]]);
        spawn(async move {
            for position in 0..stream.len() {
                sender
                    .send(vec![stream.slice(position..=position)])
                    .await
                    .unwrap();
                sleep(Duration::from_millis(1)).await;
            }
        })
        .detach();
        let mut reader = FrameReader::new(FrameLimits::default());
        assert_eq!(
            next(&receiver, &mut reader).await.unwrap().unwrap()[..],
            [1, 2, 3]
        );
    });
}

async fn first_error(bytes: &'static [u8], close: bool, limits: FrameLimits) -> FrameError {
    let (sender, receiver) = pair().await;
    sender.send(vec![Bytes::from_static(bytes)]).await.unwrap();
    let _open = (!close).then_some(sender);
    next(&receiver, &mut FrameReader::new(limits))
        .await
        .unwrap_err()
}

#[test]
fn impossible_sizes_are_refused_at_once() {
    on_each_backend(|| async {
        let limits = FrameLimits {
            frame_bytes: 1000,
            ..FrameLimits::default()
        };
        let error = first_error(b"\xff\xff\xff\xff", false, limits).await;
        assert!(
            matches!(error, FrameError::Negative { size: -1 }),
            "{error}"
        );
        let error = first_error(b"\x00\x00\x03\xe9abc", false, limits).await;
        assert!(
            matches!(
                error,
                FrameError::TooLarge {
                    size: 1001,
                    limit: 1000
                }
            ),
            "{error}"
        );
        let error = first_error(b"GET / HTTP/1.1", false, limits).await;
        assert!(matches!(error, FrameError::TooLarge { .. }), "{error}");
    });
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_an_error() {
    on_each_backend(|| async {
        let limits = FrameLimits::default();
        let error = first_error(b"\x00\x00", true, limits).await;
        assert!(
            matches!(error, FrameError::CutOff { missing: 2 }),
            "{error}"
        );
        let error = first_error(b"\x00\x00\x00\x05abc", true, limits).await;
        assert!(
            matches!(error, FrameError::CutOff { missing: 2 }),
            "{error}"
        );
        let error = first_error(b"\x00\x01\x00\x00abc", true, limits).await;
        assert!(
            matches!(error, FrameError::CutOff { missing: 65_533 }),
            "{error}"
        );
    });
}

#[test]
fn a_slow_sender_loses_the_connection() {
    on_each_backend(|| async {
        let patience = Duration::from_millis(40);
        let limits = FrameLimits {
            patience,
            ..FrameLimits::default()
        };
        for begun in [&b"\x00"[..], b"\x00\x00\x00\x05abc", b"\x00\x00\x90\x00abc"] {
            let error = first_error(begun, false, limits).await;
            assert!(matches!(error, FrameError::TooSlow { .. }), "{error}");
        }
    });
}

/// Counts what large frames ask for.
#[derive(Default)]
struct Plan(Cell<usize>);

impl Reserve for Plan {
    type Lease = usize;

    async fn reserve(&self, bytes: usize) -> usize {
        sleep(Duration::from_millis(2)).await;
        self.0.set(self.0.get() + bytes);
        bytes
    }
}

#[test]
fn large_frames_ask_for_memory_first() {
    on_each_backend(|| async {
        let (sender, receiver) = pair().await;
        // Longer than one step of the receiving.
        let size = (3 << 20) + 5;
        let large = vec![7; size];
        let stream = framed(&[vec![1; 10], large.clone(), vec![2; 10]]);
        spawn(async move { sender.send(vec![stream]).await.unwrap() }).detach();
        let mut reader = FrameReader::new(FrameLimits::default());
        let plan = Plan::default();
        let small = read_frame(&receiver, &mut reader, &plan)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((small.lease, plan.0.get()), (None, 0));
        let frame = read_frame(&receiver, &mut reader, &plan)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((frame.lease, plan.0.get()), (Some(size), size));
        assert!(frame.bytes == large);
        let small = read_frame(&receiver, &mut reader, &plan)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(small.bytes[..], [2; 10]);
    });
}
