//! DescribeUserScramCredentials: without SASL no user has a password.

use std::collections::{BTreeMap, BTreeSet};

use spate_net::kafka::{
    KafkaString,
    api::describe_user_scram_credentials::{
        DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
        DescribeUserScramCredentialsResult,
    },
    error::ErrorCode,
};

/// Answers: each user once, in the order in which they were first named.
pub fn answer(asked: &DescribeUserScramCredentialsRequest) -> DescribeUserScramCredentialsResponse {
    let users = || asked.users.iter().flatten().map(|user| user.name.as_str());
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    users().for_each(|user| *times.entry(user).or_default() += 1);
    let mut told = BTreeSet::new();
    let results = users().filter(|user| told.insert(*user)).map(|user| {
        let (code, text) = if times[user] > 1 {
            let text = "Cannot describe SCRAM credentials for the same user twice in a single \
                        request:";
            (ErrorCode::DuplicateResource, text)
        } else {
            let text = "Attempt to describe a user credential that does not exist:";
            (ErrorCode::ResourceNotFound, text)
        };
        DescribeUserScramCredentialsResult::default()
            .with_user(user.to_owned().into())
            .with_error_code(code.code())
            .with_error_message(Some(format!("{text} {user}").into()))
    });
    DescribeUserScramCredentialsResponse::default()
        .with_error_message(Some(KafkaString::from_static("")))
        .with_results(results.collect())
}
