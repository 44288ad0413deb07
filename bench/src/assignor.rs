//! What the members of a consumer group tell each other through the broker, which does not read it:
//! what each wants, and what each is given. Both are the consumer protocol's own formats (Kafka's
//! ConsumerProtocolSubscription and ConsumerProtocolAssignment) with one topic.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use spate_net::kafka::KafkaString;
use spate_net::kafka::api::sync_group::SyncGroupRequestAssignment;

/// The type of protocol of every consumer group.
pub const PROTOCOL_TYPE: &str = "consumer";
/// How partitions are dealt out here: so many in a row to each, as Kafka's range assignor does.
pub const PROTOCOL: &str = "range";

/// What a member wants, version 1: a topic, bytes of its own that others pass over, and the
/// partitions that it owns when it joins again.
pub fn subscription(topic: &str, own: &[u8], owned: &[i32]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    bytes.put_i32(1);
    put_text(&mut bytes, topic);
    bytes.put_i32(own.len() as i32);
    bytes.put_slice(own);
    put_partitions(&mut bytes, topic, owned);
    bytes.freeze()
}

/// Deals the partitions out: so many in a row to each member, the first ones one more. Nobody gets
/// any in a group without members.
pub fn deal(
    mut members: Vec<KafkaString>,
    topic: &str,
    partitions: &[i32],
) -> Vec<SyncGroupRequestAssignment> {
    members.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    let each = partitions.len().checked_div(members.len()).unwrap_or(0);
    let more = partitions.len().checked_rem(members.len()).unwrap_or(0);
    let mut rest = partitions;
    let mut assignments = Vec::with_capacity(members.len());
    for (index, member) in members.into_iter().enumerate() {
        let (share, others) = rest.split_at(each + usize::from(index < more));
        rest = others;
        assignments.push(
            SyncGroupRequestAssignment::default()
                .with_member_id(member)
                .with_assignment(assignment(topic, share)),
        );
    }
    assignments
}

/// What a member is given, version 0, without bytes of the assignor's own.
fn assignment(topic: &str, partitions: &[i32]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    put_partitions(&mut bytes, topic, partitions);
    bytes.put_i32(-1);
    bytes.freeze()
}

/// The partitions of a topic in an assignment; none if it cannot be read.
pub fn partitions_of(mut bytes: Bytes, topic: &str) -> Vec<i32> {
    let mut read = || {
        bytes.try_get_i16().ok()?;
        for _ in 0..bytes.try_get_i32().ok()? {
            let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
            let is_ours = bytes.get(..length)? == topic.as_bytes();
            bytes.advance(length);
            let mut partitions = Vec::new();
            for _ in 0..bytes.try_get_i32().ok()? {
                partitions.push(bytes.try_get_i32().ok()?);
            }
            if is_ours {
                return Some(partitions);
            }
        }
        None
    };
    read().unwrap_or_default()
}

fn put_partitions(bytes: &mut BytesMut, topic: &str, partitions: &[i32]) {
    bytes.put_i32(1);
    put_text(bytes, topic);
    bytes.put_i32(partitions.len() as i32);
    partitions.iter().for_each(|index| bytes.put_i32(*index));
}

fn put_text(bytes: &mut BytesMut, text: &str) {
    bytes.put_i16(text.len() as i16);
    bytes.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::text;

    #[test]
    fn assignments_are_read_as_they_are_written() {
        let bytes = assignment("mine", &[3, 1, 2]);
        assert_eq!(partitions_of(bytes.clone(), "mine"), [3, 1, 2]);
        assert_eq!(partitions_of(bytes.clone(), "other"), Vec::<i32>::new());
        for cut in 0..bytes.len() - 4 {
            assert_eq!(
                partitions_of(bytes.slice(..cut), "mine"),
                Vec::<i32>::new(),
                "{cut}"
            );
        }
        assert_eq!(partitions_of(Bytes::new(), "mine"), Vec::<i32>::new());
    }

    #[test]
    fn every_partition_is_dealt_out_once() {
        let members = ["b", "a", "c"].map(text).to_vec();
        let partitions: Vec<i32> = (0..10).collect();
        let dealt = deal(members, "topic", &partitions);
        let parts = dealt.into_iter().map(|part| {
            let given = partitions_of(part.assignment, "topic");
            (part.member_id.as_str().to_owned(), given)
        });
        assert_eq!(
            parts.collect::<Vec<_>>(),
            [
                ("a".to_owned(), vec![0, 1, 2, 3]),
                ("b".to_owned(), vec![4, 5, 6]),
                ("c".to_owned(), vec![7, 8, 9])
            ]
        );
    }

    #[test]
    fn a_leader_without_members_deals_nothing() {
        assert!(deal(Vec::new(), "topic", &[0, 1]).is_empty());
    }
}
