//! What this machine gives at best, without any broker: durable writes by size and depth, loopback,
//! timers and scheduling, and the floor server under the driver's own load. A broker's numbers mean
//! something beside these; a broker that beats them does not write what it acknowledges.

mod disk;
mod jitter;
mod loopback;
mod reach;
mod table;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use spate_net::reactor::{ReactorChoice, ReactorError};

pub use self::disk::DiskPoint;
pub use self::jitter::Jitter;
pub use self::loopback::Loopback;
pub use self::reach::Reach;
pub use self::table::text;
use crate::machine::Machine;
use crate::run::RunError;
use crate::scenario::parse_duration;

/// What the JSON says it is.
pub const FORMAT: &str = "spate-bench probe 1";

/// What to probe.
#[derive(Clone, Debug, Args)]
pub struct ProbeOptions {
    /// Directory on the disk to be measured
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// MiB of the file that is written to, over and over
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(8..))]
    pub file_mib: u64,
    /// Time of measuring for each number
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    pub duration: Duration,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Sizes of the writes, in KiB
    #[arg(long, value_delimiter = ',', default_value = "4,16,64,256,1024",
          value_parser = clap::value_parser!(u64).range(4..=4096))]
    pub sizes_kib: Vec<u64>,
    /// Writes on their way at a time
    #[arg(long, value_delimiter = ',', default_value = "1,2,4",
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub depths: Vec<u32>,
    /// Leave the file behind, and use it if it is there
    #[arg(long)]
    pub keep: bool,
    /// How to talk to the kernel
    #[arg(long, default_value_t = ReactorChoice::Auto)]
    pub reactor: ReactorChoice,
    /// Print JSON instead of the tables
    #[arg(long)]
    pub json: bool,
}

/// A part of the probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Part {
    /// Sequential direct writes, each durable
    Disk,
    /// Round trips and bandwidth of a TCP connection over loopback
    Loopback,
    /// How late timers are, and how long the kernel takes a busy thread off its core
    Jitter,
    /// The floor server under load: what a durable broker here can at best reach
    Reach,
}

/// Why the probe could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No reactor.
    #[error(transparent)]
    Reactor(#[from] ReactorError),
    /// The disk, the file or the sockets.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The floor server or the run against it.
    #[error("the floor server: {0}")]
    Floor(String),
    /// A run against the floor server.
    #[error("driving the floor server: {0}")]
    Run(#[from] RunError),
}

impl ProbeError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> ProbeError {
        let what = what.into();
        move |source| ProbeError::Io { what, source }
    }
}

/// What the probe found; parts that were not asked for are missing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Probe {
    /// [`FORMAT`].
    pub format: String,
    /// Which machine.
    pub machine: Machine,
    /// Where the file was.
    pub file: PathBuf,
    /// The file system refused direct writes: the page cache is in the numbers.
    pub buffered: bool,
    /// Durable writes.
    pub disk: Vec<DiskPoint>,
    /// Loopback.
    pub loopback: Option<Loopback>,
    /// Timers and scheduling.
    pub jitter: Option<Jitter>,
    /// The floor under load.
    pub reach: Option<Reach>,
    /// What a reader of the numbers has to know first.
    pub notes: Vec<String>,
}

/// Probes what was asked for, one part after the other: they would disturb each other.
pub fn probe(options: &ProbeOptions) -> Result<Probe, ProbeError> {
    let wanted = |part| options.only.is_empty() || options.only.contains(&part);
    let mut probe = Probe {
        format: FORMAT.to_owned(),
        machine: Machine::here(),
        file: options.dir.join(disk::FILE_NAME),
        buffered: false,
        disk: Vec::new(),
        loopback: None,
        jitter: None,
        reach: None,
        notes: Vec::new(),
    };
    if wanted(Part::Disk) {
        disk::measure(options, &mut probe)?;
    }
    if wanted(Part::Loopback) {
        probe.loopback = Some(loopback::measure(options.duration)?);
    }
    if wanted(Part::Jitter) {
        let jitter = jitter::measure(options.duration);
        probe.notes.extend(jitter.note());
        probe.jitter = Some(jitter);
    }
    if wanted(Part::Reach) {
        probe.reach = Some(reach::measure(options)?);
    }
    Ok(probe)
}
