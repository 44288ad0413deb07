//! One core's broker: its reactor, its connections, its partitions. Shares nothing with the other
//! shards but rings, and statistics that it alone writes.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use spate_net::{
    frame::FrameLimits,
    kafka::record_batch::{DecompressionLimits, Rules, Scratch},
    reactor::{self, Notify, Reactor, RemoteWaker, TcpListener, TcpStream},
};
use spate_storage::{
    commit::Fence,
    housekeeper::ChoreReceiver,
    space::{Level, Space},
    store::StoreCounters,
    types::ShardId,
};

use crate::{
    budget::Budget,
    config::Config,
    connection::{self, Client},
    control::{
        link::ShardPort,
        message::{FromShard, ShardNotice},
        survey::ShardSurvey,
    },
    coordinator::{GroupSettings, survey::Surveyed},
    handler::{
        ConnectionLimits, Context,
        fetch::FetchLimits,
        produce::{Checker, recode},
    },
    image::{Image, brokers::Listener},
    logging::WarnLimiter,
    mesh::{Ends, Mesh},
    shard::{
        control::ControlClient,
        logs::{Logs, Pending, ShardStore},
        message::Envelope,
        producer_ids::ProducerIds,
        retain::Retainer,
        route::Router,
        session::Sessions,
    },
    stats::{NodeStats, ShardStats},
};

pub mod append;
pub mod compact;
pub mod control;
pub mod logs;
pub mod message;
pub mod outcome;
pub mod producer_ids;
pub mod record_at;
pub mod retain;
pub mod route;
pub mod sabotage;
pub mod scatter;
pub mod session;
pub mod wait;

/// Envelopes taken from the rings before other tasks of the shard get a turn.
const MAIL_PER_TURN: usize = 256;

/// Partitions whose numbers are taken before other tasks of the shard get a turn: some 50 us.
const PARTITIONS_PER_TURN: usize = 256;

/// Groups likewise; each may have hundreds of offsets.
const GROUPS_PER_TURN: usize = 16;

/// How often gauges are published and stragglers looked for.
const TICK: Duration = Duration::from_secs(1);

/// How soon a notice is tried again whose slot in the ring was not free: the neighbour is busy, and
/// a fetch there waits for it.
const NOTICE_RETRY: Duration = Duration::from_micros(500);

/// What a shard is made of; crosses to its thread.
pub struct ShardParts {
    /// Its number.
    pub id: ShardId,
    /// The broker's settings.
    pub config: Arc<Config>,
    /// Where it listens, with its neighbours.
    pub listen: SocketAddr,
    /// Where it listens by itself, if it does.
    pub own_listen: Option<SocketAddr>,
    /// Its ends of the rings.
    pub ends: Vec<Option<Ends>>,
    /// Its end of the rings to the control thread.
    pub port: ShardPort,
    /// The first image.
    pub image: Arc<Image>,
    /// Everybody's counters.
    pub stats: NodeStats,
    /// The disk's fence.
    pub fence: Fence,
    /// How full the disk is.
    pub space: Space,
}

/// A shard that runs.
pub struct Shard {
    context: Rc<Context>,
    logs: Rc<Logs>,
    mesh: Rc<Mesh>,
    stats: Arc<ShardStats>,
    all_stats: NodeStats,
    config: Arc<Config>,
    housekeeper: RefCell<ChoreReceiver>,
    next_connection: Cell<u64>,
    retainer: Rc<Retainer>,
    stopping: Rc<Stopping>,
}

/// Tells everything on the shard that it is to end.
#[derive(Default)]
pub struct Stopping {
    begun: Cell<bool>,
    notify: Notify,
}

impl Stopping {
    /// Waits until the shard is to end.
    pub async fn wait(&self) {
        while !self.begun.get() {
            self.notify.notified().await;
        }
    }

    fn begin(&self) {
        self.begun.set(true);
        self.notify.notify_all();
    }
}

