//! Settings: one table of keys (`table`), where their values come from (`source`), and the typed
//! form that the rest of the broker reads. Nothing else parses a setting.

pub mod address;
pub mod cleaner;
pub mod describe;
pub mod groups;
pub mod layers;
pub mod memory;
pub mod resource;
pub mod source;
pub mod table;
pub mod topic;
pub mod value;

use std::{path::PathBuf, time::Duration};

use self::{
    address::HostPort,
    cleaner::CleanerConfig,
    groups::GroupConfig,
    source::{ConfigError, Settings, Source},
    topic::TopicConfig,
    value::Value,
};
use crate::image::brokers;

/// All settings of a broker, typed. Kept for as long as the process lives.
#[derive(Clone, Debug)]
pub struct Config {
    /// Kafka's broker id.
    pub node_id: i32,
    /// Where the node stands.
    pub rack: Option<String>,
    /// Where clients connect.
    pub listen: HostPort,
    /// What clients are told; `None`: where they connect.
    pub advertise: Option<HostPort>,
    /// Where the first shard listens by itself, the others on the ports behind it.
    pub shard_listen: Option<HostPort>,
    /// Where operators look.
    pub metrics_listen: Option<HostPort>,
    /// Whether nobody chose that.
    pub metrics_listen_is_default: bool,
    /// Partitions with metrics of their own.
    pub metrics_partitions_max: u32,
    /// The data directory.
    pub data_dir: PathBuf,
    /// How many shards there are: resolved, at least 1.
    pub shards: u16,
    /// Whether each shard keeps to a core.
    pub shard_pinning: bool,
    /// `auto`, `io_uring` or `epoll`.
    pub reactor: String,
    /// Submission slots of a ring.
    pub ring_entries: u32,
    /// How long an idle shard looks for work before it sleeps.
    pub ring_spin: Duration,
    /// Receive buffers of a shard, a power of two.
    pub ring_receive_buffers: u16,
    /// Size of each.
    pub ring_receive_buffer_bytes: u32,
    /// Locked memory, over all shards.
    pub ring_registered_bytes: u64,
    /// Journal of each shard.
    pub journal_bytes: u64,
    /// Size of each journal file: at most a quarter of the journal.
    pub journal_file_bytes: u64,
    /// From where on a batch goes past the journal.
    pub direct_write_bytes: u64,
    /// Segment files open at a time, over all shards.
    pub open_files_max: u32,
    /// How fast all shards together look for damage.
    pub scrub_bytes_per_second: u64,
    /// How often they do.
    pub scrub_interval: Duration,
    /// Free space below which producers are slowed down.
    pub disk_low_bytes: u64,
    /// Free space below which they are refused.
    pub disk_full_bytes: u64,
    /// Budget of a shard for requests in hand.
    pub memory_receive_bytes: u64,
    /// Budget of a shard for open blocks.
    pub memory_open_bytes: u64,
    /// Budget of a shard for cached blocks.
    pub memory_cache_bytes: u64,
    /// Budget of a shard for fetch answers.
    pub memory_fetch_bytes: u64,
    /// Largest request.
    pub request_max_bytes: u32,
    /// Requests read ahead on one connection.
    pub max_in_flight_requests: u32,
    /// An idle connection is closed after this.
    pub connection_max_idle: Duration,
    /// A begun frame or answer must make its way in this.
    pub connection_progress_timeout: Duration,
    /// Most bytes of one fetch answer: never more than its budget holds.
    pub fetch_max_bytes: u32,
    /// Fetch sessions of a shard.
    pub fetch_session_slots: u32,
    /// Partitions of the node.
    pub max_partitions: u32,
    /// How often each shard looks for what its topics may forget.
    pub retention_check_interval: Duration,
    /// Partitions of a topic whose creator does not say.
    pub num_partitions: i32,
    /// Replicas of a topic whose creator does not say.
    pub default_replication_factor: i32,
    /// Whether Metadata may create topics.
    pub auto_create_topics: bool,
    /// Whether clients may delete topics.
    pub delete_topics: bool,
    /// How long an idempotent producer that sends nothing is remembered.
    pub producer_expiry: Duration,
    /// How often those are looked for.
    pub producer_expiry_check: Duration,
    /// Groups and their offsets.
    pub groups: GroupConfig,
    /// Whether to start although acknowledged records are lost.
    pub accept_loss: bool,
    /// How long a shutdown may wait.
    pub shutdown_timeout: Duration,
    /// Directives for the log.
    pub log_level: String,
    /// How compaction goes about it.
    pub cleaner: CleanerConfig,
    /// What holds for topics that say nothing themselves.
    pub topic_defaults: TopicConfig,
    /// The texts behind all of this, with their sources.
    pub settings: Settings,
}

