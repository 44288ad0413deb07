//! `spate config topic` and `spate config broker`: read and change the settings that a running
//! cluster keeps for its topics and brokers, of any Kafka cluster.

use std::io::{self, Write};

use serde_json::json;
use spate_net::{
    client::{ClientError, Cluster, Connection},
    kafka::{
        KafkaString,
        api::{
            describe_configs::{
                DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
                config_source, resource_type,
            },
            incremental_alter_configs::{
                AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, operation,
            },
        },
    },
};

use super::super::{ClientArgs, CommandError, table};

/// What `config` is told about things that have settings.
#[derive(clap::Subcommand, Debug)]
pub enum ResourceCommand {
    /// Settings of a topic
    #[command(subcommand)]
    Topic(TopicVerb),
    /// Settings of brokers that may change while they run
    #[command(subcommand)]
    Broker(BrokerVerb),
}

/// What can be done to a topic's settings.
#[derive(clap::Subcommand, Debug)]
pub enum TopicVerb {
    /// Show them: its own, or those that are named
    Get {
        /// The topic
        name: String,
        #[command(flatten)]
        args: GetArgs,
    },
    /// Give it values of its own
    Set {
        /// The topic
        name: String,
        #[command(flatten)]
        args: SetArgs,
    },
    /// Let the defaults hold again
    Unset {
        /// The topic
        name: String,
        #[command(flatten)]
        args: UnsetArgs,
    },
}

/// What can be done to brokers' settings.
#[derive(clap::Subcommand, Debug)]
pub enum BrokerVerb {
    /// Show them: what was set for all brokers, or what holds for one
    Get {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        args: GetArgs,
    },
    /// Set them, for all brokers or for one
    Set {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        args: SetArgs,
    },
    /// Let what the brokers were started with hold again
    Unset {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        args: UnsetArgs,
    },
}

/// Which broker.
#[derive(clap::Args, Debug)]
pub struct NodeArgs {
    /// One broker; otherwise all of them
    #[arg(long, value_name = "ID")]
    node: Option<i32>,
}

/// What `get` is told.
#[derive(clap::Args, Debug)]
pub struct GetArgs {
    /// Only these
    keys: Vec<String>,
    /// Defaults too
    #[arg(long)]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// What `set` is told.
#[derive(clap::Args, Debug)]
pub struct SetArgs {
    /// The new values
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = super::super::topic::pair)]
    pairs: Vec<(String, String)>,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// What `unset` is told.
#[derive(clap::Args, Debug)]
pub struct UnsetArgs {
    /// Which
    #[arg(required = true)]
    keys: Vec<String>,
    #[command(flatten)]
    client: ClientArgs,
}

/// The thing whose settings are meant.
pub struct Resource {
    kind: i8,
    name: String,
    node: Option<i32>,
}

impl Resource {
    /// A topic.
    pub fn topic(name: &str) -> Resource {
        Resource {
            kind: resource_type::TOPIC,
            name: name.to_owned(),
            node: None,
        }
    }

    fn broker(node: &NodeArgs) -> Resource {
        Resource {
            kind: resource_type::BROKER,
            name: node.node.map(|id| id.to_string()).unwrap_or_default(),
            node: node.node,
        }
    }

    /// Who is asked: only the broker itself knows what holds for it.
    async fn connection(&self, cluster: &Cluster) -> Result<Connection, ClientError> {
        match self.node {
            Some(id) => cluster.node(id).await,
            None => cluster.controller().await,
        }
    }

    fn what(&self, verb: &str) -> String {
        match (self.kind, self.node) {
            (resource_type::TOPIC, _) => format!("cannot {verb} settings of topic {}", self.name),
            (_, Some(id)) => format!("cannot {verb} settings of broker {id}"),
            (_, None) => format!("cannot {verb} settings of all brokers"),
        }
    }
}

/// Does it.
pub fn run(command: &ResourceCommand) -> Result<(), CommandError> {
    super::super::reactor()?.block_on(async {
        match command {
            ResourceCommand::Topic(TopicVerb::Get { name, args }) => {
                get(&Resource::topic(name), args).await
            }
            ResourceCommand::Topic(TopicVerb::Set { name, args }) => {
                set(&Resource::topic(name), args).await
            }
            ResourceCommand::Topic(TopicVerb::Unset { name, args }) => {
                unset(&Resource::topic(name), args).await
            }
            ResourceCommand::Broker(BrokerVerb::Get { node, args }) => {
                get(&Resource::broker(node), args).await
            }
            ResourceCommand::Broker(BrokerVerb::Set { node, args }) => {
                set(&Resource::broker(node), args).await
            }
            ResourceCommand::Broker(BrokerVerb::Unset { node, args }) => {
                unset(&Resource::broker(node), args).await
            }
        }
    })
}

