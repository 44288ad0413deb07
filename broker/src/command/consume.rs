//! `spate consume`: records on standard output.

mod format;
mod offsets;

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write as _},
    rc::Rc,
    str::FromStr,
};

use spate_net::client::{Cluster, Fetched, Fetcher, FetcherSettings};

use self::format::Format;
use super::{ClientArgs, CommandError};

/// Bytes gathered before they go to standard output; also flushed after each answer.
const OUTPUT_BYTES: usize = 256 << 10;

/// What `consume` is told.
#[derive(clap::Args, Debug)]
pub struct ConsumeArgs {
    /// Topic to read
    topic: String,
    #[command(flatten)]
    client: ClientArgs,
    /// Where to begin: beginning, end, an offset, -N (N before the end) or @TIMESTAMP in ms
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "beginning",
        allow_hyphen_values = true
    )]
    from: Start,
    /// End after so many records
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// How a record is printed: %t %p %o %k %s %h %T %K %S, \n, \t, \xHH
    #[arg(short, long, value_name = "FORMAT", default_value = "%s\\n")]
    format: Format,
    /// End at the end that the partitions have now
    #[arg(short, long)]
    exit_at_end: bool,
    /// Only this partition
    #[arg(short, long, value_name = "N")]
    partition: Option<i32>,
}

/// Where reading begins, in each partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Start {
    Beginning,
    End,
    Offset(i64),
    BeforeEnd(i64),
    Timestamp(i64),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Start, String> {
        let number = |digits: &str| {
            let number = digits.parse::<i64>().ok().filter(|number| *number >= 0);
            number.ok_or("write beginning, end, OFFSET, -COUNT or @TIMESTAMP (in ms)".to_owned())
        };
        match text {
            "beginning" | "earliest" => Ok(Start::Beginning),
            "end" | "latest" => Ok(Start::End),
            _ => match (text.strip_prefix('@'), text.strip_prefix('-')) {
                (Some(timestamp), _) => number(timestamp).map(Start::Timestamp),
                (_, Some(count)) => number(count).map(Start::BeforeEnd),
                _ => number(text).map(Start::Offset),
            },
        }
    }
}

/// What stops reading.
struct Limits {
    /// Records still to be printed.
    records: u64,
    /// Where to stop in each partition, if reading ends there.
    ends: Option<BTreeMap<i32, i64>>,
}

/// Reads and prints them.
pub fn run(args: &ConsumeArgs) -> Result<(), CommandError> {
    super::reactor()?.block_on(async {
        let cluster = args.client.cluster().await?;
        let count = cluster.topic(&args.topic).await?.partitions.len();
        let partitions = chosen_partitions(args, count)?;
        let ends = match args.exit_at_end {
            true => Some(offsets::ends(&cluster, &args.topic, &partitions).await?),
            false => None,
        };
        let limits = Limits {
            records: args.count.unwrap_or(u64::MAX),
            ends,
        };
        let fetcher = open(args, cluster, &partitions).await?;
        print_all(args, fetcher, limits).await
    })
}

async fn open(
    args: &ConsumeArgs,
    cluster: Rc<Cluster>,
    partitions: &[i32],
) -> Result<Fetcher, CommandError> {
    let mut starts = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let start = offsets::start(&cluster, &args.topic, *partition, args.from).await?;
        starts.push((*partition, start));
    }
    let mut fetcher = Fetcher::new(cluster, FetcherSettings::default());
    for (partition, start) in starts {
        fetcher.add(&args.topic, partition, start);
    }
    Ok(fetcher)
}

async fn print_all(
    args: &ConsumeArgs,
    mut fetcher: Fetcher,
    mut limits: Limits,
) -> Result<(), CommandError> {
    let mut out = BufWriter::with_capacity(OUTPUT_BYTES, io::stdout().lock());
    while limits.records > 0 && !limits.are_reached(&args.topic, &fetcher) {
        for fetched in fetcher.poll().await? {
            limits.print(&fetched, &args.format, &mut out)?;
        }
        out.flush().map_err(CommandError::output)?;
    }
    Ok(())
}

impl Limits {
    fn are_reached(&self, topic: &str, fetcher: &Fetcher) -> bool {
        let at_end = |(partition, end): (&i32, &i64)| {
            fetcher
                .position(topic, *partition)
                .is_none_or(|position| position >= *end)
        };
        self.ends
            .as_ref()
            .is_some_and(|ends| ends.iter().all(at_end))
    }

    /// Prints what does not pass the limits.
    fn print(
        &mut self,
        fetched: &Fetched,
        format: &Format,
        out: &mut impl io::Write,
    ) -> Result<(), CommandError> {
        let ends = self.ends.as_ref();
        let end = ends
            .and_then(|ends| ends.get(&fetched.partition))
            .copied()
            .unwrap_or(i64::MAX);
        for record in fetched.records() {
            let record = record?;
            if self.records == 0 || record.offset >= end {
                break;
            }
            let printed = format.print(out, &fetched.topic, fetched.partition, &record);
            printed.map_err(CommandError::output)?;
            self.records -= 1;
        }
        Ok(())
    }
}

fn chosen_partitions(args: &ConsumeArgs, count: usize) -> Result<Vec<i32>, CommandError> {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    match args.partition {
        None => Ok((0..count).collect()),
        Some(partition) if (0..count).contains(&partition) => Ok(vec![partition]),
        Some(partition) => Err(CommandError::Other(format!(
            "topic {} has partitions 0 to {}, not {partition}",
            args.topic,
            count - 1
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_understood() {
        for (text, from) in [
            ("beginning", Start::Beginning),
            ("end", Start::End),
            ("7", Start::Offset(7)),
            ("-7", Start::BeforeEnd(7)),
            ("@1700000000000", Start::Timestamp(1_700_000_000_000)),
        ] {
            assert_eq!(text.parse(), Ok(from));
        }
        for text in ["", "soon", "@", "@x", "--5", "1.5"] {
            assert!(text.parse::<Start>().is_err(), "{text}");
        }
    }
}