impl Shard {
    /// Puts a shard together on its own thread, over a store that is open.
    pub fn new(
        parts: ShardParts,
        wakers: &[RemoteWaker],
        store: Rc<ShardStore>,
        housekeeper: ChoreReceiver,
    ) -> Rc<Shard> {
        let ShardParts {
            id,
            config,
            ends,
            port,
            image,
            stats: all_stats,
            fence,
            space,
            ..
        } = parts;
        let stats = all_stats.shard(usize::from(id.0));
        let mesh = Rc::new(Mesh::new(ends, wakers));
        let logs = Logs::new(id, store, image, GroupSettings::of(&config));
        let interval = config.retention_check_interval;
        let retainer = Rc::new(Retainer::new(Rc::clone(&logs), interval));
        let router = Router::new(config.shards, Rc::clone(&logs), Rc::clone(&mesh));
        let stopping = Rc::new(Stopping::default());
        let context = Rc::new(Context {
            router,
            control: ControlClient::new(port),
            sessions: RefCell::new(Sessions::new(
                config.fetch_session_slots as usize,
                uuid::Uuid::new_v4().as_fields().0,
            )),
            producer_ids: ProducerIds::new(),
            receive: Budget::new(config.memory_receive_bytes as usize),
            receive_large: Budget::new(config.memory_receive_bytes as usize / 4 * 3),
            limits: limits(&config),
            checker: RefCell::new(Checker {
                rules: Rules {
                    zstd_allowed: true,
                    limits: DecompressionLimits::default(),
                },
                scratch: Scratch::new(),
            }),
            recode: Budget::new(recode::MEMORY_BYTES),
            fetch: FetchLimits {
                max_bytes: config.fetch_max_bytes as usize,
                memory: Budget::new(config.memory_fetch_bytes as usize),
            },
            config: Arc::clone(&config),
            stats: Arc::clone(&stats),
            apis: all_stats.shard_apis(usize::from(id.0)),
            warnings: WarnLimiter::default(),
            stopping: Rc::clone(&stopping),
            fence,
            space,
        });
        Rc::new(Shard {
            context,
            logs,
            mesh,
            stats,
            all_stats,
            config,
            housekeeper: RefCell::new(housekeeper),
            next_connection: Cell::new(0),
            retainer,
            stopping,
        })
    }

    /// Serves until the control thread says to end, then answers what is in hand and flushes.
    pub async fn serve(self: Rc<Self>, listeners: Vec<(TcpListener, Listener)>) {
        let shard = Rc::clone(&self);
        let inbox = reactor::set_inbox(Box::new(move || shard.has_mail()));
        let storage = reactor::spawn(Rc::clone(self.logs.store()).run());
        let _mail = reactor::spawn(Rc::clone(&self).read_mail(inbox));
        let _fired = reactor::spawn(Rc::clone(&self).deliver_fired());
        // What grew too old while the broker was down goes at once.
        self.retainer.retain_now();
        let _retention = reactor::spawn(Rc::clone(&self.retainer).run());
        let _tick = reactor::spawn(Rc::clone(&self).tick());
        let _expiry = reactor::spawn(Rc::clone(&self).expire_producers());
        let compacting = compact::keep_compact(Rc::clone(&self.logs), Arc::clone(&self.config));
        let compacting = reactor::spawn(compacting);
        self.logs.groups().take_up(&self.logs.image());
        let _alarms = reactor::spawn(Rc::clone(self.logs.groups()).keep_time());
        let _commits = reactor::spawn(Rc::clone(self.logs.groups()).write_commits());
        let _group_expiry = reactor::spawn(Rc::clone(self.logs.groups()).expire());
        let accept = |(socket, kind)| reactor::spawn(Rc::clone(&self).accept(socket, kind));
        let accepting: Vec<_> = listeners.into_iter().map(accept).collect();
        self.stopping.wait().await;
        compacting.cancel();
        accepting.into_iter().for_each(reactor::Task::cancel);
        self.let_connections_end().await;
        self.logs.store().shutdown();
        storage.await;
        self.publish();
        self.context.control.tell(FromShard::Drained);
    }

    /// Whether a message waits: the reactor asks before it sleeps.
    pub fn has_mail(&self) -> bool {
        self.mesh.has_mail()
            || self.context.control.has_notice()
            || self.housekeeper.borrow().has_answer()
    }

