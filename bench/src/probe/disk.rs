//! Sequential direct writes, each durable before it counts (`O_DIRECT` and `RWF_DSYNC`): what a log
//! that acknowledges after the flush can be built on. The file is written once from end to end
//! before, for the first write of a block costs the file system's journal too.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand::RngExt;
use serde::{Deserialize, Serialize};
use spate_net::reactor::buffers::{DmaBuf, dma_buffer, registered_buffer};
use spate_net::reactor::{Backend, File, FileOptions, Reactor, ReactorConfig, spawn};

use super::{Probe, ProbeError, ProbeOptions};
use crate::histogram::{Latencies, Summary};

/// The file's name in the directory that is probed.
pub const FILE_NAME: &str = "spate-bench-probe.data";

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Before each measurement, as a part of its time: the device's queue has its depth then.
const WARM_UP_PART: u32 = 5;

/// Writes of one size, so many at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiskPoint {
    /// Bytes of a write.
    pub write_bytes: u64,
    /// Writes on their way at a time.
    pub depth: u32,
    /// Durable writes per second.
    pub writes_per_s: f64,
    /// Durable bytes per second.
    pub bytes_per_s: f64,
    /// Of a write.
    pub latency: Summary,
}

/// Measures all sizes and depths.
pub fn measure(options: &ProbeOptions, probe: &mut Probe) -> Result<(), ProbeError> {
    let config = ReactorConfig {
        choice: options.reactor,
        ..ReactorConfig::default()
    };
    let mut reactor = Reactor::new(&config)?;
    probe.notes.extend(reactor.notes().iter().cloned());
    let blocking = reactor.backend() == Backend::Epoll;
    if blocking && options.depths.iter().any(|depth| *depth > 1) {
        let note = "without io_uring writes go one at a time: depths above 1 are left out";
        probe.notes.push(note.to_owned());
    }
    let path = probe.file.clone();
    let error = || ProbeError::io(path.display().to_string());
    let measured = reactor.block_on(async {
        let file = lay(&path, options.file_mib * MIB).await?;
        let mut points = Vec::new();
        for size_kib in &options.sizes_kib {
            for depth in options
                .depths
                .iter()
                .filter(|depth| **depth == 1 || !blocking)
            {
                let load = Load {
                    write_bytes: size_kib * KIB,
                    depth: *depth,
                    file_bytes: options.file_mib * MIB,
                };
                points.push(load.run(&file, options.duration).await?);
            }
        }
        Ok((file.is_direct(), points))
    });
    if !options.keep {
        // It may not even have been made; and then that is the error that counts.
        let removed = std::fs::remove_file(&path);
        if measured.is_ok() {
            removed.map_err(error())?;
        }
    }
    let (direct, points) = measured.map_err(error())?;
    probe.buffered = !direct;
    probe.disk = points;
    Ok(())
}

/// Opens the file of an earlier probe, or makes one, and writes it from end to end.
async fn lay(path: &Path, bytes: u64) -> io::Result<File> {
    let found = std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == bytes);
    let options = FileOptions {
        write: true,
        create_len: (!found).then_some(bytes),
        direct: true,
    };
    let file = File::open(path, options).await?;
    let mut buffer = noise(MIB as usize);
    for position in (0..bytes).step_by(MIB as usize) {
        let (written, back) = file.write(position, buffer, false).await;
        written?;
        buffer = back;
    }
    file.sync_data().await?;
    Ok(file)
}

/// Bytes that no device can compress.
fn noise(len: usize) -> DmaBuf {
    let mut buffer = registered_buffer(len).unwrap_or_else(|| dma_buffer(len));
    rand::rng().fill(&mut buffer[..]);
    buffer
}

/// Writes of one size, so many at a time.
struct Load {
    write_bytes: u64,
    depth: u32,
    file_bytes: u64,
}

/// What the writers of a load share.
struct Shared {
    file: File,
    next: Cell<u64>,
    from: Instant,
    until: Instant,
    counted: Cell<u64>,
    latencies: RefCell<Latencies>,
}

impl Load {
    async fn run(&self, file: &File, duration: Duration) -> io::Result<DiskPoint> {
        // Before the clock runs: noise takes its time.
        let buffers: Vec<_> = (0..self.depth)
            .map(|_| noise(self.write_bytes as usize))
            .collect();
        let from = Instant::now() + duration / WARM_UP_PART;
        let shared = Rc::new(Shared {
            file: file.clone(),
            next: Cell::new(0),
            from,
            until: from + duration,
            counted: Cell::new(0),
            latencies: RefCell::new(Latencies::new()),
        });
        let write = |buffer| spawn(Rc::clone(&shared).write_all(buffer, self.file_bytes));
        let writers: Vec<_> = buffers.into_iter().map(write).collect();
        for writer in writers {
            writer.await?;
        }
        let writes_per_s = shared.counted.get() as f64 / duration.as_secs_f64();
        let latency = shared.latencies.borrow().summary();
        Ok(DiskPoint {
            write_bytes: self.write_bytes,
            depth: self.depth,
            writes_per_s,
            bytes_per_s: writes_per_s * self.write_bytes as f64,
            latency,
        })
    }
}

impl Shared {
    async fn write_all(self: Rc<Self>, mut buffer: DmaBuf, file_bytes: u64) -> io::Result<()> {
        let len = buffer.len() as u64;
        loop {
            let begun = Instant::now();
            if begun >= self.until {
                return Ok(());
            }
            let position = next_position(self.next.get(), len, file_bytes);
            self.next.set(position + len);
            let (written, back) = self.file.write(position, buffer, true).await;
            written?;
            buffer = back;
            let done = Instant::now();
            // Rate and latency each count a write once, where it ends.
            if self.from <= done && done < self.until {
                self.counted.set(self.counted.get() + 1);
                let nanos = u64::try_from((done - begun).as_nanos()).unwrap_or(u64::MAX);
                self.latencies.borrow_mut().record(nanos, 1);
            }
        }
    }
}

/// One behind the other, and from the start again where a write would not fit any more.
fn next_position(next: u64, len: u64, file_bytes: u64) -> u64 {
    if next + len > file_bytes { 0 } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_round_within_the_file() {
        assert_eq!(next_position(0, 4, 12), 0);
        assert_eq!(next_position(8, 4, 12), 8);
        assert_eq!(next_position(12, 4, 12), 0);
        assert_eq!(next_position(10, 4, 12), 0);
    }
}