async fn set(resource: &Resource, args: &SetArgs) -> Result<(), CommandError> {
    let cluster = args.client.cluster().await?;
    let pairs = args.pairs.iter();
    let changes = pairs.map(|(key, value)| (key.clone(), Some(value.clone())));
    alter(&cluster, resource, changes.collect(), args.dry_run).await
}

async fn unset(resource: &Resource, args: &UnsetArgs) -> Result<(), CommandError> {
    let cluster = args.client.cluster().await?;
    let changes = args.keys.iter().map(|key| (key.clone(), None));
    alter(&cluster, resource, changes.collect(), false).await
}

/// Gives settings values, or with `None` takes them away; all or none.
pub async fn alter(
    cluster: &Cluster,
    resource: &Resource,
    changes: Vec<(String, Option<String>)>,
    dry_run: bool,
) -> Result<(), CommandError> {
    let change = |(key, value): (String, Option<String>)| {
        let operation = match value {
            Some(_) => operation::SET,
            None => operation::DELETE,
        };
        AlterableConfig::default()
            .with_name(key.into())
            .with_config_operation(operation)
            .with_value(value.map(KafkaString::from))
    };
    let asked = AlterConfigsResource::default()
        .with_resource_type(resource.kind)
        .with_resource_name(resource.name.clone().into())
        .with_configs(changes.into_iter().map(change).collect());
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![asked])
        .with_validate_only(dry_run);
    let reply = resource.connection(cluster).await?.call(&request).await?;
    for response in reply.responses {
        if response.error_code != 0 {
            let text = response.error_message.as_ref().map(|text| text.as_str());
            let what = resource.what("change");
            return Err(ClientError::refused(what, response.error_code.into(), text).into());
        }
    }
    Ok(())
}

async fn get(resource: &Resource, args: &GetArgs) -> Result<(), CommandError> {
    let cluster = args.client.cluster().await?;
    let keys = args.keys.iter().map(|key| key.clone().into());
    let asked = DescribeConfigsResource::default()
        .with_resource_type(resource.kind)
        .with_resource_name(resource.name.clone().into())
        .with_configuration_keys((!args.keys.is_empty()).then(|| keys.collect()));
    let request = DescribeConfigsRequest::default().with_resources(vec![asked]);
    let reply = resource.connection(&cluster).await?.call(&request).await?;
    let mut rows = Vec::new();
    for result in reply.results {
        if result.error_code != 0 {
            let text = result.error_message.as_ref().map(|text| text.as_str());
            let text = text.filter(|text| !text.is_empty());
            let what = resource.what("read");
            return Err(ClientError::refused(what, result.error_code.into(), text).into());
        }
        rows.extend(result.configs);
    }
    let is_default = |row: &DescribeConfigsResourceResult| {
        let source = row.config_source;
        let inherited = source != config_source::DYNAMIC_TOPIC_CONFIG;
        source == config_source::DEFAULT_CONFIG
            || (resource.kind == resource_type::TOPIC && inherited)
    };
    if !args.all && args.keys.is_empty() {
        rows.retain(|row| !is_default(row));
    }
    rows.sort_by(|left, right| left.name.as_str().cmp(right.name.as_str()));
    let mut out = io::stdout().lock();
    print(&rows, args.json, &mut out).map_err(CommandError::output)
}

fn print(
    rows: &[DescribeConfigsResourceResult],
    as_json: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let value = |row: &DescribeConfigsResourceResult| {
        row.value.as_ref().map(|value| value.as_str().to_owned())
    };
    if as_json {
        let row = |row: &DescribeConfigsResourceResult| {
            json!({
                "key": row.name.as_str(),
                "value": value(row),
                "source": source(row.config_source),
                "read_only": row.read_only,
                "sensitive": row.is_sensitive,
            })
        };
        let rows: Vec<_> = rows.iter().map(row).collect();
        return writeln!(out, "{}", json!(rows));
    }
    let row = |row: &DescribeConfigsResourceResult| {
        let shown = if row.is_sensitive {
            Some("(not shown)".to_owned())
        } else {
            value(row)
        };
        vec![
            row.name.to_string(),
            shown.unwrap_or_default(),
            source(row.config_source).to_owned(),
        ]
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    table::print(out, &["KEY", "VALUE", "SOURCE"], &rows)
}

fn source(number: i8) -> &'static str {
    match number {
        config_source::DYNAMIC_TOPIC_CONFIG => "topic",
        config_source::DYNAMIC_BROKER_CONFIG => "broker, while running",
        config_source::DYNAMIC_DEFAULT_BROKER_CONFIG => "all brokers, while running",
        config_source::STATIC_BROKER_CONFIG => "broker's start",
        config_source::DEFAULT_CONFIG => "default",
        _ => "other",
    }
}
