//! The requests of administrators: which handler answers which. They come rarely, and none of them
//! stands in the way of a record.

use spate_net::kafka::{header::Request, versions::ApiKey};

use crate::{
    connection::{Client, Closed},
    handler::{
        Answered, Context, alter_configs, create_partitions, create_topics, decode, delete_records,
        delete_topics, describe_cluster, describe_configs, describe_log_dirs,
        incremental_alter_configs, list_config_resources, reply, unreadable,
    },
};

/// Answers a request that is none of the data path's.
pub async fn answer(
    context: &Context,
    client: Client,
    request: &Request,
) -> Result<Answered, Closed> {
    let Request { header, body, .. } = request;
    let router = &context.router;
    let control = &context.control;
    match header.api.key {
        ApiKey::CreateTopics => reply(
            header,
            &create_topics::answer(decode(header, body)?, control).await,
        ),
        ApiKey::DeleteTopics => {
            let asked = decode(header, body)?;
            reply(
                header,
                &delete_topics::answer(header.version, asked, control).await,
            )
        }
        ApiKey::DeleteRecords => reply(
            header,
            &delete_records::answer(decode(header, body)?, router).await,
        ),
        ApiKey::CreatePartitions => reply(
            header,
            &create_partitions::answer(decode(header, body)?, control).await,
        ),
        ApiKey::DescribeCluster => reply(
            header,
            &describe_cluster::answer(&decode(header, body)?, &router.image(), client.listener),
        ),
        ApiKey::DescribeLogDirs => reply(
            header,
            &describe_log_dirs::answer(decode(header, body)?, context).await,
        ),
        ApiKey::DescribeConfigs => {
            let asked = decode(header, body)?;
            let image = router.image();
            reply(header, &describe_configs::answer(asked, &image))
        }
        ApiKey::AlterConfigs => reply(
            header,
            &alter_configs::answer(decode(header, body)?, control).await,
        ),
        ApiKey::IncrementalAlterConfigs => {
            let asked = decode(header, body)?;
            reply(
                header,
                &incremental_alter_configs::answer(asked, control, &context.config).await,
            )
        }
        ApiKey::ListConfigResources => {
            let asked = decode(header, body)?;
            reply(
                header,
                &list_config_resources::answer(header.version, &asked, &router.image()),
            )
        }
        // Every API that is served has a handler: a test asks each. Were one forgotten, its client
        // would be told as of an API that is not served.
        _ => Err(unreadable(header, &"no handler serves it")),
    }
}
