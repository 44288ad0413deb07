//! When to scrub what: all files of the shard, one after the other, a part at a time and no faster
//! than the settings allow. A pass begins a while after the start, and then at the set interval.

use super::Store;
use crate::{
    disk::{Clock, Disk, PAGE},
    housekeeper::Job,
    partition::Partition,
    scrub::{ScrubPart, Scrubbed},
    types::{Position, TopicPartition},
};
use std::{collections::VecDeque, path::PathBuf, time::Duration};

/// The first pass begins so long after the start, or after the interval if that is shorter: a start
/// has enough to read.
const FIRST_AFTER: Duration = Duration::from_secs(600);

/// How fast, and how often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrubPace {
    /// Bytes read in a second; 0: nothing is scrubbed.
    pub bytes_per_second: u64,
    /// From the beginning of one pass to that of the next.
    pub interval: Duration,
}

/// Where the pass is.
#[derive(Default)]
pub(super) struct Scrub {
    partitions: VecDeque<TopicPartition>,
    files: VecDeque<(TopicPartition, PathBuf)>,
    part: Option<ScrubPart>,
    is_asked: bool,
    is_passing: bool,
    pass_begun: Option<Duration>,
    due: Duration,
}

impl<D: Disk, C: Clock> Store<D, C> {
    /// When the next part is due, if one is.
    pub(super) fn scrub_at(&self) -> Option<Duration> {
        let pace = self.config.scrub;
        let scrub = self.scrub.borrow();
        let first = FIRST_AFTER.min(pace.interval);
        let due = scrub.pass_begun.map_or(first, |_| scrub.due);
        (pace.bytes_per_second > 0 && !scrub.is_asked).then_some(due)
    }

    /// Has the next part read, if it is due.
    pub(super) fn scrub_next(&self) {
        let now = self.elapsed();
        if self.scrub_at().is_none_or(|at| at > now) {
            return;
        }
        let mut scrub = self.scrub.borrow_mut();
        if !std::mem::replace(&mut scrub.is_passing, true) {
            scrub.pass_begun = Some(now);
            scrub.partitions = self.partitions.borrow().keys().copied().collect();
        }
        if scrub.part.is_none() {
            scrub.part = self.next_file(&mut scrub);
        }
        let Some(part) = scrub.part.clone() else {
            let begun = scrub.pass_begun.unwrap_or(now);
            scrub.due = (begun + self.config.scrub.interval).max(now + Duration::from_secs(1));
            scrub.is_passing = false;
            drop(scrub);
            return self.count(|counters| counters.scrub_passes += 1);
        };
        scrub.is_asked = true;
        drop(scrub);
        self.ask(Job::Scrub(part));
    }

    fn next_file(&self, scrub: &mut Scrub) -> Option<ScrubPart> {
        loop {
            while let Some((tp, path)) = scrub.files.pop_front() {
                let part = self.part_of(tp, path);
                if part.is_some() {
                    return part;
                }
            }
            let tp = scrub.partitions.pop_front()?;
            let Some(partition) = self.partition(tp) else {
                continue;
            };
            let log = partition.log.borrow();
            let slots = log.segments.slots.iter();
            let files = slots.map(|slot| (tp, self.segment_path(&partition, slot)));
            scrub.files.extend(files);
        }
    }

    /// The flushed blocks of a file, if it still is the log's.
    fn part_of(&self, tp: TopicPartition, path: PathBuf) -> Option<ScrubPart> {
        let partition = self.partition(tp)?;
        let log = partition.log.borrow();
        let mut slots = log.segments.slots.iter();
        let slot = slots.find(|slot| self.segment_path(&partition, slot) == path)?;
        let first = Position(PAGE as u64);
        (slot.row.end > first).then_some(ScrubPart {
            path,
            tp,
            incarnation: slot.row.incarnation,
            from: first,
            until: slot.row.end,
            is_in_damage: false,
        })
    }

    pub(super) fn scrubbed(&self, done: Scrubbed) {
        let Scrubbed {
            part,
            next,
            is_in_damage,
            blocks,
            bytes,
            damages,
        } = done;
        self.count(|counters| {
            counters.scrubbed_blocks += blocks;
            counters.scrubbed_bytes += bytes;
        });
        // The file may have gone, or come to another use, while it was read.
        let is_current = |partition: &Partition<D>| {
            let log = partition.log.borrow();
            let mut slots = log.segments.slots.iter();
            slots.any(|slot| slot.row.incarnation == part.incarnation)
        };
        if self
            .partition(part.tp)
            .is_some_and(|found| is_current(&found))
        {
            damages
                .iter()
                .for_each(|error| self.report_segment(part.tp, error));
        }
        let now = self.elapsed();
        let rate = self.config.scrub.bytes_per_second.max(1);
        let mut scrub = self.scrub.borrow_mut();
        scrub.is_asked = false;
        scrub.due = now + Duration::from_secs_f64(bytes as f64 / rate as f64);
        scrub.part = (next < part.until).then_some(ScrubPart {
            from: next,
            is_in_damage,
            ..part
        });
    }

    /// A part could not be read for want of something else: it comes up again.
    pub(super) fn scrub_failed(&self) {
        let mut scrub = self.scrub.borrow_mut();
        scrub.is_asked = false;
        scrub.due = self.elapsed() + Duration::from_secs(1);
    }
}
