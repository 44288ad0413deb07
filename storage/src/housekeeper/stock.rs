//! Segment files made ready ahead of time, so that a shard that needs one does not wait for the
//! file system. Nothing is made before a class is first asked for: idle brokers use no disk.

use crate::pool::{PreparedFile, SizeClass};

/// The most files of each class that lie ready, in the order of [`SizeClass::ALL`]: 4 + 16 + 32 +
/// 128 MiB at the very most, and only where demand was that high.
const READY_MAX: [usize; 4] = [64, 16, 4, 4];

#[derive(Default)]
struct Shelf {
    ready: Vec<PreparedFile>,
    /// Files under way to this shelf.
    coming: usize,
    /// How many should lie ready; doubles each time there is none.
    target: usize,
}

/// The shelves of all classes.
#[derive(Default)]
pub(super) struct Stock {
    shelves: [Shelf; SizeClass::ALL.len()],
}

fn index(class: SizeClass) -> usize {
    SizeClass::ALL.iter().position(|&c| c == class).unwrap_or(0)
}

impl Stock {
    /// A ready file, if there is one. An empty shelf is made longer.
    pub(super) fn take(&mut self, class: SizeClass) -> Option<PreparedFile> {
        let i = index(class);
        let shelf = &mut self.shelves[i];
        let file = shelf.ready.pop();
        if file.is_none() {
            shelf.target = (shelf.target * 2).clamp(1, READY_MAX[i]);
        }
        file
    }

    /// A ready file of any class, the largest first: to be given up.
    pub(super) fn take_any(&mut self) -> Option<PreparedFile> {
        self.shelves
            .iter_mut()
            .rev()
            .find_map(|shelf| shelf.ready.pop())
    }

    /// Whether one more file of the class is wanted; if so it counts as coming.
    pub(super) fn wants(&mut self, class: SizeClass) -> bool {
        let shelf = &mut self.shelves[index(class)];
        let wanted = shelf.ready.len() + shelf.coming < shelf.target;
        shelf.coming += usize::from(wanted);
        wanted
    }

    /// Whether a file that is given back has a place; if so it counts as coming. Files given back
    /// are kept beyond the target: they cost no allocation.
    pub(super) fn accepts(&mut self, class: SizeClass) -> bool {
        let i = index(class);
        let shelf = &mut self.shelves[i];
        let accepted = shelf.ready.len() + shelf.coming < READY_MAX[i];
        shelf.coming += usize::from(accepted);
        accepted
    }

    /// A file that was coming has come, or will not.
    pub(super) fn arrived(&mut self, class: SizeClass, file: Option<PreparedFile>) {
        let shelf = &mut self.shelves[index(class)];
        shelf.coming -= 1;
        shelf.ready.extend(file);
    }
}
