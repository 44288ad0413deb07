//! Hostile frames against a real broker: requests mutated from real ones, and pure noise.
//!
//! The broker must answer or close, never panic, never take more memory than planned, and serve
//! everybody else all the while. `SPATE_FUZZ_FRAMES` (default 30,000) and `SPATE_FUZZ_SEED` choose
//! how much and which; a failure prints the seed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};
use running::{
    Broker,
    frames::{corpus, with_size},
};

mod running;

/// Frames sent on one connection at most. The first bad one ends it, so that with more the broker
/// would never see most of them.
const FRAMES_PER_CONNECTION: usize = 3;

/// How often somebody else looks whether they are served.
const FRAMES_BETWEEN_LOOKS: usize = 10_000;

/// What the broker below may take for requests, open blocks, cache and answers, over both shards.
const PLANNED_BYTES: usize = 2 * 4 * (16 << 20);

/// Code, stacks, rings, metadata and the allocator's slack come on top of the plan.
const UNPLANNED_BYTES: usize = 96 << 20;

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
    let mut looked_at = 0;
    while sent < frames {
        let count = random.random_range(1..=FRAMES_PER_CONNECTION);
        let some: Vec<_> = (0..count).map(|_| hostile(&corpus, &mut random)).collect();
        attack(broker.address, &some);
        sent += count;
        if sent - looked_at >= FRAMES_BETWEEN_LOOKS {
            looked_at = sent;
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
