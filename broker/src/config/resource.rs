//! What has settings besides the broker: topics, groups, clients' metrics, loggers. The keys that
//! a topic and a broker share are in `table`; here are those that only one kind of thing has.
//!
//! A row's `key` is the broker's key that Kafka names as the place of the default, and its
//! `topic_key` the thing's own. The broker itself serves none of those broker keys.

use super::value::{
    Kind, Setting,
    Unit::{Milliseconds, None as NoUnit},
};

/// A kind of thing that has settings, with Kafka's numbers (`ConfigResource.Type`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i8)]
pub enum ResourceKind {
    /// A topic.
    Topic = 2,
    /// A broker, or by the empty name all of them.
    Broker = 4,
    /// A broker's loggers: their levels are not kept.
    BrokerLogger = 8,
    /// A subscription to clients' metrics (KIP-714).
    ClientMetrics = 16,
    /// A group.
    Group = 32,
}

impl ResourceKind {
    /// The kind with this number.
    #[must_use]
    pub fn of(number: i8) -> Option<ResourceKind> {
        use ResourceKind::{Broker, BrokerLogger, ClientMetrics, Group, Topic};
        [Topic, Broker, BrokerLogger, ClientMetrics, Group]
            .into_iter()
            .find(|kind| *kind as i8 == number)
    }
}

const INT_MAX: i64 = i32::MAX as i64;

const ONE_NODE: &str = "no effect: replication between nodes is not throttled.";
const NO_TIERS: &str = "no effect: nothing is kept in a remote tier.";
const NO_CONSUMER: &str = "no effect: groups of the new consumer protocol are not served yet.";
const NO_SHARE: &str = "no effect: share groups are not served yet.";
const NO_STREAMS: &str = "no effect: groups of the new streams protocol are not served yet.";
const NO_TELEMETRY: &str = "no effect: clients' metrics are not collected.";

/// Settings that only topics have. Without a broker's key, both are the topic's.
pub const TOPIC_ONLY: &[Setting] = &[
    topic_only(
        Setting::text("leader.replication.throttled.replicas", "", Kind::Replicas),
        ONE_NODE,
    ),
    topic_only(
        Setting::text(
            "follower.replication.throttled.replicas",
            "",
            Kind::Replicas,
        ),
        ONE_NODE,
    ),
    topic_only(Setting::bool("remote.storage.enable", false), NO_TIERS),
    topic_only(Setting::bool("remote.log.copy.disable", false), NO_TIERS),
    topic_only(
        Setting::bool("remote.log.delete.on.disable", false),
        NO_TIERS,
    ),
];

/// Settings of a group, with the limits that Kafka's broker sets by default.
pub const GROUP: &[Setting] = &[
    interval("group.consumer.session.timeout.ms", 45_000, 45_000, 60_000)
        .topic("consumer.session.timeout.ms")
        .means(NO_CONSUMER),
    interval("group.consumer.heartbeat.interval.ms", 5000, 5000, 15_000)
        .topic("consumer.heartbeat.interval.ms")
        .means(NO_CONSUMER),
    interval("group.consumer.assignment.interval.ms", 1000, 0, 15_000)
        .topic("consumer.assignment.interval.ms")
        .means(NO_CONSUMER),
    interval("group.share.session.timeout.ms", 45_000, 45_000, 60_000)
        .topic("share.session.timeout.ms")
        .means(NO_SHARE),
    interval("group.share.heartbeat.interval.ms", 5000, 5000, 15_000)
        .topic("share.heartbeat.interval.ms")
        .means(NO_SHARE),
    interval("group.share.assignment.interval.ms", 1000, 0, 15_000)
        .topic("share.assignment.interval.ms")
        .means(NO_SHARE),
    interval(
        "group.share.record.lock.duration.ms",
        30_000,
        15_000,
        60_000,
    )
    .topic("share.record.lock.duration.ms")
    .means(NO_SHARE),
    Setting::int("group.share.delivery.count.limit", 5, 2, 10, NoUnit)
        .topic("share.delivery.count.limit")
        .means(NO_SHARE),
    Setting::int(
        "group.share.partition.max.record.locks",
        2000,
        100,
        4000,
        NoUnit,
    )
    .topic("share.partition.max.record.locks")
    .means(NO_SHARE),
    Setting::text("share.auto.offset.reset", "latest", Kind::Text)
        .topic("share.auto.offset.reset")
        .means(NO_SHARE),
    Setting::text(
        "share.isolation.level",
        "read_uncommitted",
        Kind::Choice(&["read_committed", "read_uncommitted"]),
    )
    .topic("share.isolation.level")
    .means(NO_SHARE),
    Setting::bool("share.renew.acknowledge.enable", true)
        .topic("share.renew.acknowledge.enable")
        .means(NO_SHARE),
    interval("group.streams.session.timeout.ms", 45_000, 45_000, 60_000)
        .topic("streams.session.timeout.ms")
        .means(NO_STREAMS),
    interval("group.streams.heartbeat.interval.ms", 5000, 5000, 15_000)
        .topic("streams.heartbeat.interval.ms")
        .means(NO_STREAMS),
    interval("group.streams.assignment.interval.ms", 1000, 0, 15_000)
        .topic("streams.assignment.interval.ms")
        .means(NO_STREAMS),
    interval("group.streams.initial.rebalance.delay.ms", 3000, 0, INT_MAX)
        .topic("streams.initial.rebalance.delay.ms")
        .means(NO_STREAMS),
    Setting::int("group.streams.num.standby.replicas", 0, 0, 2, NoUnit)
        .topic("streams.num.standby.replicas")
        .means(NO_STREAMS),
];

/// Settings of a subscription to clients' metrics.
pub const CLIENT_METRICS: &[Setting] = &[
    topic_only(
        interval("interval.ms", 300_000, 100, 3_600_000),
        NO_TELEMETRY,
    ),
    topic_only(Setting::text("match", "", Kind::FreeList), NO_TELEMETRY),
    topic_only(Setting::text("metrics", "", Kind::FreeList), NO_TELEMETRY),
];

const fn interval(key: &'static str, default: i64, min: i64, max: i64) -> Setting {
    Setting::int(key, default, min, max, Milliseconds)
}

/// A row without a place for a default in the broker.
const fn topic_only(setting: Setting, meaning: &'static str) -> Setting {
    let key = setting.key;
    setting.topic(key).unset_in_kafka().means(meaning)
}

/// The row of a group's key.
#[must_use]
pub fn group_setting(key: &str) -> Option<&'static Setting> {
    GROUP.iter().find(|row| row.topic_key == Some(key))
}

/// The row of a key of a subscription to clients' metrics.
#[must_use]
pub fn client_metrics_setting(key: &str) -> Option<&'static Setting> {
    CLIENT_METRICS.iter().find(|row| row.topic_key == Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        for setting in TOPIC_ONLY.iter().chain(GROUP).chain(CLIENT_METRICS) {
            let parsed = setting.parse(&setting.default.to_string());
            assert_eq!(parsed.as_ref(), Ok(&setting.default), "{}", setting.key);
            assert!(setting.meaning.ends_with('.'), "{}", setting.key);
            assert!(setting.topic_key.is_some(), "{}", setting.key);
        }
    }

    #[test]
    fn kinds_have_kafkas_numbers() {
        for kind in [
            ResourceKind::Topic,
            ResourceKind::Broker,
            ResourceKind::BrokerLogger,
            ResourceKind::ClientMetrics,
            ResourceKind::Group,
        ] {
            assert_eq!(ResourceKind::of(kind as i8), Some(kind));
        }
        assert_eq!(ResourceKind::of(0), None);
    }
}
