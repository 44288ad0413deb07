//! Saying what is damaged, once for each place: to the operator in the log, and in the counters.
//! Who reads there is told each time (S19).

use super::{ReadError, Store};
use crate::{
    compaction::CompactionError,
    disk::{Clock, Disk},
    segment::SegmentError,
    types::{Position, TopicPartition},
};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// Places remembered as said. A disk that is damaged in more has been talked about enough.
const PLACES_MAX: usize = 10_000;

/// Where damage was found.
#[derive(Default)]
pub(super) struct Damages {
    said: HashSet<(PathBuf, Position)>,
}

impl<D: Disk, C: Clock> Store<D, C> {
    /// Tells the operator what a reader ran into, if it is damage.
    pub(super) fn report(&self, error: &ReadError) {
        match error {
            ReadError::Damaged { tp, error } => self.report_segment(*tp, error),
            ReadError::Unreadable {
                tp, path, position, ..
            } => self.say_once(*tp, path, *position, &error.to_string()),
            // The start that gave these offsets up has named them.
            ReadError::OutOfRange { .. } | ReadError::Lost { .. } => {}
        }
    }

    /// The same for damage that nobody was reading.
    pub(super) fn report_segment(&self, tp: TopicPartition, error: &SegmentError) {
        if !error.is_passing() {
            self.say_once(tp, error.path(), error.position(), &error.to_string());
        }
    }

    /// The same for damage that ended a round of compaction: the log is left as it is.
    pub(super) fn report_round(&self, tp: TopicPartition, error: &CompactionError) {
        match error {
            CompactionError::Source(error) => self.report_segment(tp, error),
            CompactionError::Damaged { path, position, .. } => {
                self.say_once(tp, path, *position, &error.to_string());
            }
            CompactionError::Io { .. }
            | CompactionError::Unreadable { .. }
            | CompactionError::Unknown => {}
        }
    }

    fn say_once(&self, tp: TopicPartition, path: &Path, position: Position, error: &str) {
        let mut damages = self.damages.borrow_mut();
        if damages.said.len() >= PLACES_MAX || !damages.said.insert((path.to_owned(), position)) {
            return;
        }
        self.count(|counters| counters.damages += 1);
        tracing::error!(
            partition = %tp,
            error,
            "damaged, and unreadable from now on; the rest of the partition is served: restore \
             the file from a replica or a backup, or let readers go on behind the damage"
        );
    }
}
