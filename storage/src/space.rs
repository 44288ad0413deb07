//! How full the disk is: one gauge for all shards of a node, written by whoever may ask the file
//! system (the control thread each second, the housekeeper for each file that it makes) and read by
//! shards with one atomic load. It decides nothing about data: appends, the housekeeper and the
//! broker each ask for the level and act.
//!
//! ```text
//!  free:  ............ low ........... full ........... reserve ........... 0
//!  level: Ample        | Low           | Full
//!                      | producers are | appends are    | no new segment  |
//!                      | slowed down   | refused        | files: kept for |
//!                      |               |                | the next start  |
//! ```
//! A start writes fresh journals beside the old ones (S11), so a disk that is filled to the last
//! byte could not be started from: the reserve is what that takes.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

/// Files that a file system has room for at least, however long they are by themselves.
const FILES_MIN: u64 = 16;

/// Free bytes at which something changes; each holds below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watermarks {
    /// Producers are slowed down.
    pub low_bytes: u64,
    /// Appends are refused.
    pub full_bytes: u64,
    /// No segment files are made: what the next start, journals and internal topics need.
    pub reserve_bytes: u64,
}

impl Watermarks {
    /// The watermarks that a file system of `total_bytes` can bear: on a small one they would
    /// leave nothing to use. The reserve comes below both.
    ///
    /// ```text
    /// 256 MiB, low 2 GiB, full 512 MiB, reserve 40 MiB: low 72 MiB, full 56 MiB, reserve 40 MiB
    /// ```
    #[must_use]
    pub fn on(self, total_bytes: u64) -> Watermarks {
        let reserve_bytes = self.reserve_bytes.min(total_bytes / 4);
        let full_bytes = self.full_bytes.min(total_bytes / 16) + reserve_bytes;
        let low_bytes = (self.low_bytes.min(total_bytes / 8) + reserve_bytes).max(full_bytes);
        Watermarks {
            low_bytes,
            full_bytes,
            reserve_bytes,
        }
    }
}

/// A file system's size and what of it may still be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileSystem {
    /// All of it.
    pub total_bytes: u64,
    /// What a process without privileges may still take.
    pub usable_bytes: u64,
}

/// What the free space allows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Everything.
    Ample,
    /// Everything, slower.
    Low,
    /// No appends, but by the broker itself.
    Full,
}

const LEVELS: [Level; 3] = [Level::Ample, Level::Low, Level::Full];

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Ample => "ample",
            Level::Low => "low",
            Level::Full => "full",
        })
    }
}

#[derive(Debug, Default)]
struct Gauge {
    wanted: Watermarks,
    total_bytes: AtomicU64,
    usable_bytes: AtomicU64,
    /// The file system has said ENOSPC or EDQUOT whatever its numbers say, and has not taken a
    /// file since.
    is_refused: AtomicBool,
    level: AtomicU8,
}

/// The gauge; clones share it. One that was never told anything has ample space.
#[derive(Clone, Debug, Default)]
pub struct Space(Arc<Gauge>);

impl Space {
    /// A gauge with these watermarks, before [`Watermarks::on`].
    #[must_use]
    pub fn new(wanted: Watermarks) -> Space {
        Space(Arc::new(Gauge {
            wanted,
            ..Gauge::default()
        }))
    }

    /// What the free space allows.
    #[must_use]
    pub fn level(&self) -> Level {
        LEVELS[usize::from(self.0.level.load(Ordering::Relaxed))]
    }

    /// As last told.
    #[must_use]
    pub fn file_system(&self) -> FileSystem {
        FileSystem {
            total_bytes: self.0.total_bytes.load(Ordering::Relaxed),
            usable_bytes: self.0.usable_bytes.load(Ordering::Relaxed),
        }
    }

    /// The watermarks that hold on this file system.
    #[must_use]
    pub fn watermarks(&self) -> Watermarks {
        self.0.wanted.on(self.0.total_bytes.load(Ordering::Relaxed))
    }

    /// How far free space has sunk from the low watermark to the full one, in thousandths.
    #[must_use]
    pub fn shortage_permille(&self) -> u64 {
        let (marks, usable) = (self.watermarks(), self.file_system().usable_bytes);
        match self.level() {
            Level::Ample => 0,
            Level::Full => 1000,
            Level::Low => {
                let span = (marks.low_bytes - marks.full_bytes).max(1);
                1000 * marks.low_bytes.saturating_sub(usable) / span
            }
        }
    }

    /// Whether a segment file of `len` bytes leaves the reserve alone.
    #[must_use]
    pub fn admits(&self, len: u64) -> bool {
        let now = self.file_system();
        now.total_bytes == 0 || now.usable_bytes >= self.watermarks().reserve_bytes + len
    }

    /// Whether a file of `len` bytes that nobody needs yet leaves free space ample.
    #[must_use]
    pub fn admits_ahead(&self, len: u64) -> bool {
        let now = self.file_system();
        now.total_bytes == 0 || now.usable_bytes >= self.watermarks().low_bytes + len
    }

    /// Whether a file of `len` bytes is in proportion: on a small file system a few large ones,
    /// hardly begun, would be all of it.
    #[must_use]
    pub fn suits(&self, len: u64) -> bool {
        let total_bytes = self.file_system().total_bytes;
        total_bytes == 0 || len <= total_bytes / FILES_MIN
    }

