//! OffsetForLeaderEpoch (23), versions 2-4, flexible from 4: where an epoch's records end.
//!
//! Errors per partition: 3 unknown, 6 not the leader, 74/75 current leader epoch older/newer.
//! An epoch without records here is answered with epoch -1 and offset -1.
//!
//! Clients: consumers ask after a change of leadership, to find out whether what they read was
//! cut off. librdkafka speaks v2 only. The replica id is -1 for consumers, -2 in their older
//! versions.

pub use kacrab_protocol::generated::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequestData as OffsetForLeaderEpochRequest, OffsetForLeaderPartition,
    OffsetForLeaderTopic,
};
pub use kacrab_protocol::generated::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponseData as OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::OffsetForLeaderEpoch, 2, 4, 4);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::since(3, Kind::Fixed(4)),
    Part::always(Kind::List(&[
        Part::always(Kind::Text),
        Part::always(Kind::List(&[Part::always(Kind::Fixed(12))])),
    ])),
];

generated_api!(OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse);
