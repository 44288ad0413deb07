//! `spate group`: list, describe and delete groups of any Kafka cluster, and set their offsets.

mod describe;
mod reset;
mod table;

use std::io::{self, Write as _};

use spate_net::{
    client::ClientError,
    kafka::{
        api::{delete_groups::DeleteGroupsRequest, list_groups::ListedGroup},
        error::ErrorCode,
    },
};

use self::table::Table;
use super::{ClientArgs, CommandError};

/// What `group` is told.
#[derive(clap::Subcommand, Debug)]
pub enum GroupCommand {
    /// List all groups
    List {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show how far groups have come and who is in them, of all if none is named
    Describe {
        /// Their names
        names: Vec<String>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Set the offsets of a group that nobody is in
    ResetOffsets(reset::ResetArgs),
    /// Delete groups that nobody is in, with their offsets
    Delete {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// Does it.
pub fn run(command: &GroupCommand) -> Result<(), CommandError> {
    super::reactor()?.block_on(async {
        match command {
            GroupCommand::List { json, client } => list(*json, client).await,
            GroupCommand::Describe {
                names,
                json,
                client,
            } => describe::run(names, *json, client).await,
            GroupCommand::ResetOffsets(args) => reset::run(args).await,
            GroupCommand::Delete { names, client } => delete(names, client).await,
        }
    })
}

async fn list(json: bool, client: &ClientArgs) -> Result<(), CommandError> {
    let groups = client.cluster().await?.groups().await?;
    if json {
        let group = |group: &ListedGroup| {
            serde_json::json!({
                "group": group.group_id.as_str(),
                "protocol_type": group.protocol_type.as_str(),
                "state": group.group_state.as_str(),
                "type": group.group_type.as_str(),
            })
        };
        let groups: Vec<_> = groups.iter().map(group).collect();
        return print_json(&groups.into());
    }
    let mut table = Table::new(&["GROUP", "TYPE", "PROTOCOL", "STATE"]);
    for group in &groups {
        let cells = [
            &group.group_id,
            &group.group_type,
            &group.protocol_type,
            &group.group_state,
        ];
        table.row(cells.map(|cell| cell.as_str().to_owned()));
    }
    print(&table.to_string())
}

async fn delete(names: &[String], client: &ClientArgs) -> Result<(), CommandError> {
    let cluster = client.cluster().await?;
    let mut failed = None;
    for name in names {
        let node = cluster.coordinator(name).await?;
        let names = vec![name.clone().into()];
        let asked = DeleteGroupsRequest::default().with_groups_names(names);
        for result in node.call(&asked).await?.results {
            match ErrorCode::from(result.error_code) {
                ErrorCode::None => print(&format!("{name} deleted\n"))?,
                code => {
                    let what = format!("cannot delete group {name}");
                    failed = Some(ClientError::refused(what, code, None));
                }
            }
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

fn print(text: &str) -> Result<(), CommandError> {
    write!(io::stdout(), "{text}").map_err(CommandError::output)
}

fn print_json(value: &serde_json::Value) -> Result<(), CommandError> {
    print(&format!("{value:#}\n"))
}
