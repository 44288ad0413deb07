//! Frames of all lengths, from more streams than there are receive buffers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use spate_net::{
    frame::{FrameLimits, FrameReader, SMALL_FRAME_BYTES, Unplanned, read_frame},
    reactor::{TcpListener, TcpStream, sleep, spawn, timeout},
};

use crate::both::{loopback, on_both, pattern};

const STREAMS: u32 = 80;
const FRAMES: u32 = 20;
const SOON: Duration = Duration::from_secs(60);

/// Small ones in a row, large ones in a row, and each behind the other.
fn frame_bytes(stream: u32, n: u32) -> usize {
    let at = stream
        .wrapping_mul(31)
        .wrapping_add(n)
        .wrapping_mul(0x9e37_79b1)
        >> 16;
    match (n / 4 + stream) % 3 {
        0 => 1 + at as usize % 200,
        1 => SMALL_FRAME_BYTES - 100 + at as usize % 200,
        _ => at as usize * 2,
    }
}

async fn send(client: TcpStream, stream: u32) {
    for n in 0..FRAMES {
        let body = pattern(frame_bytes(stream, n), stream * FRAMES + n);
        let mut frame = BytesMut::from(&(body.len() as u32).to_be_bytes()[..]);
        frame.extend_from_slice(&body);
        let frame = frame.freeze();
        let cut = (stream * 7919 + n * 104_729) as usize % frame.len();
        client.send(vec![frame.slice(..cut)]).await.unwrap();
        if n % 5 == stream % 5 {
            sleep(Duration::from_millis(1)).await;
        }
        client.send(vec![frame.slice(cut..)]).await.unwrap();
    }
    client.shutdown();
}

async fn check(server: TcpStream, stream: u32) {
    let mut reader = FrameReader::new(FrameLimits::default());
    for n in 0..FRAMES {
        if n % 7 == stream % 7 {
            sleep(Duration::from_millis(2)).await;
        }
        let frame = read_frame(&server, &mut reader, &Unplanned).await.unwrap();
        let bytes: Bytes = frame.unwrap().bytes;
        let expected = pattern(frame_bytes(stream, n), stream * FRAMES + n);
        assert!(bytes[..] == expected[..], "frame {n} of stream {stream}");
    }
    let end = read_frame(&server, &mut reader, &Unplanned).await.unwrap();
    assert!(end.is_none(), "stream {stream} goes on");
}

#[test]
fn frames_of_all_lengths_arrive_whole() {
    on_both(|reactor| {
        reactor.block_on(async {
            let listener = TcpListener::bind(loopback(), false).unwrap();
            let address = listener.local_addr().unwrap();
            let mut work = Vec::new();
            for stream in 0..STREAMS {
                let client = TcpStream::connect(address).await.unwrap();
                let (server, _) = listener.accept().await.unwrap();
                work.push(spawn(send(client, stream)));
                work.push(spawn(check(server, stream)));
            }
            timeout(SOON, join_all(work)).await.unwrap();
        });
    });
}
