//! A TCP connection over loopback, by plain blocking calls: how long a message goes there and back,
//! and how many bytes go one way. No client of a broker on this machine is faster.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ProbeError;
use crate::histogram::{Latencies, Summary};

/// A small record with its request around it.
const MESSAGE_BYTES: usize = 256;
const CHUNK_BYTES: usize = 256 << 10;
/// Before measuring, as a part of its time: TCP's windows have grown then.
const WARM_UP_PART: u32 = 5;
/// Nobody answers that late on loopback: a thread that died must not hang the probe.
const PATIENCE: Duration = Duration::from_secs(10);

/// Loopback in numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Loopback {
    /// Of a small message, there and back, between two threads.
    pub round_trip: Summary,
    /// One way, with large writes.
    pub bytes_per_s: f64,
}

/// Measures both.
pub fn measure(duration: Duration) -> Result<Loopback, ProbeError> {
    let round_trip = round_trip(duration).map_err(ProbeError::io("a round trip over loopback"))?;
    let bytes_per_s = bandwidth(duration).map_err(ProbeError::io("bytes over loopback"))?;
    Ok(Loopback {
        round_trip,
        bytes_per_s,
    })
}

/// A connection, whose other end is served by a thread.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
    }
    Ok((near, far))
}

fn round_trip(duration: Duration) -> io::Result<Summary> {
    let (mut near, mut far) = pair()?;
    let echo = thread::spawn(move || -> io::Result<()> {
        let mut message = [0; MESSAGE_BYTES];
        loop {
            match far.read_exact(&mut message) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                read => read?,
            }
            far.write_all(&message)?;
        }
    });
    let mut latencies = Latencies::new();
    let mut message = [7; MESSAGE_BYTES];
    let from = Instant::now() + duration / WARM_UP_PART;
    let until = from + duration;
    loop {
        let sent = Instant::now();
        if sent >= until {
            break;
        }
        near.write_all(&message)?;
        near.read_exact(&mut message)?;
        if sent >= from {
            let nanos = u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX);
            latencies.record(nanos, 1);
        }
    }
    drop(near);
    joined(echo)?;
    Ok(latencies.summary())
}

fn bandwidth(duration: Duration) -> io::Result<f64> {
    let (mut near, mut far) = pair()?;
    let from = Instant::now() + duration / WARM_UP_PART;
    let until = from + duration;
    let receiver = thread::spawn(move || -> io::Result<u64> {
        let (mut chunk, mut counted) = (vec![0; CHUNK_BYTES], 0);
        loop {
            let read = far.read(&mut chunk)?;
            let now = Instant::now();
            if read == 0 {
                return Ok(counted);
            }
            if from <= now && now < until {
                counted += read as u64;
            }
        }
    });
    let chunk = vec![7; CHUNK_BYTES];
    while Instant::now() < until {
        near.write_all(&chunk)?;
    }
    drop(near);
    Ok(joined(receiver)? as f64 / duration.as_secs_f64())
}

fn joined<T>(thread: thread::JoinHandle<io::Result<T>>) -> io::Result<T> {
    let ended = thread.join();
    ended.map_err(|_| io::Error::other("the thread at the other end died: a bug of the probe"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_bytes_arrive() {
        let found = measure(Duration::from_millis(20)).expect("loopback works");
        assert!(found.round_trip.count > 0 && found.round_trip.min_ns > 0);
        assert!(found.bytes_per_s > 0.0);
    }
}
