//! What a consumer subscribes to: the front of the metadata that it joins with, which the broker
//! reads only to know whose offsets are still of use.
//!
//! ```text
//! version i16 | topics: i32 count, each i16 length + name | user data, owned partitions, ...
//! ```
//! Later versions only add behind, so any version is read this far.

use bytes::Bytes;
use spate_net::kafka::primitives::Reader;

/// The topics; `None` if these bytes are no subscription.
pub fn topics(metadata: &Bytes) -> Option<Vec<String>> {
    let mut reader = Reader::new(metadata, false);
    if reader.i16("version").ok()? < 0 {
        return None;
    }
    let count = reader.array("topics", 2).ok()?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        topics.push(reader.string("topic").ok()?.as_str().to_owned());
    }
    Some(topics)
}
