//! Setting a group's offsets: shown first, done with `--execute`.

use spate_net::{
    client::{ClientError, Cluster, CommittedOffset},
    kafka::api::list_offsets::{EARLIEST_TIMESTAMP, LATEST_TIMESTAMP},
};

use super::{ClientArgs, CommandError, Table, print, print_json};

/// What `group reset-offsets` is told.
#[derive(clap::Args, Debug)]
pub struct ResetArgs {
    /// The group; nobody may be in it
    group: String,
    /// A topic, or some of its partitions: orders or orders:0,2
    #[arg(short, long = "topic", value_name = "TOPIC[:P,..]", value_parser = selection)]
    topics: Vec<Selection>,
    /// All topics that the group has offsets of
    #[arg(long, conflicts_with = "topics")]
    all_topics: bool,
    #[command(flatten)]
    to: Target,
    /// Do it; otherwise only show it
    #[arg(long)]
    execute: bool,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Where to; exactly one.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Target {
    /// To the first record
    #[arg(long)]
    to_earliest: bool,
    /// To the end
    #[arg(long)]
    to_latest: bool,
    /// To where it is: makes a commit of what has none, at the end
    #[arg(long)]
    to_current: bool,
    /// To this offset, or the nearest that there is
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// By so many records, back if negative
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// To the first record at or after this time: 2026-11-23T09:00:00Z, or ms since 1970
    #[arg(long, value_name = "TIME", value_parser = time_ms)]
    to_datetime: Option<i64>,
}

/// A topic and, if they were named, some of its partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Selection {
    topic: String,
    partitions: Option<Vec<i32>>,
}

fn selection(text: &str) -> Result<Selection, String> {
    let Some((topic, list)) = text.split_once(':') else {
        return Ok(Selection {
            topic: text.to_owned(),
            partitions: None,
        });
    };
    let partitions = list.split(',').map(str::parse).collect::<Result<_, _>>();
    Ok(Selection {
        topic: topic.to_owned(),
        partitions: Some(partitions.map_err(|_| "write TOPIC or TOPIC:0,1")?),
    })
}

/// One partition's change.
struct Change {
    to: CommittedOffset,
    from: Option<i64>,
}

pub(super) async fn run(args: &ResetArgs) -> Result<(), CommandError> {
    if args.topics.is_empty() && !args.all_topics {
        let text = "name topics with --topic, or say --all-topics";
        return Err(CommandError::Other(text.into()));
    }
    let cluster = args.client.cluster().await?;
    let committed = cluster.committed(&args.group).await?;
    let mut changes = Vec::new();
    for (topic, partition) in partitions(&cluster, args, &committed).await? {
        let is_it = |each: &&CommittedOffset| each.topic == topic && each.partition == partition;
        let from = committed.iter().find(is_it).map(|each| each.offset);
        let offset = target(&cluster, &args.to, &topic, partition, from).await?;
        let to = CommittedOffset {
            topic,
            partition,
            offset,
        };
        changes.push(Change { to, from });
    }
    if args.execute {
        let offsets: Vec<_> = changes.iter().map(|change| change.to.clone()).collect();
        cluster.commit(&args.group, &offsets).await?;
    }
    show(args, &changes)
}

async fn partitions(
    cluster: &Cluster,
    args: &ResetArgs,
    committed: &[CommittedOffset],
) -> Result<Vec<(String, i32)>, ClientError> {
    if args.all_topics {
        let all = committed.iter();
        return Ok(all
            .map(|each| (each.topic.clone(), each.partition))
            .collect());
    }
    let mut chosen = Vec::new();
    for selection in &args.topics {
        let numbers = match &selection.partitions {
            Some(numbers) => numbers.clone(),
            None => cluster.topic(&selection.topic).await?.partitions.clone(),
        };
        chosen.extend(
            numbers
                .into_iter()
                .map(|number| (selection.topic.clone(), number)),
        );
    }
    chosen.sort();
    chosen.dedup();
    Ok(chosen)
}

async fn target(
    cluster: &Cluster,
    to: &Target,
    topic: &str,
    partition: i32,
    from: Option<i64>,
) -> Result<i64, ClientError> {
    let at = async |timestamp| cluster.offset_at(topic, partition, timestamp).await;
    let first = at(EARLIEST_TIMESTAMP).await?.unwrap_or(0);
    let end = at(LATEST_TIMESTAMP).await?.unwrap_or(0);
    let wanted = if to.to_earliest {
        first
    } else if let Some(offset) = to.to_offset {
        offset
    } else if let Some(count) = to.shift_by {
        from.unwrap_or(end).saturating_add(count)
    } else if let Some(time) = to.to_datetime {
        at(time).await?.unwrap_or(end)
    } else if to.to_current {
        from.unwrap_or(end)
    } else {
        end
    };
    Ok(wanted.clamp(first, end.max(first)))
}

fn show(args: &ResetArgs, changes: &[Change]) -> Result<(), CommandError> {
    if args.json {
        let change = |change: &Change| {
            serde_json::json!({
                "group": args.group,
                "topic": change.to.topic,
                "partition": change.to.partition,
                "from": change.from,
                "to": change.to.offset,
                "done": args.execute,
            })
        };
        let changes: Vec<_> = changes.iter().map(change).collect();
        return print_json(&changes.into());
    }
    let mut table = Table::new(&["GROUP", "TOPIC", "PARTITION", "FROM", "TO"]);
    for Change { to, from } in changes {
        table.row([
            args.group.clone(),
            to.topic.clone(),
            to.partition.to_string(),
            from.map(|offset| offset.to_string()).unwrap_or_default(),
            to.offset.to_string(),
        ]);
    }
    let hint = if args.execute {
        ""
    } else {
        "nothing was changed: add --execute to do it\n"
    };
    print(&format!("{table}{hint}"))
}

/// Milliseconds since 1970 of a UTC time, which may be given as such.
fn time_ms(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    parse_utc(text).ok_or_else(|| {
        "write a UTC time such as 2026-11-23T09:00:00Z, or milliseconds since 1970".to_owned()
    })
}

fn parse_utc(text: &str) -> Option<i64> {
    let (date, time) = text.trim_end_matches('Z').split_once('T')?;
    let numbers = |text: &str, separator| {
        let parts = text.split(separator).map(str::parse::<i64>);
        parts.collect::<Result<Vec<_>, _>>().ok()
    };
    let [year, month, day] = numbers(date, '-')?.try_into().ok()?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(clock, ':')?.try_into().ok()?;
    let is_valid = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second);
    if !is_valid || fraction.len() > 3 {
        return None;
    }
    let ms: i64 = format!("{fraction:0<3}").parse().ok()?;
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1000 + ms)
}

/// Days since 1970-01-01 in the Gregorian calendar, counted in years that begin in March, so that
/// the leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 306 + 5) / 10 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_or_milliseconds() {
        assert_eq!(time_ms("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(time_ms("2000-02-29T12:30:15.5"), Ok(951_827_415_500));
        assert_eq!(time_ms("2026-11-23T09:00:00Z"), Ok(1_795_424_400_000));
        assert_eq!(time_ms("1700000000000"), Ok(1_700_000_000_000));
        for wrong in [
            "soon",
            "2026-13-01T00:00:00",
            "2026-11-23",
            "2026-11-23T24:00:00",
        ] {
            assert!(time_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn topics_may_name_partitions() {
        let some = selection("orders:0,2").expect("partitions");
        assert_eq!(some.partitions, Some(vec![0, 2]));
        assert_eq!(selection("orders").expect("a topic").partitions, None);
        assert!(selection("orders:x").is_err());
    }
}
