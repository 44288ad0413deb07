//! What all consumers of a run found, held against what its producers got acknowledged.

use std::collections::BTreeMap;

use crate::tally::{Acknowledged, Produced, Read};
use crate::verify::{Findings, Verifier};

/// What was found, and how many of the unread records were due in the measured window.
pub struct Verdict {
    pub findings: Findings,
    pub unread_measured: u64,
}

/// Judges. `starts` says where each partition begins by now: what lay before may have been deleted
/// unread, and is not lost.
pub fn verdict(reads: &[Read], produced: &Produced, starts: &BTreeMap<i32, i64>) -> Verdict {
    let mut findings = Findings::default();
    let mut unread_measured = 0;
    for read in reads {
        let mut found = read.verifier.findings().clone();
        for stream in &produced.acknowledged {
            let is_due = read.partitions.contains(&stream.partition);
            let start = starts.get(&stream.partition).copied().unwrap_or(0);
            let rest = judge(&mut found, &read.verifier, stream, start);
            let missing = if is_due { rest.missing } else { 0 };
            match read.finished {
                true => found.lost += missing,
                false => {
                    found.unread += missing;
                    // The last of a stream were due last.
                    unread_measured += missing.min(stream.measured);
                }
            }
            found.expired += if is_due { rest.expired } else { 0 };
        }
        findings.merge(&found);
    }
    // One that was sent twice may come twice.
    let twice = produced.resent * reads.len() as u64;
    findings.duplicated = findings.duplicated.saturating_sub(twice);
    findings.reordered = findings.reordered.saturating_sub(twice);
    Verdict {
        findings,
        unread_measured,
    }
}

/// What did not come of the end of a stream.
struct Rest {
    /// It must be there.
    missing: u64,
    /// It may have been deleted.
    expired: u64,
}

/// Looks at one stream as one consumer saw it.
fn judge(found: &mut Findings, verifier: &Verifier, stream: &Acknowledged, start: i64) -> Rest {
    let (partition, name, end) = (stream.partition, stream.stream, stream.end);
    // A refused record leaves a gap in its stream that is nobody's fault.
    let (mut gaps, mut lacking) = (0, 0);
    for refused in &stream.refused {
        let (lost, behind) = verifier.missing(partition, name, refused, end);
        gaps += lost;
        lacking += behind;
    }
    found.lost = found.lost.saturating_sub(gaps);
    let lacks = verifier.lacks(partition, name, end).saturating_sub(lacking);
    // The last record's offset says how many of its stream can still be there.
    let there = match stream.last_offset {
        -1 => lacks,
        last => u64::try_from(last + 1 - start).unwrap_or(0),
    };
    let missing = lacks.min(there);
    Rest {
        missing,
        expired: lacks - missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::StreamId;

    fn judged(last_offset: i64, start: i64, finished: bool) -> Verdict {
        let read = Read {
            partitions: vec![0],
            finished,
            verifier: Verifier::default(),
        };
        let mut produced = Produced::new();
        produced.acknowledged.push(Acknowledged {
            partition: 0,
            stream: StreamId(1),
            end: 10,
            last_offset,
            measured: 5,
            refused: vec![2..3, 3..4],
        });
        verdict(&[read], &produced, &BTreeMap::from([(0, start)]))
    }

    #[test]
    fn what_lay_before_the_partitions_start_is_not_lost() {
        let counts = |last_offset, start| {
            let found = judged(last_offset, start, true).findings;
            (found.lost, found.expired)
        };
        assert_eq!(counts(19, 0), (8, 0));
        assert_eq!(counts(19, 17), (3, 5));
        assert_eq!(counts(19, 20), (0, 8));
        assert_eq!(counts(-1, 20), (8, 0));
    }

    #[test]
    fn what_a_consumer_did_not_come_to_is_not_lost() {
        let Verdict {
            findings,
            unread_measured,
        } = judged(19, 17, false);
        assert!(findings.is_clean());
        assert_eq!((findings.unread, findings.expired), (3, 5));
        assert_eq!(unread_measured, 3);
        assert_eq!(judged(19, 0, false).unread_measured, 5);
    }
}