impl Config {
    /// The typed form of these settings.
    ///
    /// # Errors
    /// [`ConfigError::Contradiction`] if two of them cannot both hold.
    pub fn new(settings: Settings) -> Result<Config, ConfigError> {
        let read = Reader(&settings);
        let config = Config {
            node_id: read.number("node.id"),
            rack: read.optional_text("broker.rack"),
            listen: read.address("listeners").ok_or_else(|| {
                ConfigError::Contradiction("listeners is empty: write HOST:PORT".into())
            })?,
            advertise: read.address("advertised.listeners"),
            shard_listen: read.address("shard.listeners"),
            metrics_listen: read.address("metrics.listen"),
            metrics_listen_is_default: settings.chosen("metrics.listen").source == Source::Default,
            metrics_partitions_max: read.number("metrics.partitions.max"),
            data_dir: PathBuf::from(read.text("log.dirs")),
            shards: shards(read.number("shards")),
            shard_pinning: read.flag("shard.pinning"),
            reactor: read.text("reactor"),
            ring_entries: read.number::<u32>("ring.entries").next_power_of_two(),
            ring_spin: Duration::from_micros(read.number("ring.spin.us")),
            ring_receive_buffers: read
                .number::<u16>("ring.receive.buffers")
                .next_power_of_two(),
            ring_receive_buffer_bytes: read.number("ring.receive.buffer.bytes"),
            ring_registered_bytes: read.number("ring.registered.bytes"),
            journal_bytes: read.number("journal.bytes"),
            journal_file_bytes: journal_file_bytes(
                read.number("journal.file.bytes"),
                read.number("journal.bytes"),
            ),
            direct_write_bytes: read.number("direct.write.bytes"),
            open_files_max: read.number("segment.open.files.max"),
            scrub_bytes_per_second: read.number("scrub.bytes.per.second"),
            scrub_interval: read.milliseconds("scrub.interval.ms"),
            disk_low_bytes: read.number("disk.low.bytes"),
            disk_full_bytes: read.number("disk.full.bytes"),
            memory_receive_bytes: read.number("memory.receive.bytes"),
            memory_open_bytes: read.number("memory.open.bytes"),
            memory_cache_bytes: read.number("memory.cache.bytes"),
            memory_fetch_bytes: read.number("memory.fetch.bytes"),
            request_max_bytes: read.number("socket.request.max.bytes"),
            max_in_flight_requests: read.number("max.in.flight.requests.per.connection"),
            connection_max_idle: read.milliseconds("connections.max.idle.ms"),
            connection_progress_timeout: read.milliseconds("connection.progress.timeout.ms"),
            fetch_max_bytes: read.fetch_max_bytes(),
            fetch_session_slots: read.number("max.incremental.fetch.session.cache.slots"),
            max_partitions: read.number("max.partitions"),
            retention_check_interval: read.milliseconds("log.retention.check.interval.ms"),
            num_partitions: read.number("num.partitions"),
            default_replication_factor: read.number("default.replication.factor"),
            auto_create_topics: read.flag("auto.create.topics.enable"),
            delete_topics: read.flag("delete.topic.enable"),
            producer_expiry: read.milliseconds("producer.id.expiration.ms"),
            producer_expiry_check: read.milliseconds("producer.id.expiration.check.interval.ms"),
            groups: GroupConfig::of(&read),
            accept_loss: read.flag("recovery.accept.loss"),
            shutdown_timeout: read.milliseconds("shutdown.timeout.ms"),
            log_level: read.text("log.level"),
            cleaner: CleanerConfig::of(&settings),
            topic_defaults: TopicConfig::of(|setting| settings.value(setting.key).clone()),
            settings: settings.clone(),
        };
        config.check()?;
        Ok(config)
    }

    /// Whether a broker id in a request means this node.
    #[must_use]
    pub fn names_this_node(&self, id: i32) -> bool {
        let aliased = self.shard_listen.as_ref().map_or(0, |_| self.shards);
        brokers::names_node(id, self.node_id, aliased)
    }

    fn check_shard_listeners(&self) -> Result<(), ConfigError> {
        let Some(HostPort { port, .. }) = &self.shard_listen else {
            return Ok(());
        };
        if self.shards > brokers::ALIASED_SHARDS_MAX {
            return Err(ConfigError::Contradiction(format!(
                "shard.listeners is set and shards = {}: at most {} shards can be brokers of \
                 their own; leave it empty, or run fewer shards",
                self.shards,
                brokers::ALIASED_SHARDS_MAX
            )));
        }
        if port.checked_add(self.shards - 1).is_none() {
            return Err(ConfigError::Contradiction(format!(
                "shard.listeners has port {port} and shards = {}: the last port would be above \
                 65535; choose a lower one",
                self.shards
            )));
        }
        Ok(())
    }

