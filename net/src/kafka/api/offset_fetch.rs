//! OffsetFetch (9), versions 1-10, flexible from 6: how far a group had come.
//!
//! Errors: 14/15/16 the coordinator's state, 88 a transaction in the way (`require_stable`, v7),
//! 100 an unknown topic id (v10). A partition without an offset is -1 without an error.
//!
//! Clients: from v2 null topics mean all; v8 asks for many groups at once; v10 names topics by id.

pub use kacrab_protocol::generated::offset_fetch_request::{
    OffsetFetchRequestData as OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
};
pub use kacrab_protocol::generated::offset_fetch_response::{
    OffsetFetchResponseData as OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};

use super::generated_api;
use crate::kafka::shape::{Kind, Part, Shape};
use crate::kafka::versions::{ApiKey, ApiRange};

/// The served versions.
pub const RANGE: ApiRange = ApiRange::new(ApiKey::OffsetFetch, 1, 10, 6);

/// The request on the wire.
pub const SHAPE: Shape = &[
    Part::within(0, 7, Kind::Text),
    Part::within(0, 1, Kind::List(TOPIC)),
    Part::within(2, 7, Kind::NullableList(TOPIC)),
    Part::since(
        8,
        Kind::List(&[
            Part::always(Kind::Text),
            Part::since(9, Kind::NullableText(9)),
            Part::since(9, Kind::Fixed(4)),
            Part::always(Kind::NullableList(&[
                Part::within(0, 9, Kind::Text),
                Part::since(10, Kind::Fixed(16)),
                Part::always(Kind::Values(&Kind::Fixed(4))),
            ])),
        ]),
    ),
    Part::since(7, Kind::Bool),
];

/// A topic of a request for one group.
const TOPIC: Shape = &[
    Part::always(Kind::Text),
    Part::always(Kind::Values(&Kind::Fixed(4))),
];

generated_api!(OffsetFetchRequest => OffsetFetchResponse);
