//! Which versions a broker speaks, asked at the start of each connection.

use super::error::ClientError;
use crate::kafka::api::api_versions::ApiVersionsResponse;
use crate::kafka::versions::{ApiKey, ApiRange};

/// The ranges that a broker has named.
#[derive(Clone, Debug, Default)]
pub struct BrokerVersions {
    ranges: Vec<(i16, i16, i16)>,
}

impl BrokerVersions {
    pub(super) fn of(response: &ApiVersionsResponse) -> BrokerVersions {
        let keys = response.api_keys.iter();
        let ranges = keys
            .map(|api| (api.api_key, api.min_version, api.max_version))
            .collect();
        BrokerVersions { ranges }
    }

    pub(super) fn range(&self, key: ApiKey) -> Option<(i16, i16)> {
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