    /// Relations between settings: a limit above its budget could never be admitted, and a client
    /// would wait for ever.
    fn check(&self) -> Result<(), ConfigError> {
        let contradiction = |text| Err(ConfigError::Contradiction(text));
        let (request, receive) = (u64::from(self.request_max_bytes), self.memory_receive_bytes);
        if request > receive {
            return contradiction(format!(
                "socket.request.max.bytes = {request} is above memory.receive.bytes = {receive}: \
                 the largest request must fit a shard's budget; lower the one or raise the other"
            ));
        }
        self.groups.check()?;
        let batch = u64::from(self.topic_defaults.max_message_bytes);
        if batch > request {
            return contradiction(format!(
                "message.max.bytes = {batch} is above socket.request.max.bytes = {request}: no \
                 such batch could arrive; lower the one or raise the other"
            ));
        }
        self.check_shard_listeners()?;
        let fetch = self.memory_fetch_bytes;
        if batch > fetch {
            return contradiction(format!(
                "message.max.bytes = {batch} is above memory.fetch.bytes = {fetch}: no such batch \
                 could be fetched; lower the one or raise the other"
            ));
        }
        Ok(())
    }
}

/// A journal has at least four files, of whole pages: one is written while another is sealed.
fn journal_file_bytes(given: u64, journal_bytes: u64) -> u64 {
    const STEP: u64 = 64 << 10;
    given.min(journal_bytes / 4) / STEP * STEP
}

/// 0 means every core that this process may use.
fn shards(given: u16) -> u16 {
    if given > 0 {
        return given;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cores).unwrap_or(u16::MAX).min(1024)
}

/// Typed access to values that the table has already checked: a mismatch is a mistake in this
/// file, which the tests below would show.
struct Reader<'a>(&'a Settings);

impl Reader<'_> {
    fn number<T: TryFrom<i64>>(&self, key: &str) -> T {
        let Value::Int(number) = *self.0.value(key) else {
            panic!("{key} is no number")
        };
        T::try_from(number).unwrap_or_else(|_| panic!("the table's range of {key} is too wide"))
    }

    /// Never more than its budget holds.
    fn fetch_max_bytes(&self) -> u32 {
        let budget = self.number::<u64>("memory.fetch.bytes");
        let budget = u32::try_from(budget).unwrap_or(u32::MAX);
        self.number::<u32>("fetch.max.bytes").min(budget)
    }

    fn milliseconds(&self, key: &str) -> Duration {
        Duration::from_millis(self.number(key))
    }

    fn flag(&self, key: &str) -> bool {
        let Value::Bool(flag) = *self.0.value(key) else {
            panic!("{key} is no flag")
        };
        flag
    }

    fn text(&self, key: &str) -> String {
        self.0.value(key).to_string()
    }

    fn optional_text(&self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    fn address(&self, key: &str) -> Option<HostPort> {
        self.optional_text(key).and_then(|text| text.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        table::settings,
        value::{Kind, Setting},
        *,
    };

    fn config(pairs: &[&str]) -> Result<Config, ConfigError> {
        let mut settings = Settings::default();
        pairs.iter().try_for_each(|pair| settings.set_pair(pair))?;
        Config::new(settings)
    }

    #[test]
    fn defaults_make_a_config() {
        let config = config(&[]).expect("defaults are consistent");
        assert_eq!(config.listen.to_string(), "127.0.0.1:9092");
        assert_eq!(config.advertise, None);
        assert!(config.shards >= 1);
        assert_eq!(config.topic_defaults, TopicConfig::default());
    }

    /// Each number's typed field must hold what the table allows.
    #[test]
    fn both_ends_of_every_range_fit_the_typed_form() {
        for setting in settings() {
            let Setting {
                key,
                kind: Kind::Int { min, max },
                ..
            } = setting
            else {
                continue;
            };
            for end in [min, max] {
                match config(&[&format!("{key}={end}")]) {
                    Ok(_) | Err(ConfigError::Contradiction(_)) => {}
                    Err(error) => panic!("{key}={end}: {error}"),
                }
            }
        }
    }

    #[test]
    fn small_budgets_cap_what_is_kept_in_them() {
        let small = ["journal.bytes=16777216", "memory.fetch.bytes=16777216"];
        let config = config(&small).expect("no contradiction");
        assert_eq!(config.journal_file_bytes, 4 << 20);
        assert_eq!(config.fetch_max_bytes, 16 << 20);
    }

    #[test]
    fn limits_must_fit_their_budgets() {
        for pair in [
            "memory.receive.bytes=1048576",
            "socket.request.max.bytes=1024",
            "memory.fetch.bytes=1048576", // A default batch has some bytes more.
        ] {
            let error = config(&[pair]).expect_err(pair).to_string();
            assert!(
                error.contains("lower the one or raise the other"),
                "{error}"
            );
        }
    }
}
