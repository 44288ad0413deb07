//! `spate topic delete-records`: lets a topic's logs begin later. Each partition's leader is asked
//! for its own.

use std::{collections::BTreeMap, io};

use serde_json::json;
use spate_net::{
    client::ClientError,
    kafka::api::delete_records::{
        DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic, HIGH_WATERMARK,
    },
};

use super::{
    super::{ClientArgs, CommandError, table},
    TIMEOUT_MS,
};

/// What `topic delete-records` is told.
#[derive(clap::Args, Debug)]
pub struct RecordsArgs {
    /// The topic
    name: String,
    /// The first offset that stays, or `end`: nothing stays
    #[arg(long, value_name = "OFFSET|end", value_parser = offset)]
    before: i64,
    /// One partition; otherwise all of them
    #[arg(short, long, value_name = "N")]
    partition: Option<i32>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

fn offset(text: &str) -> Result<i64, String> {
    match text.parse() {
        _ if text == "end" => Ok(HIGH_WATERMARK),
        Ok(offset) if offset >= 0 => Ok(offset),
        _ => Err("write an offset of at least 0, or end".into()),
    }
}

/// Does it.
pub async fn run(args: &RecordsArgs) -> Result<(), CommandError> {
    let cluster = args.client.cluster().await?;
    let partitions = match args.partition {
        Some(partition) => vec![partition],
        None => cluster.topic(&args.name).await?.partitions.clone(),
    };
    let mut by_leader = BTreeMap::<i32, Vec<i32>>::new();
    for partition in partitions {
        let leader = cluster.leader(&args.name, partition).await?;
        by_leader.entry(leader.node_id).or_default().push(partition);
    }
    let mut begins = BTreeMap::new();
    for (node, partitions) in by_leader {
        let asked = partitions.iter().map(|partition| {
            DeleteRecordsPartition::default()
                .with_partition_index(*partition)
                .with_offset(args.before)
        });
        let topic = DeleteRecordsTopic::default()
            .with_name(args.name.clone().into())
            .with_partitions(asked.collect());
        let request = DeleteRecordsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(TIMEOUT_MS);
        let reply = cluster.node(node).await?.call(&request).await?;
        for told in reply.topics.iter().flat_map(|topic| &topic.partitions) {
            let partition = told.partition_index;
            if told.error_code != 0 {
                let what = format!("cannot delete records of {} {partition}", args.name);
                return Err(ClientError::refused(what, told.error_code.into(), None).into());
            }
            begins.insert(partition, told.low_watermark);
        }
    }
    print(&begins, args.json).map_err(CommandError::output)
}

fn print(begins: &BTreeMap<i32, i64>, as_json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if as_json {
        let rows: Vec<_> = begins
            .iter()
            .map(|(partition, offset)| json!({"partition": partition, "log_start": offset}))
            .collect();
        return io::Write::write_fmt(&mut out, format_args!("{}\n", json!(rows)));
    }
    let rows: Vec<_> = begins
        .iter()
        .map(|(partition, offset)| vec![partition.to_string(), offset.to_string()])
        .collect();
    table::print(&mut out, &["PARTITION", "BEGINS AT"], &rows)
}
