//! `spate serve`: settings, logs, the memory plan, and then the broker itself, which is `node`'s.

use std::io::{self, Write};

use super::{CommandError, ServeArgs};
use crate::{
    config::{Config, address::HostPort, memory::MemoryPlan},
    logging,
    node::{self, Listening},
};

/// Serves until a signal ends it.
pub fn run(args: &ServeArgs) -> Result<(), CommandError> {
    let (config, notes) = args.config()?;
    logging::start(&config.log_level)?;
    for note in notes {
        tracing::info!("{note}");
    }
    announce_plan(&config);
    let data = config.data_dir.display().to_string();
    node::serve(config, move |listening| {
        let mut out = io::stdout().lock();
        // Whoever closed our standard output does not want to read it; clients still want us.
        drop(greet(&mut out, &program(), listening, &data).and_then(|()| out.flush()));
    })?;
    Ok(())
}

fn announce_plan(config: &Config) {
    let plan = MemoryPlan::of(config);
    tracing::info!("{plan}");
    if let Some(warning) = machine_memory_bytes().and_then(|bytes| plan.warning(bytes)) {
        tracing::warn!("{warning}");
    }
}

/// What the machine has, if the kernel says so.
fn machine_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// How this program was called, for examples that can be copied.
fn program() -> String {
    std::env::args()
        .next()
        .unwrap_or_else(|| "spate".to_owned())
}

fn greet(out: &mut impl Write, program: &str, listening: &Listening, data: &str) -> io::Result<()> {
    let address = &listening.advertised;
    let at = if is_default(address) {
        String::new()
    } else {
        format!(" -b {address}")
    };
    writeln!(out, "listening on {} for Kafka clients", listening.bound)?;
    if let (Some(first), Some(last)) = (listening.shards.first(), listening.shards.last()) {
        writeln!(out, "listening on {first} to {last}, a port for each shard")?;
    }
    writeln!(out, "data in {data}")?;
    writeln!(
        out,
        "write a record: echo hello | {program} produce greetings{at}"
    )?;
    writeln!(out, "ready on {address}")
}

fn is_default(address: &HostPort) -> bool {
    address.host == "127.0.0.1" && address.port == 9092
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_can_be_copied() {
        let address: HostPort = "127.0.0.1:19092".parse().expect("an address");
        let listening = Listening {
            bound: address.clone(),
            advertised: address,
            shards: Vec::new(),
        };
        let mut out = Vec::new();
        greet(&mut out, "./spate", &listening, "/data").expect("memory");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "listening on 127.0.0.1:19092 for Kafka clients\ndata in /data\nwrite a record: echo \
             hello | ./spate produce greetings -b 127.0.0.1:19092\nready on 127.0.0.1:19092\n"
        );
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(machine_memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
