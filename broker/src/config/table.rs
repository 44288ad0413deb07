//! The one table of settings: everything else about them (parsing, `spate config`, the
//! environment, DescribeConfigs, topics' own values) is derived from it.
//!
//! A setting that Kafka has too bears Kafka's key and, but where the meaning says otherwise,
//! Kafka's default. No key may be a dotted prefix of another: TOML could not hold both.

use super::{
    resource::TOPIC_ONLY,
    value::{
        Kind, Setting,
        Unit::{Bytes, Microseconds, Milliseconds, None as NoUnit},
    },
};

const INT_MAX: i64 = i32::MAX as i64;
const LONG_MAX: i64 = i64::MAX;
const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;

/// The largest batch that fits the largest size class (32 MiB) with a file's first page, the block
/// header and its index, for which 64 KiB are kept.
pub const LARGEST_BATCH_BYTES: i64 = 32 * MIB - 64 * KIB;

const NO_EFFECT: &str = "no effect: accepted because Kafka's tools set it.";
const NO_TIERS: &str = "no effect: nothing is kept in a remote tier.";

/// Every setting, in the order in which `spate config` shows them.
pub const SETTINGS: &[&[Setting]] = &[
    PLACE,
    SHARDS,
    STORAGE,
    MEMORY,
    LIMITS,
    TOPICS,
    TOPIC_DEFAULTS,
    CLEANER,
    GROUPS,
    COMPATIBLE,
];

const PLACE: &[Setting] = &[
    Setting::text("listeners", "127.0.0.1:9092", Kind::Address)
        .means("Where clients connect. Port 0 takes any free port."),
    Setting::text("advertised.listeners", "", Kind::Address)
        .means("What clients are told to connect to; empty: the same as listeners."),
    Setting::text("shard.listeners", "", Kind::Address).means(
        "Where each shard listens by itself: shard n on PORT + n (port 0: any). Clients that \
         connect there see each shard as a broker and talk to the owning core only; empty: off.",
    ),
    Setting::text("log.dirs", "./spate-data", Kind::Text)
        .means("The data directory. One, not a list: spread disks under it."),
    Setting::int("node.id", 1, 1, 999, NoUnit)
        .means("This node's id, fixed with the first start of a data directory."),
    Setting::text("metrics.listen", "127.0.0.1:9644", Kind::Address).means(
        "Where /metrics, /health/live and /health/ready are served over HTTP; empty: nowhere.",
    ),
    Setting::int("metrics.partitions.max", 1000, 0, 10_000_000, NoUnit).means(
        "Partitions that have metrics of their own, by topic name; the rest is only summed.",
    ),
    Setting::text("broker.rack", "", Kind::Text).means("Where the node stands; empty: not said."),
    Setting::text("log.level", "info", Kind::Text).means(
        "What is logged: error, warn, info, debug or trace, or tracing's directives such as \
         spate_storage=debug. RUST_LOG overrides it.",
    ),
    Setting::bool("recovery.accept.loss", false).means(
        "Start although the journal is damaged; what it held stays unreadable, and is named. Set \
         it for one start only.",
    ),
    Setting::int("shutdown.timeout.ms", 10_000, 100, INT_MAX, Milliseconds)
        .means("How long a shutdown may wait for requests in hand."),
];

const SHARDS: &[Setting] = &[
    Setting::int("shards", 0, 0, 1024, NoUnit)
        .means("Threads that serve, one for each core; 0: all cores this process may use."),
    Setting::bool("shard.pinning", true).means("Keep each shard on a core of its own."),
    Setting::text(
        "reactor",
        "auto",
        Kind::Choice(&["auto", "io_uring", "epoll"]),
    )
    .means("How shards do I/O; auto: io_uring, or epoll where the kernel refuses it."),
    Setting::int("ring.entries", 1024, 64, 32_768, NoUnit)
        .means("Submission slots of each shard's ring; rounded up to a power of two."),
    Setting::int("ring.spin.us", 0, 0, 10_000, Microseconds).means(
        "How long an idle shard looks for work before it sleeps: shorter answers, a hot core.",
    ),
    Setting::int("ring.receive.buffers", 256, 16, 32_768, NoUnit)
        .means("Receive buffers that a shard's connections share; rounded up to a power of two."),
    Setting::int("ring.receive.buffer.bytes", 8 * KIB, KIB, MIB, Bytes)
        .means("Size of each receive buffer. Longer frames get a buffer of their own."),
    Setting::int("ring.registered.bytes", 4 * MIB, 0, GIB, Bytes)
        .means("Locked memory for disk writes, in sum over all shards; 0: none."),
];

