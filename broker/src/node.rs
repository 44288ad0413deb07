//! A node from its start to its end.
//!
//! ```text
//! start: data (lock, identity, metadata, recovery) -> shard threads -> housekeeper -> ready
//! end:   signal -> shards answer and flush -> control thread -> threads joined -> lock let go
//! ```

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use spate_net::reactor::ReactorError;
use spate_storage::{commit::Fence, space::Space};
use tokio::sync::Notify;

use crate::{
    allocator,
    config::{Config, address::HostPort},
    control::{
        http::{Health, Http, Observed},
        inspect::Statistics,
        publish::Publisher,
        survey::{self, SurveyDesk},
        thread::{Control, Ended},
    },
    image::{NodeInfo, brokers},
    node::{
        data::{Data, DataError},
        threads::{Crew, CrewPlan},
    },
    stats::NodeStats,
};

pub mod data;
mod threads;

/// How long a start waits for its port. A killed broker's listener lives on in its ring until the
/// kernel has torn that down, as its lock does: mostly milliseconds, seconds on a slow disk.
const PORT_PATIENCE: Duration = Duration::from_secs(5);

/// How often it tries.
const PORT_RETRY: Duration = Duration::from_millis(20);

/// Where a node can be reached, once it can.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listening {
    /// The address it is bound to, with the port it got.
    pub bound: HostPort,
    /// The address that clients are told.
    pub advertised: HostPort,
    /// Where each shard listens by itself, if it does: clients are told the same ports.
    pub shards: Vec<HostPort>,
}

/// Why a node did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The listener's host is not known.
    #[error("{key} = {address}: {source}; write an address of this machine")]
    Resolve {
        /// The setting.
        key: &'static str,
        /// As it was given.
        address: HostPort,
        /// What the resolver said.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; stop what listens there, or set {key}")]
    Listen {
        /// The setting.
        key: &'static str,
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Clients cannot be told where to connect.
    #[error(
        "listening on all addresses ({bound}) says no client where to go: add --advertise HOST:PORT"
    )]
    NothingToAdvertise {
        /// The wildcard.
        bound: SocketAddr,
    },
    /// A shard has no reactor.
    #[error(transparent)]
    Reactor(#[from] ReactorError),
    /// A thread cannot be had.
    #[error("cannot start {what}: {source}")]
    Thread {
        /// Which.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A shard's thread ended by itself: a fault in this program.
    #[error("shard {0} ended by itself; please report this with the log above it")]
    ShardLost(usize),
    /// The housekeeper's thread ended by itself: a fault in this program.
    #[error(
        "the housekeeper ended by itself; please report this with the log above it; nothing \
         acknowledged is lost"
    )]
    HousekeeperLost,
    /// Shutting down took too long.
    #[error(
        "the shards did not finish within shutdown.timeout.ms; nothing acknowledged is lost, but \
         requests in hand were not answered"
    )]
    TimedOut,
}

/// Serves until a signal ends it; calls `ready` once it accepts connections.
///
/// # Errors
/// [`ServeError`]
pub fn serve(mut config: Config, ready: impl FnOnce(&Listening)) -> Result<(), ServeError> {
    allocator::keep_pages();
    data::raise_file_limit();
    config.data_dir = data::directory(&config.data_dir)?;
    let config = Arc::new(config);
    let Addresses {
        node: listen,
        shards,
    } = addresses(&config)?;
    let listening = listening(&config, listen, &shards)?;
    let operators = operators_listener(&config)?;
    let mut data = data::open(&config)?;
    let cluster_id = data.node.cluster.to_string();
    let info = NodeInfo {
        node_id: config.node_id,
        host: listening.advertised.host.clone(),
        port: listening.advertised.port,
        rack: config.rack.clone(),
    };
    let ports: Vec<u16> = shards.iter().map(SocketAddr::port).collect();
    let aliases = brokers::aliases(&info, &ports);
    let mut publisher =
        Publisher::new(Arc::clone(&config), cluster_id.as_str().into(), info).with_aliases(aliases);
    let (image, _) = publisher.publish(data.metadata.state());
    let stats = NodeStats::new(config.shards);
    let wake = Arc::new(Notify::new());
    let plan = CrewPlan {
        config: Arc::clone(&config),
        listen,
        shard_listen: shards,
        image,
        stats: stats.clone(),
        control: Arc::clone(&wake),
        fence: data.fence.clone(),
        space: data.space.clone(),
    };
    let (crew, links) = Crew::start(plan, &data.lock, std::mem::take(&mut data.shards))?;
    tracing::info!(cluster_id, shards = config.shards, %listen, "serving");
    let (surveys, http) = operators_view(operators, &config, &stats, &data);
    let control = Control {
        surveys,
        http,
        metadata: data.metadata,
        publisher,
        links,
        wake,
        data_dir: config.data_dir.clone(),
        housekeeper_runs: crew.housekeeper_watch(),
        statistics: statistics(stats, data.fence.clone(), data.space.clone()),
        fence: data.fence,
        space: data.space,
    };
    let ended = control
        .run(|| ready(&listening))
        .map_err(|source| ServeError::Thread {
            what: "the control thread",
            source,
        })?;
    match ended {
        Ended::Clean => {
            crew.join();
            tracing::info!("ended: everything is flushed");
            Ok(())
        }
        // Their threads may be stuck; the process takes them along.
        Ended::TimedOut => Err(ServeError::TimedOut),
        Ended::ShardLost(shard) => Err(ServeError::ShardLost(shard)),
        Ended::HousekeeperLost => Err(ServeError::HousekeeperLost),
    }
}

