//! The requests of administrators: which handler answers which. They come rarely, and none of them
//! stands in the way of a record.

use spate_net::kafka::{header::Request, versions::ApiKey};

use crate::{
    connection::{Client, Closed},
    handler::{
        Answered, Context, alter_configs, alter_partition_reassignments, alter_replica_log_dirs,
        create_acls, create_partitions, create_topics, decode, delete_acls, delete_records,
        delete_topics, describe_acls, describe_client_quotas, describe_cluster, describe_configs,
        describe_log_dirs, describe_producers, describe_quorum, describe_topic_partitions,
        describe_transactions, describe_user_scram_credentials, elect_leaders,
        incremental_alter_configs, list_config_resources, list_partition_reassignments,
        list_transactions, reply, unreadable, unregister_broker, update_features,
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
            &describe_log_dirs::answer(decode(header, body)?, context, client.listener).await,
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
        ApiKey::DescribeProducers => reply(
            header,
            &describe_producers::answer(decode(header, body)?, router).await,
        ),
        _ => answer_alone(context, client, request),
    }
}

/// Answers what is the same for any cluster of one node; what the image says is all it takes.
fn answer_alone(context: &Context, client: Client, request: &Request) -> Result<Answered, Closed> {
    let Request { header, body, .. } = request;
    let image = context.router.image();
    match header.api.key {
        ApiKey::DescribeTopicPartitions => reply(
            header,
            &describe_topic_partitions::answer(&decode(header, body)?, &image, client.listener),
        ),
        ApiKey::ElectLeaders => reply(
            header,
            &elect_leaders::answer(header.version, &decode(header, body)?, &image),
        ),
        ApiKey::AlterPartitionReassignments => reply(
            header,
            &alter_partition_reassignments::answer(&decode(header, body)?, &image),
        ),
        ApiKey::ListPartitionReassignments => reply(
            header,
            &list_partition_reassignments::answer(&decode(header, body)?),
        ),
        ApiKey::AlterReplicaLogDirs => reply(
            header,
            &alter_replica_log_dirs::answer(&decode(header, body)?, &image, &context.config),
        ),
        ApiKey::DescribeQuorum => reply(
            header,
            &describe_quorum::answer(header.version, &decode(header, body)?, &image),
        ),
        ApiKey::UnregisterBroker => reply(
            header,
            &unregister_broker::answer(&decode(header, body)?, &image),
        ),
        ApiKey::UpdateFeatures => reply(
            header,
            &update_features::answer(header.version, &decode(header, body)?, image.node.node_id),
        ),
        _ => answer_without(request),
    }
}

/// Answers for what this broker does not have: an authorizer, quotas, passwords, transactions.
fn answer_without(request: &Request) -> Result<Answered, Closed> {
    let Request { header, body, .. } = request;
    match header.api.key {
        ApiKey::DescribeClientQuotas => reply(
            header,
            &describe_client_quotas::answer(&decode(header, body)?),
        ),
        ApiKey::DescribeUserScramCredentials => reply(
            header,
            &describe_user_scram_credentials::answer(&decode(header, body)?),
        ),
        ApiKey::DescribeAcls => reply(header, &describe_acls::answer(&decode(header, body)?)),
        ApiKey::CreateAcls => reply(header, &create_acls::answer(&decode(header, body)?)),
        ApiKey::DeleteAcls => reply(header, &delete_acls::answer(&decode(header, body)?)),
        ApiKey::DescribeTransactions => reply(
            header,
            &describe_transactions::answer(&decode(header, body)?),
        ),
        ApiKey::ListTransactions => {
            reply(header, &list_transactions::answer(&decode(header, body)?))
        }
        // Every API that is served has a handler: a test asks each. Were one forgotten, its client
        // would be told as of an API that is not served.
        _ => Err(unreadable(header, &"no handler serves it")),
    }
}