    /// Takes what the file system says now.
    pub fn note(&self, now: FileSystem) {
        self.0.total_bytes.store(now.total_bytes, Ordering::Relaxed);
        self.0
            .usable_bytes
            .store(now.usable_bytes, Ordering::Relaxed);
        self.look();
    }

    /// Notes whether a file could be made: quotas refuse one while the file system has space left.
    pub fn note_made<T>(&self, made: &io::Result<T>) {
        let is_refused = match made {
            Ok(_) => false,
            Err(error) if is_no_space(error) => true,
            Err(_) => return,
        };
        if self.0.is_refused.swap(is_refused, Ordering::Relaxed) != is_refused {
            self.look();
        }
    }

    fn look(&self) {
        let (marks, now) = (self.watermarks(), self.file_system());
        let before = self.level();
        let level = if self.0.is_refused.load(Ordering::Relaxed) {
            Level::Full
        } else {
            level_of(marks, now, before)
        };
        // Two threads may tell at once: the one that changes the level says so.
        let was = self.0.level.swap(level as u8, Ordering::Relaxed);
        if was != level as u8 {
            announce(level, marks, now);
        }
    }
}

/// The level, which rises again only when there is an eighth more than where it sank: else each
/// file that is made and removed would let producers in and turn them away again.
fn level_of(marks: Watermarks, now: FileSystem, before: Level) -> Level {
    let usable = now.usable_bytes;
    let until = |mark: u64, is_below: bool| if is_below { mark + mark / 8 } else { mark };
    if now.total_bytes == 0 {
        Level::Ample
    } else if usable < until(marks.full_bytes, before == Level::Full) {
        Level::Full
    } else if usable < until(marks.low_bytes, before >= Level::Low) {
        Level::Low
    } else {
        Level::Ample
    }
}

fn announce(level: Level, marks: Watermarks, now: FileSystem) {
    let FileSystem {
        total_bytes,
        usable_bytes,
    } = now;
    let Watermarks {
        low_bytes,
        full_bytes,
        reserve_bytes,
    } = marks;
    match level {
        Level::Ample => tracing::info!(usable_bytes, total_bytes, "the disk has space again"),
        Level::Low => tracing::warn!(
            usable_bytes,
            total_bytes,
            low_bytes,
            "the disk is getting full: producers are slowed down; delete topics or records, lower \
             retention.ms or retention.bytes, or add space"
        ),
        Level::Full => tracing::error!(
            usable_bytes,
            total_bytes,
            full_bytes,
            reserve_bytes,
            "the disk is full: produce requests are refused until there is space; fetch and \
             delete go on; delete topics or records, lower retention, or add space"
        ),
    }
}

/// Whether an error says that the disk, or what this user may have of it, is full: no mark of a
/// failing device.
#[must_use]
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn gauge() -> Space {
        Space::new(Watermarks {
            low_bytes: 2048 * MIB,
            full_bytes: 512 * MIB,
            reserve_bytes: 40 * MIB,
        })
    }

    fn told(space: &Space, usable: u64) -> Level {
        space.note(FileSystem {
            total_bytes: 256 * MIB,
            usable_bytes: usable * MIB,
        });
        space.level()
    }

    #[test]
    fn a_small_file_system_lowers_the_watermarks() {
        let space = gauge();
        told(&space, 200);
        let marks = space.watermarks();
        assert_eq!(marks.low_bytes, 72 * MIB);
        assert_eq!(marks.full_bytes, 56 * MIB);
        assert_eq!(marks.reserve_bytes, 40 * MIB);
    }

    #[test]
    fn a_level_is_left_only_when_there_is_clearly_more() {
        let space = gauge();
        assert_eq!(told(&space, 80), Level::Ample);
        assert_eq!(told(&space, 71), Level::Low);
        assert_eq!(told(&space, 75), Level::Low);
        assert_eq!(told(&space, 55), Level::Full);
        assert_eq!(told(&space, 60), Level::Full);
        assert_eq!(told(&space, 64), Level::Low);
        assert_eq!(told(&space, 82), Level::Ample);
    }

    #[test]
    fn no_segment_takes_from_the_reserve() {
        let space = gauge();
        assert!(space.admits(1 << 40), "nothing is known yet");
        told(&space, 48);
        assert!(space.admits(8 * MIB));
        assert!(!space.admits(8 * MIB + 1));
    }

    #[test]
    fn a_refusal_counts_whatever_the_numbers_say() {
        let space = gauge();
        told(&space, 200);
        let refused: io::Result<()> = Err(io::ErrorKind::QuotaExceeded.into());
        space.note_made(&refused);
        assert_eq!(space.level(), Level::Full);
        assert_eq!(told(&space, 200), Level::Full);
        space.note_made(&Ok(()));
        assert_eq!(space.level(), Level::Ample);
    }

    #[test]
    fn the_shortage_grows_from_one_watermark_to_the_other() {
        let space = gauge();
        told(&space, 100);
        assert_eq!(space.shortage_permille(), 0);
        told(&space, 64);
        assert_eq!(space.shortage_permille(), 500);
        told(&space, 10);
        assert_eq!(space.shortage_permille(), 1000);
    }
}
