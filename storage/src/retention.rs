//! What a topic forgets: which of a partition's Kafka segments go by age and size, by Kafka's
//! rules. Decides only; that a log begins later is the store's to write and to wait for (S6).
//!
//! ```text
//! size 350, retention.bytes 200: 150 too many; the first segment goes (100), the second would
//! leave less than 200 and stays
//!   +-----------+-----------+-----------+------+
//!   | 0    100 B| 40   100 B| 80   100 B| 120  |  active, 50 B
//!   +-----------+-----------+-----------+------+
//!               ^ the log begins here
//! ```

use crate::types::Offset;

/// A topic's limits; none keeps everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retention {
    /// A segment whose newest record is older goes.
    pub age_ms: Option<i64>,
    /// While the log without its oldest segment would not be smaller, that one goes.
    pub bytes: Option<u64>,
}

/// What a check has begun to forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retired {
    /// Kafka segments.
    pub segments: u64,
    /// Their bytes of batches.
    pub bytes: u64,
}

/// One Kafka segment, which may be several files and blocks in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentExtent {
    /// Its base offset.
    pub base: Offset,
    /// Bytes of the batches in it.
    pub bytes: u64,
    /// Its largest timestamp; negative if no record has one.
    pub max_timestamp: i64,
    /// Wall clock of its last append or flush.
    pub written_ms: i64,
}

/// Where a log ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// Of what is durable.
    pub durable: Offset,
    /// Of what was appended.
    pub appended: Offset,
}

impl SegmentExtent {
    /// As Kafka does: by its records, or by the clock where those bear no time.
    fn newest_ms(&self) -> i64 {
        if self.max_timestamp >= 0 {
            self.max_timestamp
        } else {
            self.written_ms
        }
    }
}

/// Where the log is to begin, if any of its segments (oldest first, the last is the active one) are
/// to go, and what goes. Kafka's order: first by size, then the oldest that are left by age. The
/// active segment goes too when all of it is too old, unless it is empty: the caller then rolls.
pub(crate) fn start_after(
    segments: &[SegmentExtent],
    ends: Ends,
    limits: Retention,
    now_ms: i64,
) -> Option<(Offset, Retired)> {
    let upper = |at: usize| segments.get(at + 1).map_or(ends.appended, |next| next.base);
    let is_last_and_empty = |at: usize| at + 1 == segments.len() && segments[at].bytes == 0;
    let may_go =
        |at: usize| at < segments.len() && ends.durable >= upper(at) && !is_last_and_empty(at);
    let mut gone = 0;
    let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    if let Some(mut excess) = limits.bytes.and_then(|limit| total.checked_sub(limit)) {
        while may_go(gone) && segments[gone].bytes <= excess {
            excess -= segments[gone].bytes;
            gone += 1;
        }
    }
    if let Some(limit_ms) = limits.age_ms {
        let age_ms = |at: usize| now_ms.saturating_sub(segments[at].newest_ms());
        while may_go(gone) && age_ms(gone) > limit_ms {
            gone += 1;
        }
    }
    let retired = Retired {
        segments: gone as u64,
        bytes: segments[..gone].iter().map(|segment| segment.bytes).sum(),
    };
    (gone > 0).then(|| (upper(gone - 1), retired))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 10_000;

    fn segment(base: i64, bytes: u64, max_timestamp: i64) -> SegmentExtent {
        let base = Offset(base);
        SegmentExtent {
            base,
            bytes,
            max_timestamp,
            written_ms: 9_000,
        }
    }

    /// Three segments, the last of which is active.
    fn log() -> [SegmentExtent; 3] {
        [
            segment(0, 100, 1_000),
            segment(40, 100, 5_000),
            segment(80, 50, 8_000),
        ]
    }

    fn start(segments: &[SegmentExtent], age_ms: i64, bytes: i64, durable: i64) -> Option<i64> {
        let limits = Retention {
            age_ms: (age_ms >= 0).then_some(age_ms),
            bytes: u64::try_from(bytes).ok(),
        };
        let ends = Ends {
            durable: Offset(durable),
            appended: Offset(100),
        };
        start_after(segments, ends, limits, NOW_MS).map(|(start, _)| start.0)
    }

    #[test]
    fn age_is_that_of_the_newest_record() {
        assert_eq!(start(&log(), 9_000, -1, 100), None, "as old as allowed");
        assert_eq!(start(&log(), 8_999, -1, 100), Some(40));
        assert_eq!(start(&log(), 3_000, -1, 100), Some(80));
    }

    #[test]
    fn the_active_segment_goes_by_age_and_stays_when_empty() {
        assert_eq!(start(&log(), 1_000, -1, 100), Some(100));
        let mut rolled = log();
        rolled[2] = segment(100, 0, -1);
        assert_eq!(start(&rolled, 0, -1, 100), Some(100));
        assert_eq!(start(&rolled[2..], 0, -1, 100), None);
    }

    #[test]
    fn a_segment_without_timestamps_is_as_old_as_its_last_write() {
        let timeless = [segment(0, 100, -1), segment(40, 60, 9_999)];
        assert_eq!(start(&timeless, 1_000, -1, 100), None);
        assert_eq!(start(&timeless, 999, -1, 100), Some(40));
    }

    #[test]
    fn a_young_segment_protects_older_ones_behind_it() {
        let mixed = [segment(0, 1, 1_000), segment(1, 1, 9_900), segment(2, 1, 0)];
        assert_eq!(start(&mixed, 500, -1, 100), Some(1));
    }

    #[test]
    fn size_never_falls_below_the_limit() {
        assert_eq!(start(&log(), -1, 250, 100), None);
        assert_eq!(start(&log(), -1, 151, 100), None);
        assert_eq!(start(&log(), -1, 150, 100), Some(40));
        assert_eq!(start(&log(), -1, 50, 100), Some(80));
        assert_eq!(start(&log(), -1, 1, 100), Some(80), "never the active one");
        assert_eq!(
            start(&log(), -1, 0, 100),
            Some(100),
            "but as Kafka for zero"
        );
    }

    #[test]
    fn what_is_not_durable_stays() {
        assert_eq!(start(&log(), 0, -1, 79), Some(40));
        assert_eq!(start(&log(), 0, 0, 99), Some(80));
    }
}