/// What operators see through the listener, if there is one.
fn operators_view(
    listener: Option<TcpListener>,
    config: &Arc<Config>,
    stats: &NodeStats,
    data: &Data,
) -> (SurveyDesk, Option<Http>) {
    let (survey, surveys) = survey::desk();
    let health = Health::new(stats.clone(), data.fence.clone());
    let config = Arc::clone(config);
    let http = listener.map(|listener| Http {
        listener: Some(listener),
        observed: Arc::new(Observed::new(
            health,
            stats.clone(),
            config,
            survey,
            data.space.clone(),
        )),
    });
    (surveys, http)
}

/// What `spate stats` shows: the shards' counters, and how the disk is.
fn statistics(stats: NodeStats, fence: Fence, space: Space) -> Statistics {
    Arc::new(move || {
        let mut shown = serde_json::to_value(stats.snapshot()).unwrap_or(serde_json::Value::Null);
        let disk = space.file_system();
        shown["disk_total_bytes"] = disk.total_bytes.into();
        shown["disk_usable_bytes"] = disk.usable_bytes.into();
        shown["disk_state"] = match fence.check() {
            Ok(()) => space.level().to_string(),
            Err(fenced) => format!("fenced: {}", fenced.reason),
        }
        .into();
        shown
    })
}

/// Where a node listens.
struct Addresses {
    /// All shards together.
    node: SocketAddr,
    /// Each shard by itself; empty: none does.
    shards: Vec<SocketAddr>,
}

/// The addresses to listen on, with free ports where 0 was given.
fn addresses(config: &Config) -> Result<Addresses, ServeError> {
    let node = probe("listeners", &config.listen)?;
    // The probes are held until all are found: else two could be given the same free port.
    let mut probes = Vec::new();
    if let Some(HostPort { host, port }) = &config.shard_listen {
        for number in 0..config.shards {
            let port = if *port == 0 { 0 } else { port + number };
            let host = host.clone();
            probes.push(probe("shard.listeners", &HostPort { host, port })?);
        }
    }
    Ok(Addresses {
        node: node.1,
        shards: probes.iter().map(|(_, address)| *address).collect(),
    })
}

fn resolve(key: &'static str, wanted: &HostPort) -> Result<SocketAddr, ServeError> {
    let refused = |source| ServeError::Resolve {
        key,
        address: wanted.clone(),
        source,
    };
    let mut addresses = (wanted.host.as_str(), wanted.port)
        .to_socket_addrs()
        .map_err(refused)?;
    addresses.next().ok_or_else(|| {
        let none = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        refused(none)
    })
}

/// An address that can be listened on, and who keeps it until it is. Bound without SO_REUSEPORT,
/// with which the shards bind it: a second broker would share the port silently.
fn probe(key: &'static str, wanted: &HostPort) -> Result<(TcpListener, SocketAddr), ServeError> {
    let address = resolve(key, wanted)?;
    let began = Instant::now();
    loop {
        let bound = TcpListener::bind(address).and_then(|probe| {
            let free = probe.local_addr()?;
            Ok((probe, free))
        });
        match bound {
            Ok(probe) => return Ok(probe),
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < PORT_PATIENCE =>
            {
                thread::sleep(PORT_RETRY);
            }
            Err(source) => {
                return Err(ServeError::Listen {
                    key,
                    address,
                    source,
                });
            }
        }
    }
}

/// The socket of the metrics, bound before anything else begins. If nobody chose its address and
/// it is taken, the broker does without: a second one on the same machine is nothing unusual.
fn operators_listener(config: &Config) -> Result<Option<TcpListener>, ServeError> {
    let Some(wanted) = &config.metrics_listen else {
        return Ok(None);
    };
    match resolve("metrics.listen", wanted).and_then(|address| {
        TcpListener::bind(address).map_err(|source| ServeError::Listen {
            key: "metrics.listen",
            address,
            source,
        })
    }) {
        Ok(listener) => {
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "metrics and health are served over HTTP");
            }
            Ok(Some(listener))
        }
        Err(error) if config.metrics_listen_is_default => {
            tracing::warn!(%error, "no metrics: their default address cannot be had");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn listening(
    config: &Config,
    bound: SocketAddr,
    shards: &[SocketAddr],
) -> Result<Listening, ServeError> {
    let host_port = HostPort {
        host: bound.ip().to_string(),
        port: bound.port(),
    };
    let advertised = match &config.advertise {
        Some(advertised) => advertised.clone(),
        None if bound.ip().is_unspecified() => {
            return Err(ServeError::NothingToAdvertise { bound });
        }
        None => host_port.clone(),
    };
    let of_shard = |address: &SocketAddr| HostPort {
        host: advertised.host.clone(),
        port: address.port(),
    };
    Ok(Listening {
        bound: host_port,
        shards: shards.iter().map(of_shard).collect(),
        advertised,
    })
}
