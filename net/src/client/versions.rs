//! Which versions a broker speaks, asked at the start of each connection.

use super::connection::Connection;
use super::error::ClientError;
use crate::kafka::api::api_versions::{ApiVersionsRequest, ApiVersionsResponse, RANGE};
use crate::kafka::error::ErrorCode;
use crate::kafka::versions::{ApiKey, ApiRange};

/// The ranges that a broker has named.
#[derive(Clone, Debug, Default)]
pub struct BrokerVersions {
    ranges: Vec<(i16, i16, i16)>,
}

impl BrokerVersions {
    fn of(response: &ApiVersionsResponse) -> BrokerVersions {
        let keys = response.api_keys.iter();
        let ranges = keys
            .map(|api| (api.api_key, api.min_version, api.max_version))
            .collect();
        BrokerVersions { ranges }
    }

    fn range(&self, key: ApiKey) -> Option<(i16, i16)> {
        let mut ranges = self.ranges.iter();
        let found = ranges.find(|(number, _, _)| *number == key as i16);
        found.map(|(_, min, max)| (*min, *max))
    }

    /// The highest version that both sides speak.
    pub fn pick(&self, ours: &ApiRange) -> Result<i16, ClientError> {
        let Some((min, max)) = self.range(ours.key) else {
            return Err(ClientError::Version {
                api: ours.key,
                min: -1,
                max: -1,
            });
        };
        let version = max.min(ours.max);
        if version < min.max(ours.min) {
            return Err(ClientError::Version {
                api: ours.key,
                min,
                max,
            });
        }
        Ok(version)
    }
}

/// Asks a broker in our highest version; a broker that does not know it says which it knows, in
/// version 0.
pub(super) async fn negotiate(connection: &Connection) -> Result<BrokerVersions, ClientError> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name("spate".to_owned().into())
        .with_client_software_version(env!("CARGO_PKG_VERSION").to_owned().into());
    let mut version = RANGE.max;
    loop {
        let response = connection.api_versions(version, &request).await?;
        let code = ErrorCode::from(response.error_code);
        let known = BrokerVersions::of(&response);
        match code {
            ErrorCode::None => return Ok(known),
            // Before Kafka 2.4 the list is empty: version 0 is spoken by all.
            ErrorCode::UnsupportedVersion if version > 0 => {
                let theirs = known.range(ApiKey::ApiVersions).map_or(0, |(_, max)| max);
                version = theirs.min(version - 1);
            }
            code => return Err(ClientError::refused("ApiVersions".to_owned(), code, None)),
        }
    }
}
