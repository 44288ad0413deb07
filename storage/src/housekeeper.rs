//! The housekeeper: one thread that prepares, places, recycles and unlinks files for all shards,
//! so that no shard waits for a file system. It runs glommio where the kernel allows io_uring and
//! plain system calls elsewhere; the jobs are the same code. It never touches a shard's memory:
//! jobs and answers cross on one pair of SPSC rings for each shard, and a job's place in the ring
//! of answers is reserved before it is sent, so an answer never waits.

mod background;
mod compact;
mod jobs;
mod lanes;
mod mail;
mod serve;
mod stock;
mod thread;

use std::{io, path::PathBuf};

pub use jobs::Keeper;
pub use mail::{ChoreReceiver, ChoreSender, JOBS_MAX, WakeShard};
pub use thread::{Backend, Duties, Housekeeper};

use crate::{
    compaction::{CompactionError, Outcome, Plan},
    pool::{PreparedFile, SizeClass},
    scrub::{ScrubPart, Scrubbed},
    types::TopicId,
};

/// What a shard may ask. Every job has exactly one answer, which goes to the shard that asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Job {
    /// A segment file, ready in the pool. Answer: [`Done::Segment`].
    PrepareSegment {
        /// Its size.
        class: SizeClass,
    },
    /// A zero-filled journal file at `path`, whose directory is created if missing. Answer:
    /// [`Done::Journal`].
    PrepareJournal {
        /// Where it shall lie.
        path: PathBuf,
        /// Its length in bytes, a multiple of a page.
        len: u64,
    },
    /// A new incarnation for a journal file that no frame needs any more (S9). Answer:
    /// [`Done::Journal`].
    RenewJournal {
        /// Where it lies and stays.
        path: PathBuf,
    },
    /// Moves a prepared segment to its partition's directory, which is created if missing. Answer:
    /// [`Done::Placed`].
    Place {
        /// The prepared file.
        file: PreparedFile,
        /// Where it shall lie.
        target: PathBuf,
    },
    /// Takes a segment file back that no operation and no reader lease holds (S7). Answer:
    /// [`Done::Recycled`].
    Recycle {
        /// Where it lies.
        path: PathBuf,
        /// Its size.
        class: SizeClass,
    },
    /// Unlinks the files of a deleted topic's partitions. Answer: [`Done::TopicRemoved`].
    RemoveTopic {
        /// Whose.
        topic: TopicId,
    },
    /// Reads a part of a segment file to find damage. Answer: [`Done::Scrubbed`].
    Scrub(ScrubPart),
    /// Unlinks the files that lie ready, if space is short. Answer: [`Done::ThinnedOut`].
    ThinOut,
    /// One step of a round of compaction (S16). Answer: [`Done::Compacted`].
    Compact {
        /// Which round: a number that no other round of any shard has.
        ticket: u64,
        /// What of it.
        step: CompactStep,
    },
    /// Unlinks one file or directory. Answer: [`Done::Unlinked`].
    Unlink {
        /// Which.
        path: PathBuf,
    },
}

/// What a shard wants of a round of compaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CompactStep {
    /// Begin it.
    Begin(Box<Plan>),
    /// Go on by about a block.
    Go,
    /// Give it up, and remove what it has written.
    Abandon,
}

/// How far a round of compaction is.
#[derive(Debug)]
pub enum CompactProgress {
    /// There is more to do; so many bytes were read and written in this step.
    More(u64),
    /// The new generation is on disk; the round is over.
    Finished(Box<Outcome>),
    /// Nothing could be cleaned; the round is over.
    Nothing,
    /// The round is over and has left nothing.
    Failed(CompactionError),
}

/// What the housekeeper answers.
#[derive(Debug)]
pub enum Done {
    /// A segment file lies ready in the pool.
    Segment(PreparedFile),
    /// A journal file lies ready at its place.
    Journal(PreparedFile),
    /// A segment lies at its place; both directories are durable.
    Placed(PreparedFile),
    /// The file lies in the pool or is unlinked, durably.
    Recycled(PathBuf),
    /// The topic's files are gone, durably.
    TopicRemoved(TopicId),
    /// What a part of a file is like.
    Scrubbed(Scrubbed),
    /// No file lies ready, unless there is space.
    ThinnedOut,
    /// How far a round of compaction is.
    Compacted {
        /// Which round.
        ticket: u64,
        /// How far.
        progress: CompactProgress,
    },
    /// The file is gone, durably.
    Unlinked(PathBuf),
    /// A job failed and left nothing behind that anyone may use.
    Failed {
        /// What was asked.
        job: Job,
        /// Why not.
        error: io::Error,
    },
}

/// A shard's way to the housekeeper.
pub trait Chores {
    /// Asks. A job comes back when too many are under way: it is to be sent again after the next
    /// answer.
    fn send(&self, job: Job) -> Result<(), Job>;
}

/// How urgent a job is: each class has its share of the housekeeper's time and of the disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Urgency {
    /// A shard has to have it before it can go on.
    Awaited,
    /// It will be wanted: files made ready ahead of time.
    Ahead,
    /// Nobody waits: space that is given back.
    Whenever,
}

impl Job {
    pub(crate) fn urgency(&self) -> Urgency {
        match self {
            Job::PrepareSegment { .. }
            | Job::PrepareJournal { .. }
            | Job::RenewJournal { .. }
            | Job::Place { .. } => Urgency::Awaited,
            Job::Recycle { .. } => Urgency::Ahead,
            Job::RemoveTopic { .. }
            | Job::Unlink { .. }
            | Job::ThinOut
            | Job::Scrub(_)
            | Job::Compact { .. } => Urgency::Whenever,
        }
    }
}
