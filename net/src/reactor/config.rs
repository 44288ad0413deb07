//! What a reactor can be asked for, what it may answer, and what it counts.

use std::{cell::Cell, fmt, io, str::FromStr, time::Duration};

/// Which backend the user asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReactorChoice {
    /// io_uring where the kernel grants it, else epoll with a note.
    #[default]
    Auto,
    /// io_uring or an error.
    IoUring,
    /// epoll and plain system calls.
    Epoll,
}

impl FromStr for ReactorChoice {
    type Err = UnknownReactor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(ReactorChoice::Auto),
            "io_uring" => Ok(ReactorChoice::IoUring),
            "epoll" => Ok(ReactorChoice::Epoll),
            _ => Err(UnknownReactor {
                given: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for ReactorChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReactorChoice::Auto => "auto",
            ReactorChoice::IoUring => "io_uring",
            ReactorChoice::Epoll => "epoll",
        })
    }
}

/// A reactor name that is none of ours.
#[derive(Debug, thiserror::Error)]
#[error("unknown reactor {given:?}: use \"auto\", \"io_uring\" or \"epoll\"")]
pub struct UnknownReactor {
    given: String,
}

/// The backend a reactor runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// One io_uring.
    IoUring,
    /// epoll, and plain system calls for files.
    Epoll,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::IoUring => "io_uring",
            Backend::Epoll => "epoll",
        })
    }
}

/// The fixed budgets of one reactor.
#[derive(Clone, Debug)]
pub struct ReactorConfig {
    /// The backend asked for.
    pub choice: ReactorChoice,
    /// Submission queue entries: what one turn can submit at once; more waits for the next turn.
    pub ring_entries: u32,
    /// Receive buffers shared by all connections, a power of two up to 32768.
    pub receive_buffers: u16,
    /// Size of each receive buffer.
    pub receive_buffer_bytes: u32,
    /// Buffers registered with the kernel for disk transfers (locked memory); 0 means none.
    pub registered_buffers: u16,
    /// Size of each registered buffer, a multiple of 4096.
    pub registered_buffer_bytes: u32,
    /// How long an idle turn may spin before it parks. It cuts wake-up latency and burns the core.
    pub spin: Duration,
}

impl Default for ReactorConfig {
    fn default() -> Self {
        ReactorConfig {
            choice: ReactorChoice::Auto,
            ring_entries: 1024,
            // 4 MiB per shard: 512 connections can each have a frame of 8 KiB in flight.
            receive_buffers: 512,
            receive_buffer_bytes: 8192,
            // 2 MiB per shard: locked memory is 8 MiB per user by default, for all shards.
            registered_buffers: 8,
            registered_buffer_bytes: 256 << 10,
            spin: Duration::ZERO,
        }
    }
}

/// Why a reactor could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ReactorError {
    /// `io_uring` was asked for and the kernel refuses it.
    #[error("io_uring is not available: {reason}; {remedy}, or set reactor = \"auto\"")]
    RingRefused {
        /// What the kernel said, and to which call.
        reason: String,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// A setting is out of its range.
    #[error("reactor setting {name} = {value}: {remedy}")]
    Setting {
        /// The field of [`ReactorConfig`].
        name: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        remedy: &'static str,
    },
    /// The kernel refuses even epoll or an eventfd.
    #[error("cannot create {what}: {source}; raise the limit of open files (ulimit -n)")]
    Descriptor {
        /// What was to be created.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What a reactor has done since it was built.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Turns of the loop.
    pub turns: u64,
    /// `io_uring_enter` or `epoll_wait` calls: at most one per turn, but for spinning.
    pub enters: u64,
    /// Operations handed to the ring.
    pub submissions: u64,
    /// Completions (or readiness events) taken.
    pub completions: u64,
    /// Task polls.
    pub polls: u64,
    /// Turns that parked the thread.
    pub parks: u64,
    /// Nanoseconds that it was parked.
    pub parked_ns: u64,
    /// Wakes sent to other reactors through the ring.
    pub ring_wakes: u64,
    /// Wakes sent to other reactors by an eventfd write.
    pub eventfd_wakes: u64,
    /// Wakes that arrived from other threads.
    pub wakes_received: u64,
    /// Disk writes from registered buffers.
    pub fixed_writes: u64,
    /// Times the shared receive buffers ran dry.
    pub receive_buffers_exhausted: u64,
}

/// [`Counters`] while they count.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) turns: Count,
    pub(crate) enters: Count,
    pub(crate) submissions: Count,
    pub(crate) completions: Count,
    pub(crate) polls: Count,
    pub(crate) parks: Count,
    pub(crate) parked_ns: Count,
    pub(crate) ring_wakes: Count,
    pub(crate) eventfd_wakes: Count,
    pub(crate) wakes_received: Count,
    pub(crate) fixed_writes: Count,
    pub(crate) receive_buffers_exhausted: Count,
}

impl Tally {
    pub(crate) fn read(&self) -> Counters {
        Counters {
            turns: self.turns.get(),
            enters: self.enters.get(),
            submissions: self.submissions.get(),
            completions: self.completions.get(),
            polls: self.polls.get(),
            parks: self.parks.get(),
            parked_ns: self.parked_ns.get(),
            ring_wakes: self.ring_wakes.get(),
            eventfd_wakes: self.eventfd_wakes.get(),
            wakes_received: self.wakes_received.get(),
            fixed_writes: self.fixed_writes.get(),
            receive_buffers_exhausted: self.receive_buffers_exhausted.get(),
        }
    }
}

/// One counter of a [`Tally`].
#[derive(Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}