const STORAGE: &[Setting] = &[
    Setting::text("durability", "disk", Kind::Choice(&["disk"]))
        .topic("durability")
        .means("When acks=1 and acks=all are answered; disk: after the flush."),
    Setting::int("journal.bytes", 256 * MIB, 16 * MIB, 64 * GIB, Bytes)
        .means("Journal of each shard; bounds the time of a recovery."),
    Setting::int("journal.file.bytes", 32 * MIB, MIB, GIB, Bytes)
        .means("Size of each journal file; at most a quarter of the journal."),
    Setting::int("direct.write.bytes", 128 * KIB, 64 * KIB, 32 * MIB, Bytes)
        .means("A partition with this much waiting writes to its segment, past the journal."),
    Setting::int("segment.open.files.max", 8000, 64, 1_000_000, NoUnit).means(
        "Segment files kept open, over all shards; others are opened when they are read. Never \
         more than half of the files that this process may open.",
    ),
    Setting::int("scrub.bytes.per.second", 8 * MIB, 0, 64 * GIB, Bytes).means(
        "How fast all shards together read sealed blocks in the background to find damage; 0: \
         never.",
    ),
    Setting::int(
        "scrub.interval.ms",
        604_800_000,
        1000,
        LONG_MAX,
        Milliseconds,
    )
    .means("How long after one such pass began the next one does."),
    Setting::int("disk.low.bytes", 2 * GIB, 0, LONG_MAX, Bytes).means(
        "Below this much free space producers are slowed down; at most an eighth of the disk. What \
         a start needs is kept besides.",
    ),
    Setting::int("disk.full.bytes", 512 * MIB, 0, LONG_MAX, Bytes).means(
        "Below this much free space produce is refused until there is more; at most a sixteenth of \
         the disk. What a start needs is kept besides.",
    ),
];

const MEMORY: &[Setting] = &[
    Setting::int("memory.receive.bytes", 128 * MIB, MIB, 64 * GIB, Bytes)
        .means("Of each shard: requests received and not yet answered."),
    Setting::int("memory.open.bytes", 128 * MIB, MIB, 64 * GIB, Bytes)
        .means("Of each shard: open blocks and journal frames not yet written."),
    Setting::int("memory.cache.bytes", 128 * MIB, 0, 1024 * GIB, Bytes)
        .means("Of each shard: blocks kept for readers."),
    Setting::int("memory.fetch.bytes", 64 * MIB, MIB, 64 * GIB, Bytes)
        .means("Of each shard: record bytes held by fetch answers on their way out."),
    Setting::int("memory.groups.bytes", 64 * MIB, MIB, 64 * GIB, Bytes)
        .means("Of each shard: groups, their members and offsets; beyond it new ones are refused."),
];

const LIMITS: &[Setting] = &[
    Setting::int("socket.request.max.bytes", 100 * MIB, KIB, INT_MAX, Bytes)
        .means("Largest request; a longer one closes its connection."),
    Setting::int("max.connections", 16_384, 1, 10_000_000, NoUnit)
        .dynamic()
        .means("Connections to this node; more are closed at once. Kafka's default is no limit."),
    Setting::int(
        "max.in.flight.requests.per.connection",
        64,
        1,
        10_000,
        NoUnit,
    )
    .means("Requests read ahead of the answers on one connection."),
    Setting::int(
        "connections.max.idle.ms",
        600_000,
        1000,
        LONG_MAX,
        Milliseconds,
    )
    .means("A connection idle for so long is closed."),
    Setting::int(
        "connection.progress.timeout.ms",
        30_000,
        100,
        INT_MAX,
        Milliseconds,
    )
    .means("How long a begun request may take to arrive, or an answer to be taken."),
    Setting::int("fetch.max.bytes", 55 * MIB, KIB, INT_MAX, Bytes).means(
        "Most bytes of one fetch answer, whatever the client asks; memory.fetch.bytes caps it.",
    ),
    Setting::int(
        "max.incremental.fetch.session.cache.slots",
        1000,
        0,
        1_000_000,
        NoUnit,
    )
    .means("Fetch sessions of each shard; without one a fetch is answered in full."),
    Setting::int("max.partitions", 100_000, 1, 10_000_000, NoUnit)
        .means("Partitions of this node, over all topics; beyond it none are created."),
];

