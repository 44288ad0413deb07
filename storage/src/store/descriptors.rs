//! Open segment files, within a budget: the one that was not used for longest is closed when there
//! are more, and opened again when it is. What is being written or read stays open.

use super::Store;
use crate::{
    disk::{Clock, Disk},
    hash::Incarnation,
    partition::{Log, Partition},
};
use std::{
    collections::VecDeque,
    rc::{Rc, Weak},
};

/// Files in the order in which they come up for closing: a used one goes to the end once more.
pub(super) struct OpenFiles<D: Disk>(VecDeque<(Weak<Partition<D>>, Incarnation)>);

impl<D: Disk> Default for OpenFiles<D> {
    fn default() -> OpenFiles<D> {
        OpenFiles(VecDeque::new())
    }
}

enum Fate {
    /// Closed, or gone with its log before.
    Closed,
    Stays,
}

impl<D: Disk, C: Clock> Store<D, C> {
    /// Counts a file that a log has just opened.
    pub(super) fn count_open(&self, partition: &Rc<Partition<D>>, incarnation: Incarnation) {
        let entry = (Rc::downgrade(partition), incarnation);
        self.open_files.borrow_mut().0.push_back(entry);
    }

    /// Files counted as open; some may have gone with their logs.
    #[must_use]
    pub fn open_file_count(&self) -> usize {
        self.open_files.borrow().0.len()
    }

    /// Closes files beyond the budget. Not while a log is borrowed.
    pub(super) fn close_excess(&self) {
        // Each is looked at twice at most: the first look forgets that it was used.
        let mut looks = 2 * self.open_file_count();
        while self.open_file_count() > self.config.open_files_max && looks > 0 {
            looks -= 1;
            let Some((partition, incarnation)) = self.open_files.borrow_mut().0.pop_front() else {
                return;
            };
            let Some(found) = partition.upgrade() else {
                continue;
            };
            let fate = close_unused(&mut found.log.borrow_mut(), incarnation);
            if let Fate::Stays = fate {
                let mut files = self.open_files.borrow_mut();
                files.0.push_back((partition, incarnation));
            }
        }
    }
}

fn close_unused<D: Disk>(log: &mut Log<D>, incarnation: Incarnation) -> Fate {
    let is_written = log.is_writing || log.direct.is_some();
    let last = log.segments.slots.len().saturating_sub(1);
    let mut slots = log.segments.slots.iter_mut().enumerate();
    let Some((at, slot)) = slots.find(|(_, slot)| slot.row.incarnation == incarnation) else {
        return Fate::Closed;
    };
    let Some(file) = &slot.file else {
        return Fate::Closed;
    };
    let is_busy = Rc::strong_count(file) > 1 || (at == last && is_written);
    if is_busy || file.take_used() {
        return Fate::Stays;
    }
    slot.file = None;
    Fate::Closed
}
