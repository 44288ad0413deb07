//! `spate produce`: the lines of standard input as records.

mod batches;
mod input;
mod partitioner;

use std::{
    io,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::try_join_all;
use spate_net::{
    client::{Cluster, Producer, ProducerSettings},
    kafka::{
        api::list_offsets::LATEST_TIMESTAMP,
        record_batch::{Codec, NewRecord},
    },
    reactor::{self, Notify},
};

use self::{
    batches::Batches,
    input::{Blocks, Line, Next, lines},
};
use super::{ClientArgs, CommandError};

/// How long records wait for others to share a batch with.
const LINGER: Duration = Duration::from_millis(5);

/// What `produce` is told.
#[derive(clap::Args, Debug)]
pub struct ProduceArgs {
    /// Topic to write to
    topic: String,
    #[command(flatten)]
    client: ClientArgs,
    /// What ends the key in a line; without it lines have no key
    #[arg(short = 'K', long, value_name = "SEPARATOR", value_parser = separator)]
    key_separator: Option<String>,
    /// Header of every record
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<Header>,
    /// Compression: none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, value_name = "CODEC", default_value = "none")]
    codec: Codec,
    /// Partition for all records; otherwise keys choose as in Kafka
    #[arg(short, long, value_name = "N")]
    partition: Option<i32>,
    /// Who must have a record: all in-sync replicas (all), the leader (1) or nobody (0)
    #[arg(short, long, value_name = "all|1|0", default_value = "all", value_parser = acks)]
    acks: i16,
}

/// A record's header.
#[derive(Clone, Debug)]
struct Header {
    name: String,
    value: Option<String>,
}

fn header(text: &str) -> Result<Header, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() {
        return Err("write NAME=VALUE, or NAME for a null value".into());
    }
    Ok(Header {
        name: name.to_owned(),
        value,
    })
}

fn separator(text: &str) -> Result<String, String> {
    match text {
        "" => Err("an empty separator separates nothing".into()),
        "\\t" => Ok("\t".into()),
        text => Ok(text.to_owned()),
    }
}

fn acks(text: &str) -> Result<i16, String> {
    match text {
        "all" | "-1" => Ok(-1),
        "1" => Ok(1),
        "0" => Ok(0),
        _ => Err("acks are all, 1 or 0".into()),
    }
}

/// Writes them.
pub fn run(args: &ProduceArgs) -> Result<(), CommandError> {
    let mut reactor = super::reactor()?;
    let waker = reactor.waker();
    let blocks = Blocks::read(io::stdin(), move || waker.wake());
    let notify = reactor.set_inbox(Box::new(blocks.probe()));
    reactor.block_on(async {
        let cluster = args.client.cluster_for(true).await?;
        let partitions = partitions(args, &cluster).await?;
        let settings = ProducerSettings {
            acks: args.acks,
            is_idempotent: args.acks == -1,
            ..ProducerSettings::default()
        };
        let batches = Batches::new(args.codec, partitions, args.partition);
        let producer = Producer::new(Rc::clone(&cluster), settings);
        write_all(args, &blocks, &notify, &cluster, &producer, batches).await
    })
}

/// How many partitions the topic has; it is created if need be and allowed.
async fn partitions(args: &ProduceArgs, cluster: &Cluster) -> Result<i32, CommandError> {
    let count = cluster.topic(&args.topic).await?.partitions.len();
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    match args.partition {
        Some(partition) if !(0..count).contains(&partition) => Err(CommandError::Other(format!(
            "topic {} has partitions 0 to {}, not {partition}",
            args.topic,
            count - 1
        ))),
        _ => Ok(count),
    }
}

async fn write_all(
    args: &ProduceArgs,
    blocks: &Blocks,
    notify: &Rc<Notify>,
    cluster: &Cluster,
    producer: &Producer,
    mut batches: Batches,
) -> Result<(), CommandError> {
    let headers: Vec<_> = args.headers.iter().map(Header::parts).collect();
    loop {
        match blocks.next() {
            Next::Block(block) => {
                for line in lines(&block) {
                    let line = Line::parse(line, args.key_separator.as_deref());
                    let record = NewRecord {
                        timestamp: now_ms(),
                        key: line.key,
                        value: Some(line.value),
                        headers: &headers,
                    };
                    if !batches.has_room(&record) {
                        send(args, producer, &mut batches).await?;
                    }
                    batches.add(&record);
                }
            }
            Next::Pending if batches.is_empty() => notify.notified().await,
            Next::Pending => {
                let more = reactor::timeout(LINGER, notify.notified()).await;
                if more.is_err() {
                    send(args, producer, &mut batches).await?;
                }
            }
            Next::End => {
                send(args, producer, &mut batches).await?;
                return settle(args, cluster, &batches).await;
            }
            Next::Failed(error) => {
                send(args, producer, &mut batches).await?;
                let what = "cannot read standard input".into();
                return Err(CommandError::Io { what, error });
            }
        }
    }
}

/// Sends all that waits, to all partitions at once, and returns when the brokers have it.
async fn send(
    args: &ProduceArgs,
    producer: &Producer,
    batches: &mut Batches,
) -> Result<(), CommandError> {
    let send = |(partition, builder)| producer.send(&args.topic, partition, builder);
    try_join_all(batches.begun().map(send)).await?;
    Ok(())
}

/// With acks=0 nobody says that a batch has arrived, and it may still lie in our own queue. A
/// connection's requests are taken in order: an answer to a later one means that it has left.
async fn settle(
    args: &ProduceArgs,
    cluster: &Cluster,
    batches: &Batches,
) -> Result<(), CommandError> {
    for partition in batches.partitions().filter(|_| args.acks == 0) {
        cluster
            .offset_at(&args.topic, partition, LATEST_TIMESTAMP)
            .await?;
    }
    Ok(())
}

impl Header {
    fn parts(&self) -> (&str, Option<&[u8]>) {
        (&self.name, self.value.as_ref().map(String::as_bytes))
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