    async fn accept(self: Rc<Self>, socket: TcpListener, listener: Listener) {
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => self.admit(stream, peer, listener),
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections any more on this shard");
                    return;
                }
            }
        }
    }

    fn admit(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, listener: Listener) {
        self.stats.connections_accepted.add(1);
        let image = self.context.router.image();
        let limit = image.configs.broker.number("max.connections");
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let open = self.all_stats.connections_open();
        if open >= limit {
            self.stats.connections_refused.add(1);
            if let Some(suppressed) = self.context.warnings.admit() {
                tracing::warn!(%peer, open, limit, suppressed,
                    "refused a connection: max.connections is reached; raise it or close some");
            }
            stream.shutdown();
            return;
        }
        let number = self.next_connection.replace(self.next_connection.get() + 1);
        let client = Client {
            number,
            peer,
            listener,
        };
        self.stats.connections_open.add(1);
        let _detached = reactor::spawn(connection::serve(Rc::clone(&self.context), stream, client));
    }

    async fn read_mail(self: Rc<Self>, inbox: Rc<Notify>) {
        loop {
            let mut budget = MAIL_PER_TURN;
            while let Some((from, envelope)) = self.mesh.receive(&mut budget) {
                self.open(from, envelope);
            }
            while let Some(notice) = self.context.control.receive() {
                self.obey(notice);
            }
            self.take_prepared_files();
            if budget == 0 {
                reactor::yield_now().await;
            } else {
                inbox.notified().await;
            }
        }
    }

    fn take_prepared_files(&self) {
        loop {
            let Some(done) = self.housekeeper.borrow_mut().receive() else {
                return;
            };
            self.logs.store().housekeeper_done(done);
        }
    }

    fn open(self: &Rc<Self>, from: ShardId, envelope: Envelope) {
        match envelope {
            Envelope::Ask { slot, ask } => match self.logs.accept(ask) {
                Pending::Ready(answer) => self.mesh.answer(from, slot, answer),
                Pending::Later(answer) => {
                    let mesh = Rc::clone(&self.mesh);
                    let _detached = reactor::spawn(async move {
                        mesh.answer(from, slot, answer.await);
                    });
                }
            },
            Envelope::Fired(keys) => {
                for key in keys {
                    self.context.router.wake(key);
                }
            }
            Envelope::Answer { .. } => unreachable!("the mesh delivers answers itself"),
        }
    }

    /// Tells the numbers of all partitions and groups, some at a turn.
    async fn survey(self: Rc<Self>) {
        let store = self.logs.store();
        let mut partitions = Vec::new();
        for some in store.partitions().chunks(PARTITIONS_PER_TURN) {
            partitions.extend(some.iter().filter_map(|tp| store.numbers(*tp)));
            reactor::yield_now().await;
        }
        let mut groups = Vec::new();
        for some in self.logs.groups().surveyed().chunks(GROUPS_PER_TURN) {
            groups.extend(some.iter().filter_map(Surveyed::numbers));
            reactor::yield_now().await;
        }
        let survey = ShardSurvey { partitions, groups };
        self.context.control.tell(FromShard::Surveyed(survey));
    }

    fn obey(self: &Rc<Self>, notice: ShardNotice) {
        match notice {
            ShardNotice::NewImage { image, dropped } => {
                let version = image.version;
                let changed = self.logs.adopt(image, &dropped);
                if !dropped.is_empty() {
                    self.logs.drop_topics(&dropped.into_iter().collect());
                }
                self.retainer.retain_topics(changed);
                self.context.control.tell(FromShard::Adopted(version));
            }
            ShardNotice::Survey => {
                let _detached = reactor::spawn(Rc::clone(self).survey());
            }
            ShardNotice::Shutdown => self.stopping.begin(),
            ShardNotice::Reply { .. } => unreachable!("the control client delivers replies itself"),
        }
    }

    /// Wakes fetches whose partitions grew, and appends that waited for room.
    async fn deliver_fired(self: Rc<Self>) {
        let mut all_sent = true;
        loop {
            let patience = if all_sent { TICK } else { NOTICE_RETRY };
            let fired = reactor::timeout(patience, self.logs.fired()).await;
            for key in fired.unwrap_or_default() {
                if key.asker == self.logs.me() {
                    self.context.router.wake(key);
                } else {
                    self.mesh.fire(key);
                }
            }
            all_sent = self.mesh.flush_fired();
            // Also when time is up: a fenced disk makes no room, and they wait for its error.
            self.logs.resume_appends();
        }
    }

    async fn tick(self: Rc<Self>) {
        loop {
            reactor::sleep(TICK).await;
            self.logs.store().look_at_fence();
            if self.context.space.level() != Level::Ample {
                self.retainer.retain_now();
            }
            self.publish();
        }
    }

    /// Forgets idempotent producers that are gone; at a start at once, for what rows remember.
    async fn expire_producers(self: Rc<Self>) {
        loop {
            let mut sweep = self.logs.store().sweep_producers();
            while sweep.step() {
                reactor::yield_now().await;
            }
            drop(sweep);
            reactor::sleep(self.config.producer_expiry_check).await;
        }
    }

    fn publish(&self) {
        let stats = &self.stats;
        let store = self.logs.store();
        let counters = store.counters();
        let memory = store.memory();
        let ring = reactor::counters();
        self.publish_load(ring.parked_ns / 1000);
        stats.hops.set(self.mesh.hops());
        stats.local.set(self.context.router.local());
        stats.append_stalls.set(self.logs.appends().stalls());
        stats
            .fetch_sessions
            .set(self.context.sessions.borrow().len() as u64);
        let groups = self.logs.groups();
        stats.groups.set(groups.group_count() as u64);
        stats.group_bytes.set(groups.bytes() as u64);
        stats.group_alarms.set(groups.alarm_count() as u64);
        let (receive, fetch) = (&self.context.receive, &self.context.fetch.memory);
        stats.receive_bytes.set(receive.used() as u64);
        stats.receive_peak_bytes.set(receive.peak() as u64);
        stats.fetch_bytes.set(fetch.used() as u64);
        stats.fetch_peak_bytes.set(fetch.peak() as u64);
        stats.watches_armed.set(self.logs.watches().armed() as u64);
        stats.open_block_bytes.set(memory.open_block_bytes as u64);
        stats.cache_bytes.set(memory.cached_bytes as u64);
        stats.turns.set(ring.turns);
        stats.enters.set(ring.enters);
        stats.submissions.set(ring.submissions);
        stats.completions.set(ring.completions);
        stats.parks.set(ring.parks);
        stats.journal_frames.set(counters.frames);
        stats.journal_bytes.set(counters.frame_bytes);
        stats.sealed_blocks.set(counters.seals);
        stats.direct_blocks.set(counters.direct_writes);
        stats.block_reads.set(counters.block_reads);
        stats.partitions.set(store.partition_count() as u64);
        stats.segment_bytes.set(counters.segment_bytes);
        stats.copied_blocks.set(counters.copies);
        stats.duplicates.set(counters.duplicates);
        stats.open_files.set(store.open_file_count() as u64);
        stats.blocks_ahead.set(counters.blocks_ahead);
        stats.damages.set(counters.damages);
        stats.scrub_passes.set(counters.scrub_passes);
        stats.scrubbed_blocks.set(counters.scrubbed_blocks);
        stats.scrubbed_bytes.set(counters.scrubbed_bytes);
        stats.refused_for_space.set(counters.refused_for_space);
        self.publish_compaction(&counters);
    }

    fn publish_compaction(&self, counters: &StoreCounters) {
        let stats = &self.stats;
        stats.compactions.set(counters.compactions);
        stats.compactions_failed.set(counters.compactions_failed);
        let (read, written) = (
            counters.compaction_read_bytes,
            counters.compaction_written_bytes,
        );
        stats.compaction_read_bytes.set(read);
        stats.compaction_written_bytes.set(written);
        let removed = counters.compaction_removed_records;
        stats.compaction_removed_records.set(removed);
    }

    fn publish_load(&self, parked_us: u64) {
        let stats = &self.stats;
        let now_ms = self.all_stats.clock_ms();
        let passed_us = (now_ms.saturating_sub(stats.heard_ms.get()) * 1000).max(1);
        let asleep_us = parked_us.saturating_sub(stats.parked_us.get());
        let busy_us = passed_us.saturating_sub(asleep_us);
        stats.load_permille.set(busy_us * 1000 / passed_us);
        stats.heard_ms.set(now_ms);
        stats.parked_us.set(parked_us);
    }

    /// Gives connections time to send the answers that are on their way. Those of the other shards
    /// too: they may still ask this one.
    async fn let_connections_end(&self) {
        let patience = self.config.shutdown_timeout / 2;
        let deadline = reactor::now() + patience;
        while self.all_stats.connections_open() > 0 && reactor::now() < deadline {
            reactor::sleep(Duration::from_millis(5)).await;
        }
        let left = self.stats.connections_open.get();
        if left > 0 {
            tracing::warn!(
                left,
                "connections did not end within {patience:?}; closing them"
            );
        }
    }
}

fn limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        frame: FrameLimits {
            frame_bytes: config.request_max_bytes as usize,
            patience: config.connection_progress_timeout,
        },
        idle_timeout: config.connection_max_idle,
        in_flight_per_connection: config.max_in_flight_requests as usize,
        send_timeout: config.connection_progress_timeout,
    }
}

/// Builds the reactor that the settings ask for.
///
/// # Errors
/// If neither io_uring nor epoll can be had.
pub fn build_reactor(config: &Config) -> Result<Reactor, reactor::ReactorError> {
    let shards = u64::from(config.shards);
    // A group commit is rarely larger; one that is goes out by a plain write.
    let buffer_bytes: u32 = 256 << 10;
    let choice = config
        .reactor
        .parse()
        .expect("the settings table admits known reactors only");
    Reactor::new(&reactor::ReactorConfig {
        choice,
        ring_entries: config.ring_entries,
        receive_buffers: config.ring_receive_buffers,
        receive_buffer_bytes: config.ring_receive_buffer_bytes,
        registered_buffers: (config.ring_registered_bytes / shards / u64::from(buffer_bytes))
            as u16,
        registered_buffer_bytes: buffer_bytes,
        spin: config.ring_spin,
    })
}