const TOPICS: &[Setting] = &[
    Setting::int("num.partitions", 1, 1, 100_000, NoUnit)
        .means("Partitions of a topic whose creator does not say."),
    Setting::int("default.replication.factor", 1, 1, INT_MAX, NoUnit)
        .means("Replicas of a topic whose creator does not say."),
    Setting::bool("auto.create.topics.enable", true)
        .means("Create a topic when a client asks for one that does not exist."),
    Setting::bool("delete.topic.enable", true).means("Whether clients may delete topics."),
    Setting::int(
        "log.retention.check.interval.ms",
        300_000,
        1,
        LONG_MAX,
        Milliseconds,
    )
    .means("How often records past their topic's retention are looked for."),
    Setting::int(
        "producer.id.expiration.ms",
        86_400_000,
        1,
        INT_MAX,
        Milliseconds,
    )
    .means("An idempotent producer silent for so long is forgotten, and its duplicates with it."),
    Setting::int(
        "producer.id.expiration.check.interval.ms",
        600_000,
        1,
        INT_MAX,
        Milliseconds,
    )
    .means("How often forgotten producers are looked for."),
];

const TOPIC_DEFAULTS: &[Setting] = &[
    Setting::int(
        "message.max.bytes",
        1_048_588,
        0,
        LARGEST_BATCH_BYTES,
        Bytes,
    )
    .topic("max.message.bytes")
    .means("Largest record batch."),
    Setting::text(
        "compression.type",
        "producer",
        Kind::Choice(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
    )
    .topic("compression.type")
    .means("How stored batches are compressed; producer: as they came."),
    Setting::text(
        "log.cleanup.policy",
        "delete",
        Kind::List(&["delete", "compact"]),
    )
    .topic("cleanup.policy")
    .means("What becomes of old records."),
    Setting::text(
        "log.message.timestamp.type",
        "CreateTime",
        Kind::Choice(&["CreateTime", "LogAppendTime"]),
    )
    .topic("message.timestamp.type")
    .means("Whether records bear the producer's time or the broker's."),
    Setting::int(
        "log.message.timestamp.before.max.ms",
        LONG_MAX,
        0,
        LONG_MAX,
        Milliseconds,
    )
    .topic("message.timestamp.before.max.ms")
    .means("How far a record's time may lie in the past."),
    Setting::int(
        "log.message.timestamp.after.max.ms",
        3_600_000,
        0,
        LONG_MAX,
        Milliseconds,
    )
    .topic("message.timestamp.after.max.ms")
    .means("How far a record's time may lie in the future."),
    Setting::int("log.segment.bytes", GIB, MIB, INT_MAX, Bytes)
        .topic("segment.bytes")
        .means("A segment rolls at this size."),
    Setting::int("log.roll.ms", 604_800_000, 1, LONG_MAX, Milliseconds)
        .topic("segment.ms")
        .unset_in_kafka()
        .means("A segment rolls at this age."),
    Setting::int("log.retention.ms", 604_800_000, -1, LONG_MAX, Milliseconds)
        .topic("retention.ms")
        .unset_in_kafka()
        .means("Records older than this are deleted; -1: never."),
    Setting::int("log.retention.bytes", -1, i64::MIN, LONG_MAX, Bytes)
        .topic("retention.bytes")
        .means("A partition larger than this loses its oldest records; negative: none."),
    Setting::int(
        "log.cleaner.delete.retention.ms",
        86_400_000,
        0,
        LONG_MAX,
        Milliseconds,
    )
    .topic("delete.retention.ms")
    .means("How long a compacted topic keeps tombstones."),
    Setting::int(
        "log.cleaner.min.compaction.lag.ms",
        0,
        0,
        LONG_MAX,
        Milliseconds,
    )
    .topic("min.compaction.lag.ms")
    .means("A record younger than this is not compacted."),
    Setting::int(
        "log.cleaner.max.compaction.lag.ms",
        LONG_MAX,
        1,
        LONG_MAX,
        Milliseconds,
    )
    .topic("max.compaction.lag.ms")
    .means("A record older than this is compacted soon."),
    Setting::ratio("log.cleaner.min.cleanable.ratio", 0.5)
        .topic("min.cleanable.dirty.ratio")
        .means("Share of a log that must be new before it is compacted."),
    Setting::int("min.insync.replicas", 1, 1, INT_MAX, NoUnit)
        .topic("min.insync.replicas")
        .means("In-sync replicas that a record with acks=all needs."),
];

const CLEANER: &[Setting] = &[
    Setting::bool("log.cleaner.enable", true).means("Compact topics with cleanup.policy=compact."),
    Setting::int("log.cleaner.backoff.ms", 15_000, 0, LONG_MAX, Milliseconds)
        .dynamic()
        .means("How long to sleep when no log wants to be compacted."),
    Setting::int(
        "log.cleaner.dedupe.buffer.size",
        128 * MIB,
        MIB,
        1024 * GIB,
        Bytes,
    )
    .dynamic()
    .means("Memory for keys, over all shards; keys that do not fit take another round."),
    Setting::ratio("log.cleaner.io.buffer.load.factor", 0.9)
        .dynamic()
        .means("How full the memory for keys may become."),
    Setting::int(
        "log.cleaner.io.max.bytes.per.second",
        LONG_MAX,
        1,
        LONG_MAX,
        Bytes,
    )
    .dynamic()
    .means("How much compaction may read and write in a second, each shard for itself."),
];

const GROUPS: &[Setting] = &[
    Setting::int(
        "group.initial.rebalance.delay.ms",
        3000,
        0,
        INT_MAX,
        Milliseconds,
    )
    .means("How long an empty group waits for more members after its first."),
    Setting::int(
        "group.min.session.timeout.ms",
        6000,
        1,
        INT_MAX,
        Milliseconds,
    )
    .means("Shortest session timeout that a member may ask for."),
    Setting::int(
        "group.max.session.timeout.ms",
        1_800_000,
        1,
        INT_MAX,
        Milliseconds,
    )
    .means("Longest session timeout that a member may ask for."),
    Setting::int("group.max.size", INT_MAX, 1, INT_MAX, NoUnit).means("Most members of a group."),
    Setting::int("offsets.topic.num.partitions", 50, 1, 100_000, NoUnit)
        .means("Partitions of __consumer_offsets, fixed when the first group comes."),
    Setting::int("offsets.topic.replication.factor", 1, 1, 32_767, NoUnit)
        .means("No effect: this node holds the one replica. Kafka's default is 3."),
    Setting::int(
        "offsets.topic.segment.bytes",
        100 * MIB,
        MIB,
        INT_MAX,
        Bytes,
    )
    .means("segment.bytes of __consumer_offsets, fixed when the first group comes."),
    Setting::int("offsets.topic.compression.codec", 0, 0, 4, NoUnit).means(
        "How records of __consumer_offsets are compressed: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 \
         zstd.",
    ),
    Setting::int("offsets.retention.minutes", 10_080, 1, INT_MAX, NoUnit)
        .means("Minutes for which offsets that no member uses are kept."),
    Setting::int(
        "offsets.retention.check.interval.ms",
        600_000,
        1,
        LONG_MAX,
        Milliseconds,
    )
    .means("How often expired offsets are looked for."),
    Setting::int("offset.metadata.max.bytes", 4096, 0, INT_MAX, Bytes)
        .means("Longest text that a client may keep with an offset."),
];

/// Keys without a meaning here that Kafka's own tools, Connect and Streams write into topics:
/// refusing them would refuse the topic.
const COMPATIBLE: &[Setting] = &[
    Setting::int("log.index.interval.bytes", 4096, 0, INT_MAX, Bytes)
        .topic("index.interval.bytes")
        .means(NO_EFFECT),
    Setting::int("log.index.size.max.bytes", 10 * MIB, 4, INT_MAX, Bytes)
        .topic("segment.index.bytes")
        .means(NO_EFFECT),
    Setting::int(
        "log.segment.delete.delay.ms",
        60_000,
        0,
        LONG_MAX,
        Milliseconds,
    )
    .topic("file.delete.delay.ms")
    .means(NO_EFFECT),
    Setting::int("log.flush.interval.messages", LONG_MAX, 1, LONG_MAX, NoUnit)
        .topic("flush.messages")
        .means(NO_EFFECT),
    Setting::int("log.flush.interval.ms", LONG_MAX, 0, LONG_MAX, Milliseconds)
        .topic("flush.ms")
        .unset_in_kafka()
        .means(NO_EFFECT),
    Setting::int("log.roll.jitter.ms", 0, 0, LONG_MAX, Milliseconds)
        .topic("segment.jitter.ms")
        .unset_in_kafka()
        .means(NO_EFFECT),
    Setting::int("log.cleaner.threads", 1, 0, INT_MAX, NoUnit).means(NO_EFFECT),
    Setting::int("log.cleaner.io.buffer.size", 512 * KIB, 0, INT_MAX, Bytes).means(NO_EFFECT),
    Setting::level("compression.gzip.level", 1, 9)
        .topic("compression.gzip.level")
        .means("How hard gzip tries where compression.type is gzip: 1 to 9, -1 for its default."),
    Setting::int("compression.lz4.level", 9, 1, 17, NoUnit)
        .topic("compression.lz4.level")
        .means("no effect: lz4 is always written fast, where compression.type is lz4."),
    Setting::int("compression.zstd.level", 3, -131_072, 22, NoUnit)
        .topic("compression.zstd.level")
        .means("How hard zstd tries where compression.type is zstd."),
    Setting::int("log.local.retention.ms", -2, -2, LONG_MAX, Milliseconds)
        .topic("local.retention.ms")
        .means(NO_TIERS),
    Setting::int("log.local.retention.bytes", -2, -2, LONG_MAX, Bytes)
        .topic("local.retention.bytes")
        .means(NO_TIERS),
    Setting::bool("log.preallocate", false)
        .topic("preallocate")
        .means(NO_EFFECT),
    Setting::bool("unclean.leader.election.enable", false)
        .topic("unclean.leader.election.enable")
        .means(NO_EFFECT),
];

/// All rows.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().copied().flatten()
}

