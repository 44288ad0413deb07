//! The names of segment files and of the directories they lie in. A name is for people and for
//! listing: which files belong to a partition is said by journal rows, with incarnations (S8).

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::types::{Offset, TopicId, TopicPartition};

/// Which rewrite of a partition's log a file belongs to: compaction writes the next one (S16).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation(pub u32);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A segment file's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentName {
    /// Its generation.
    pub generation: Generation,
    /// Base offset of its Kafka segment.
    pub base: Offset,
    /// Which file of its Kafka segment, from 0.
    pub number: u32,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{:020}-{}.seg",
            self.generation, self.base.0, self.number
        )
    }
}

/// Not the name of a segment file.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("{0:?} is not <generation>-<base offset>-<number>.seg")]
pub struct NotASegmentName(String);

impl FromStr for SegmentName {
    type Err = NotASegmentName;

    fn from_str(name: &str) -> Result<SegmentName, NotASegmentName> {
        let parsed = (|| {
            let mut parts = name.strip_suffix(".seg")?.split('-');
            let generation = Generation(parts.next()?.parse().ok()?);
            let base = Offset(parts.next()?.parse().ok()?);
            let number = parts.next()?.parse().ok()?;
            parts.next().is_none().then_some(SegmentName {
                generation,
                base,
                number,
            })
        })();
        parsed.ok_or_else(|| NotASegmentName(name.to_owned()))
    }
}

/// Where a topic's partitions lie.
#[must_use]
pub fn topic_dir(data: &Path, topic: TopicId) -> PathBuf {
    data.join("topics").join(topic.to_string())
}

/// Where a partition's segment files lie.
#[must_use]
pub fn partition_dir(data: &Path, tp: TopicPartition) -> PathBuf {
    topic_dir(data, tp.topic).join(tp.partition.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        let name = SegmentName {
            generation: Generation(3),
            base: Offset(1_234_567),
            number: 12,
        };
        assert_eq!(name.to_string(), "3-00000000000001234567-12.seg");
        assert_eq!(name.to_string().parse(), Ok(name));
        for wrong in ["3-1.seg", "3-1-2", "3-1-2-4.seg", "x-1-2.seg", ""] {
            assert!(wrong.parse::<SegmentName>().is_err(), "{wrong}");
        }
    }
}
