//! `spate stats`: what a broker on this machine has counted since its start.

use std::{
    io::{self, ErrorKind, Write},
    path::PathBuf,
};

use serde_json::Value;

use super::CommandError;
use crate::control::inspect;

/// What `stats` is told.
#[derive(clap::Args, Debug)]
pub struct StatsArgs {
    /// Data directory of the broker
    #[arg(long, value_name = "DIR", default_value = "./spate-data")]
    data: PathBuf,
    /// As one line of JSON
    #[arg(long)]
    json: bool,
}

/// Asks and prints.
pub fn run(args: &StatsArgs) -> Result<(), CommandError> {
    let reply = inspect::ask_statistics(&args.data).map_err(|error| {
        let data = args.data.display();
        CommandError::Other(match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
                "no broker runs on the data directory {data}: say which with --data DIR, or start \
                 it with `spate serve --data {data}`"
            ),
            ErrorKind::PermissionDenied => {
                format!("the broker on {data} belongs to another user: ask as that user")
            }
            _ => format!("the broker on {data} did not answer: {error}"),
        })
    })?;
    let mut out = io::stdout().lock();
    let printed = if args.json {
        writeln!(out, "{reply}")
    } else {
        print(&reply, &mut out)
    };
    printed.map_err(CommandError::output)
}

/// One line a number: its name, the sum over the shards, and each shard's share.
fn print(reply: &Value, out: &mut impl Write) -> io::Result<()> {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    writeln!(
        out,
        "version {}, pid {}",
        text(&reply["version"]),
        text(&reply["pid"])
    )?;
    let statistics = &reply["statistics"];
    let shards = statistics["shards"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if let Some(fields) = statistics.as_object() {
        for (name, value) in fields.iter().filter(|(name, _)| *name != "shards") {
            writeln!(out, "{name:<24} {}", text(value))?;
        }
    }
    let names = shards
        .first()
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|first| first.keys());
    for name in names.filter(|name| *name != "shard") {
        let of = |shard: &Value| shard[name].as_u64().unwrap_or(0);
        let sum: u64 = shards.iter().map(of).sum();
        let each: Vec<_> = shards.iter().map(|shard| of(shard).to_string()).collect();
        writeln!(out, "{name:<24} {sum:>16}   {}", each.join(" "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shards_are_summed_and_shown() {
        let shard = |number, hops| json!({ "shard": number, "hops": hops });
        let shards = [shard(0, 3), shard(1, 4)];
        let reply = json!({
            "version": "0.1.0", "pid": 7, "statistics": { "topics": 2, "shards": shards },
        });
        let mut out = Vec::new();
        print(&reply, &mut out).expect("memory");
        let text = String::from_utf8(out).expect("text");
        let words: Vec<Vec<_>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(words[0], ["version", "0.1.0,", "pid", "7"]);
        assert_eq!(words[1], ["topics", "2"]);
        assert_eq!(words[2], ["hops", "7", "3", "4"]);
    }
}