/// The row of a broker's key.
#[must_use]
pub fn broker_setting(key: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.key == key)
}

/// All rows that topics have, by the topic's key.
pub fn topic_settings() -> impl Iterator<Item = (&'static str, &'static Setting)> {
    let rows = settings().chain(TOPIC_ONLY);
    rows.filter_map(|setting| setting.topic_key.map(|key| (key, setting)))
}

/// The row of a topic's key.
#[must_use]
pub fn topic_setting(key: &str) -> Option<&'static Setting> {
    topic_settings()
        .find(|(topic_key, _)| *topic_key == key)
        .map(|(_, setting)| setting)
}

/// The environment variable of a key: `num.partitions` is `SPATE_NUM_PARTITIONS`.
#[must_use]
pub fn environment_name(key: &str) -> String {
    format!("SPATE_{}", key.replace('.', "_").to_uppercase())
}

/// The known key that an unknown one most likely meant.
#[must_use]
pub fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> &'a str {
    known
        .max_by(|left, right| {
            let similarity = |key| strsim::jaro_winkler(unknown, key);
            similarity(left).total_cmp(&similarity(right))
        })
        .unwrap_or("")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        for setting in settings() {
            let parsed = setting.parse(&setting.default.to_string());
            assert_eq!(parsed.as_ref(), Ok(&setting.default), "{}", setting.key);
            assert!(
                setting.meaning.ends_with('.'),
                "{} has no meaning",
                setting.key
            );
        }
    }

    #[test]
    fn no_key_appears_twice_or_begins_another() {
        let keys: Vec<_> = settings().map(|setting| setting.key).collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        for key in &keys {
            let clash = keys
                .iter()
                .find(|other| other.starts_with(&format!("{key}.")));
            assert_eq!(clash, None, "TOML cannot hold both {key} and {clash:?}");
        }
        let topic_keys: Vec<_> = settings().filter_map(|setting| setting.topic_key).collect();
        assert_eq!(
            topic_keys.iter().collect::<BTreeSet<_>>().len(),
            topic_keys.len()
        );
        let names: BTreeSet<_> = keys.iter().map(|key| environment_name(key)).collect();
        assert_eq!(
            names.len(),
            keys.len(),
            "two keys share an environment variable"
        );
    }

    #[test]
    fn the_nearest_key_is_the_one_that_was_meant() {
        let keys = || settings().map(|setting| setting.key);
        assert_eq!(nearest("num.partition", keys()), "num.partitions");
        assert_eq!(nearest("message.max.byte", keys()), "message.max.bytes");
        assert_eq!(
            nearest("auto.create.topic.enable", keys()),
            "auto.create.topics.enable"
        );
    }
}
