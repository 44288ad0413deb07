//! What a durable broker on this machine can at best reach: the floor server, which only writes and
//! answers, under the same load as a broker. Its CPU is in the numbers; the disk's alone would
//! leave it out.

use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use clap::Parser;
use serde::{Deserialize, Serialize};

use super::{ProbeError, ProbeOptions};
use crate::floor::{self, FloorOptions};
use crate::histogram::Summary;
use crate::run::{Outcome, Target, run};
use crate::scenario::Scenario;

/// Connections that each wait for one answer at a time.
const CONNECTIONS: [u32; 3] = [1, 8, 64];
const RECORD_BYTES: u64 = 1024;
const BATCH_RECORDS: u64 = 128;
const BATCH_CONNECTIONS: u32 = 4;
const BATCH_IN_FLIGHT: u32 = 4;
/// A rate that every machine keeps: its latency is that of an idle broker.
const STEADY_PER_S: u32 = 1_000;
const STEADY_CONNECTIONS: u32 = 16;
/// The server fills its file before it listens.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The floor in numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reach {
    /// One record of 1 KiB at a time on each connection.
    pub one_by_one: Vec<OneByOne>,
    /// Durable bytes per second, in batches.
    pub batch_bytes_per_s: f64,
    /// Bytes of such a batch.
    pub batch_bytes: u64,
    /// Latency at a steady rate, from the intended send time.
    pub steady: Summary,
    /// That rate, in records per second.
    pub steady_per_s: u32,
}

/// One record at a time on so many connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OneByOne {
    /// How many.
    pub connections: u32,
    /// Durable records per second.
    pub acks_per_s: f64,
    /// From request to answer.
    pub service: Summary,
}

/// Starts the floor server, on a thread that lives as long as the process, and drives it.
pub fn measure(options: &ProbeOptions) -> Result<Reach, ProbeError> {
    let address = start(options)?;
    let target = Target::at(&address.to_string());
    let drive = |flags: &str| -> Result<Outcome, ProbeError> {
        let millis = options.duration.as_millis().max(1);
        let flags = format!("{flags} --warm-up 300ms --duration {millis}ms");
        Ok(run(&target, &scenario(&flags)?)?)
    };
    let mut one_by_one = Vec::new();
    for connections in CONNECTIONS {
        let flags = format!("--producers {connections} --in-flight 1 --partitions 8");
        let produced = produced(drive(&flags)?)?;
        one_by_one.push(OneByOne {
            connections,
            acks_per_s: produced.records_per_s,
            service: produced.service,
        });
    }
    let batches = produced(drive(&format!(
        "--producers {BATCH_CONNECTIONS} --in-flight {BATCH_IN_FLIGHT} --partitions 8 \
         --batch-records {BATCH_RECORDS}"
    ))?)?;
    let steady = produced(drive(&format!(
        "--producers {STEADY_CONNECTIONS} --rate {STEADY_PER_S}"
    ))?)?;
    Ok(Reach {
        one_by_one,
        batch_bytes_per_s: batches.bytes_per_s,
        batch_bytes: RECORD_BYTES * BATCH_RECORDS,
        steady: steady.latency,
        steady_per_s: STEADY_PER_S,
    })
}

fn start(options: &ProbeOptions) -> Result<SocketAddr, ProbeError> {
    let floor = FloorOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        dir: options.dir.clone(),
        discard: false,
        reactor: options.reactor,
    };
    let (ready, listening) = channel();
    let failed = ready.clone();
    thread::spawn(move || {
        let served = floor::serve(&floor, |address| {
            // Whoever asked may have lost patience.
            let _ = ready.send(Ok(address));
        });
        if let Err(error) = served {
            let _ = failed.send(Err(error.to_string()));
        }
    });
    match listening.recv_timeout(READY_WITHIN) {
        Ok(started) => started.map_err(ProbeError::Floor),
        Err(RecvTimeoutError::Timeout) => Err(ProbeError::Floor(format!(
            "not ready after {} s: is the disk of {} that slow?",
            READY_WITHIN.as_secs(),
            options.dir.display()
        ))),
        Err(RecvTimeoutError::Disconnected) => {
            Err(ProbeError::Floor("its thread died: a bug".to_owned()))
        }
    }
}

/// A scenario alone on a command line.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Flags {
    #[command(flatten)]
    scenario: Scenario,
}

/// What `spate-bench run` would do with these flags.
fn scenario(flags: &str) -> Result<Scenario, ProbeError> {
    let parsed = Flags::try_parse_from(flags.split_whitespace());
    let parsed = parsed.map_err(|error| ProbeError::Floor(error.to_string()))?;
    Ok(parsed.scenario)
}

/// What a run against the floor is asked for.
struct Produced {
    records_per_s: f64,
    bytes_per_s: f64,
    latency: Summary,
    service: Summary,
}

fn produced(outcome: Outcome) -> Result<Produced, ProbeError> {
    let done = outcome
        .produced
        .ok_or_else(|| ProbeError::Floor("nothing was produced: a bug".to_owned()))?;
    Ok(Produced {
        records_per_s: done.records as f64 / outcome.seconds,
        bytes_per_s: done.bytes as f64 / outcome.seconds,
        latency: done.latency,
        service: done.service,
    })
}
