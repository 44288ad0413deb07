//! `spate topic`: create, list, describe and delete topics of any Kafka cluster.

use std::io::{self, Write};

use spate_net::client::{ClientError, Cluster};
use spate_net::kafka::{
    api::{
        Call as _,
        create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic},
        create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest},
        delete_topics::{DeleteTopicState, DeleteTopicsRequest},
        describe_configs::{
            DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResult, config_source,
            resource_type,
        },
        metadata::{MetadataResponse, MetadataResponseTopic},
    },
    error::ErrorCode,
};

use super::{ClientArgs, CommandError, config};

mod records;

/// How long a broker may take for a change.
const TIMEOUT_MS: i32 = 30_000;

/// What `topic` is told.
#[derive(clap::Subcommand, Debug)]
pub enum TopicCommand {
    /// Create a topic
    Create(CreateArgs),
    /// Change a topic's settings
    Alter(AlterArgs),
    /// Give a topic more partitions
    AddPartitions(PartitionsArgs),
    /// Delete a topic's first records
    DeleteRecords(records::RecordsArgs),
    /// List all topics
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show partitions and settings of topics, of all if none is named
    Describe {
        /// Their names
        names: Vec<String>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Delete topics with all their records
    Delete {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// What `topic create` is told.
#[derive(clap::Args, Debug)]
pub struct CreateArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    client: ClientArgs,
    /// How many partitions; otherwise the broker's num.partitions
    #[arg(short, long, value_name = "N", default_value_t = -1, hide_default_value = true)]
    partitions: i32,
    /// On how many nodes; otherwise the broker's default.replication.factor
    #[arg(short, long, value_name = "N", default_value_t = -1, hide_default_value = true)]
    replication_factor: i16,
    /// A setting of its own
    #[arg(short = 'c', long = "config", value_name = "KEY=VALUE", value_parser = pair)]
    configs: Vec<(String, String)>,
    /// No error if it exists
    #[arg(long)]
    if_not_exists: bool,
}

/// What `topic alter` is told.
#[derive(clap::Args, Debug)]
pub struct AlterArgs {
    /// Its name
    name: String,
    /// A setting's new value
    #[arg(short = 'c', long = "config", value_name = "KEY=VALUE", value_parser = pair)]
    configs: Vec<(String, String)>,
    /// A setting whose default shall hold again
    #[arg(long = "unset", value_name = "KEY")]
    unset: Vec<String>,
    #[command(flatten)]
    client: ClientArgs,
}

/// What `topic add-partitions` is told.
#[derive(clap::Args, Debug)]
pub struct PartitionsArgs {
    /// Its name
    name: String,
    /// How many it shall have altogether
    #[arg(value_name = "TOTAL", value_parser = clap::value_parser!(i32).range(1..))]
    total: i32,
    #[command(flatten)]
    client: ClientArgs,
}

/// A setting and its value on the command line.
pub fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Does it.
pub fn run(command: &TopicCommand) -> Result<(), CommandError> {
    super::reactor()?.block_on(async {
        match command {
            TopicCommand::Create(args) => create(args).await,
            TopicCommand::Alter(args) => alter(args).await,
            TopicCommand::AddPartitions(args) => add_partitions(args).await,
            TopicCommand::DeleteRecords(args) => records::run(args).await,
            TopicCommand::List { json, client } => list(*json, client).await,
            TopicCommand::Describe { names, client } => describe(names, client).await,
            TopicCommand::Delete { names, client } => delete(names, client).await,
        }
    })
}

async fn create(args: &CreateArgs) -> Result<(), CommandError> {
    let config = |(key, value): &(String, String)| {
        CreatableTopicConfig::default()
            .with_name(key.clone().into())
            .with_value(Some(value.clone().into()))
    };
    let topic = CreatableTopic::default()
        .with_name(args.name.clone().into())
        .with_num_partitions(args.partitions)
        .with_replication_factor(args.replication_factor)
        .with_configs(args.configs.iter().map(config).collect());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(TIMEOUT_MS);
    let reply = args
        .client
        .cluster()
        .await?
        .controller()
        .await?
        .call(&request)
        .await?;
    for topic in reply.topics {
        let exists = topic.error_code == ErrorCode::TopicAlreadyExists.code();
        if topic.error_code != 0 && !(exists && args.if_not_exists) {
            let what = format!("cannot create topic {}", args.name);
            let text = topic.error_message.as_ref().map(|text| text.as_str());
            return Err(ClientError::refused(what, topic.error_code.into(), text).into());
        }
        let done = if exists { "exists already" } else { "created" };
        print_line(&format!("{} {done}", args.name))?;
    }
    Ok(())
}

async fn alter(args: &AlterArgs) -> Result<(), CommandError> {
    let set = args.configs.iter();
    let set = set.map(|(key, value)| (key.clone(), Some(value.clone())));
    let changes: Vec<_> = set
        .chain(args.unset.iter().map(|key| (key.clone(), None)))
        .collect();
    if changes.is_empty() {
        let text = "nothing to change: give -c KEY=VALUE or --unset KEY";
        return Err(CommandError::Other(text.into()));
    }
    let cluster = args.client.cluster().await?;
    config::alter(
        &cluster,
        &config::Resource::topic(&args.name),
        changes,
        false,
    )
    .await?;
    print_line(&format!("{} altered", args.name))
}

async fn add_partitions(args: &PartitionsArgs) -> Result<(), CommandError> {
    let topic = CreatePartitionsTopic::default()
        .with_name(args.name.clone().into())
        .with_count(args.total)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(TIMEOUT_MS);
    let cluster = args.client.cluster().await?;
    let reply = cluster.controller().await?.call(&request).await?;
    for result in reply.results {
        if result.error_code != 0 {
            let what = format!("cannot add partitions to topic {}", args.name);
            let text = result.error_message.as_ref().map(|text| text.as_str());
            return Err(ClientError::refused(what, result.error_code.into(), text).into());
        }
    }
    print_line(&format!("{} has {} partitions", args.name, args.total))
}

async fn list(as_json: bool, args: &ClientArgs) -> Result<(), CommandError> {
    let reply = args.cluster().await?.metadata(None).await?;
    let names = reply.topics.iter().filter_map(|topic| topic.name.as_ref());
    let mut names: Vec<_> = names.map(|name| name.as_str()).collect();
    names.sort_unstable();
    if as_json {
        return print_line(&serde_json::json!(names).to_string());
    }
    names.into_iter().try_for_each(print_line)
}

async fn delete(names: &[String], args: &ClientArgs) -> Result<(), CommandError> {
    let node = args.cluster().await?.controller().await?;
    let mut request = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS);
    if node.version_of(&DeleteTopicsRequest::RANGE)? >= 6 {
        let topic =
            |name: &String| DeleteTopicState::default().with_name(Some(name.clone().into()));
        request = request.with_topics(names.iter().map(topic).collect());
    } else {
        let names = names.iter().map(|name| name.clone().into());
        request = request.with_topic_names(names.collect());
    }
    let mut failed = None;
    for topic in node.call(&request).await?.responses {
        let name = topic.name.map(|name| name.to_string()).unwrap_or_default();
        if topic.error_code == 0 {
            print_line(&format!("{name} deleted"))?;
        } else {
            let what = format!("cannot delete topic {name}");
            let text = topic.error_message.as_ref().map(|text| text.as_str());
            failed = Some(ClientError::refused(what, topic.error_code.into(), text));
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

async fn describe(names: &[String], args: &ClientArgs) -> Result<(), CommandError> {
    let cluster = args.cluster().await?;
    let asked: Vec<_> = names.iter().map(String::as_str).collect();
    let asked = (!asked.is_empty()).then_some(asked.as_slice());
    let MetadataResponse { mut topics, .. } = cluster.metadata(asked).await?;
    topics.sort_by_key(|topic| topic.name.as_ref().map(ToString::to_string));
    let mut failed = None;
    for topic in topics {
        let name = topic
            .name
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        if topic.error_code != 0 {
            let what = format!("cannot describe topic {name}");
            failed = Some(ClientError::refused(what, topic.error_code.into(), None));
            continue;
        }
        let settings = settings(&cluster, &name).await?;
        let mut out = io::stdout().lock();
        print_topic(&name, &topic, &settings, &mut out).map_err(CommandError::output)?;
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

async fn settings(cluster: &Cluster, name: &str) -> Result<DescribeConfigsResult, ClientError> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(resource_type::TOPIC)
        .with_resource_name(name.to_owned().into())
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let reply = cluster.any().await?.call(&request).await?;
    let Some(result) = reply.results.into_iter().next() else {
        return Ok(DescribeConfigsResult::default());
    };
    if result.error_code != 0 {
        let what = format!("settings of topic {name}");
        let text = result.error_message.as_ref().map(|text| text.as_str());
        return Err(ClientError::refused(what, result.error_code.into(), text));
    }
    Ok(result)
}

/// How durable the topic's records are is always said; other settings only if they are its own.
fn print_topic(
    name: &str,
    topic: &MetadataResponseTopic,
    settings: &DescribeConfigsResult,
    out: &mut impl Write,
) -> io::Result<()> {
    let internal = if topic.is_internal { ", internal" } else { "" };
    let count = topic.partitions.len();
    writeln!(
        out,
        "{name}: {count} partition(s), id {}{internal}",
        topic.topic_id
    )?;
    for setting in &settings.configs {
        let own = setting.config_source == config_source::DYNAMIC_TOPIC_CONFIG;
        let key = setting.name.as_str();
        if own || key == "durability" {
            let value = setting.value.as_ref().map_or("", |value| value.as_str());
            writeln!(
                out,
                "  {key} = {value}{}",
                if own { "" } else { " (default)" }
            )?;
        }
    }
    let mut partitions: Vec<_> = topic.partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.partition_index);
    for partition in partitions {
        writeln!(
            out,
            "  partition {}: leader {} (epoch {}), replicas {:?}, in sync {:?}",
            partition.partition_index,
            partition.leader_id,
            partition.leader_epoch,
            partition.replica_nodes,
            partition.isr_nodes
        )?;
    }
    Ok(())
}

fn print_line(line: &str) -> Result<(), CommandError> {
    writeln!(io::stdout(), "{line}").map_err(CommandError::output)
}
