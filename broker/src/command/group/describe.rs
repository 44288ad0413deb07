//! How far groups have come, how far that is from the ends, and who is at it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use spate_net::{
    client::{ClientError, Cluster},
    kafka::{
        api::{
            describe_groups::{DescribedGroup, DescribedGroupMember},
            list_offsets::LATEST_TIMESTAMP,
        },
        error::ErrorCode,
        primitives::Reader,
    },
};

use super::{ClientArgs, CommandError, Table, print, print_json};

/// One partition that a group has read or is assigned.
struct Line<'a> {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    end: Option<i64>,
    member: Option<&'a DescribedGroupMember>,
}

impl Line<'_> {
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

pub(super) async fn run(
    names: &[String],
    json: bool,
    client: &ClientArgs,
) -> Result<(), CommandError> {
    let cluster = client.cluster().await?;
    let mut names = names.to_vec();
    if names.is_empty() {
        let groups = cluster.groups().await?;
        names = groups
            .iter()
            .map(|group| group.group_id.to_string())
            .collect();
    }
    let mut described = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let group = cluster.describe_group(name).await?;
        // Before DescribeGroups 6 a group that does not exist is a dead one.
        if group.group_state.as_str() == "Dead" {
            let code = ErrorCode::GroupIdNotFound;
            return Err(ClientError::refused(format!("group `{name}`"), code, None).into());
        }
        let lines = lines(&cluster, name, &group).await?;
        if json {
            described.push(value(&group, &lines));
        } else {
            let before = if index == 0 { "" } else { "\n" };
            print(&format!("{before}{}", text(&group, &lines)))?;
        }
    }
    if json {
        print_json(&described.into())?;
    }
    Ok(())
}

async fn lines<'a>(
    cluster: &Cluster,
    name: &str,
    group: &'a DescribedGroup,
) -> Result<Vec<Line<'a>>, ClientError> {
    let mut owners: BTreeMap<(String, i32), &DescribedGroupMember> = BTreeMap::new();
    for member in &group.members {
        for partition in assigned(&member.member_assignment) {
            owners.insert(partition, member);
        }
    }
    let committed: BTreeMap<(String, i32), i64> = cluster
        .committed(name)
        .await?
        .into_iter()
        .map(|each| ((each.topic, each.partition), each.offset))
        .collect();
    let keys: BTreeSet<_> = owners.keys().chain(committed.keys()).cloned().collect();
    let mut lines = Vec::with_capacity(keys.len());
    for key in keys {
        let (topic, partition) = key.clone();
        let end = match cluster.offset_at(&topic, partition, LATEST_TIMESTAMP).await {
            Ok(end) => end,
            Err(ClientError::NoTopic { .. }) => None,
            Err(error) => return Err(error),
        };
        lines.push(Line {
            topic,
            partition,
            committed: committed.get(&key).copied(),
            end,
            member: owners.get(&key).copied(),
        });
    }
    Ok(lines)
}

/// A consumer's assignment (version, topics with partitions, user data); other protocols' bytes
/// are not for us.
fn assigned(assignment: &Bytes) -> Vec<(String, i32)> {
    let read = || -> Option<Vec<(String, i32)>> {
        let mut reader = Reader::new(assignment, false);
        reader.i16("version").ok()?;
        let mut all = Vec::new();
        for _ in 0..reader.array("topics", 6).ok()? {
            let topic = reader.string("topic").ok()?;
            for _ in 0..reader.array("partitions", 4).ok()? {
                all.push((topic.as_str().to_owned(), reader.i32("partition").ok()?));
            }
        }
        Some(all)
    };
    read().unwrap_or_default()
}

fn text(group: &DescribedGroup, lines: &[Line<'_>]) -> String {
    let lag: i64 = lines.iter().filter_map(Line::lag).sum();
    let mut text = format!(
        "{}: {}, {} member(s), lag {lag}\n",
        group.group_id,
        group.group_state.as_str(),
        group.members.len()
    );
    let mut table = Table::new(&[
        "TOPIC",
        "PARTITION",
        "COMMITTED",
        "END",
        "LAG",
        "MEMBER",
        "HOST",
        "CLIENT",
    ]);
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    for line in lines {
        let of_member =
            |cell: fn(&DescribedGroupMember) -> String| line.member.map(cell).unwrap_or_default();
        table.row([
            line.topic.clone(),
            line.partition.to_string(),
            number(line.committed),
            number(line.end),
            number(line.lag()),
            of_member(|member| member.member_id.to_string()),
            of_member(|member| member.client_host.to_string()),
            of_member(|member| member.client_id.to_string()),
        ]);
    }
    // Members without a partition are the ones that people look for.
    for member in &group.members {
        let is_it = |line: &Line<'_>| line.member.is_some_and(|owner| std::ptr::eq(owner, member));
        if !lines.iter().any(is_it) {
            let none = std::iter::repeat_n(String::new(), 5);
            let ids = [&member.member_id, &member.client_host, &member.client_id];
            table.row(none.chain(ids.map(|id| id.to_string())));
        }
    }
    text.push_str(&table.to_string());
    text
}

fn value(group: &DescribedGroup, lines: &[Line<'_>]) -> serde_json::Value {
    let member = |member: &DescribedGroupMember| {
        serde_json::json!({
            "member": member.member_id.as_str(),
            "instance": member.group_instance_id.as_ref().map(|id| id.as_str()),
            "client": member.client_id.as_str(),
            "host": member.client_host.as_str(),
        })
    };
    let line = |line: &Line<'_>| {
        serde_json::json!({
            "topic": line.topic,
            "partition": line.partition,
            "committed": line.committed,
            "end": line.end,
            "lag": line.lag(),
            "member": line.member.map(|member| member.member_id.as_str()),
        })
    };
    serde_json::json!({
        "group": group.group_id.as_str(),
        "state": group.group_state.as_str(),
        "protocol_type": group.protocol_type.as_str(),
        "protocol": group.protocol_data.as_str(),
        "members": group.members.iter().map(member).collect::<Vec<_>>(),
        "partitions": lines.iter().map(line).collect::<Vec<_>>(),
    })
}
