//! What all consumers of a run found, held against what its producers got acknowledged.

use std::collections::BTreeMap;

use crate::tally::{Acknowledged, Produced, Read};
use crate::verify::{Findings, Verifier};

/// Judges. `starts` says where each partition begins by now: what lay before may have been deleted
/// unread, and is not lost.
pub fn verdict(reads: &[Read], produced: &Produced, starts: &BTreeMap<i32, i64>) -> Findings {
    let mut findings = Findings::default();
    for read in reads {
        let mut found = read.verifier.findings().clone();
        for stream in &produced.acknowledged {
            let is_due = read.partitions.contains(&stream.partition);
            let start = starts.get(&stream.partition).copied().unwrap_or(0);
            judge(&mut found, &read.verifier, stream, start, is_due);
        }
        findings.merge(&found);
    }
    // One that was sent twice may come twice.
    let twice = produced.resent * reads.len() as u64;
    findings.duplicated = findings.duplicated.saturating_sub(twice);
    findings.reordered = findings.reordered.saturating_sub(twice);
    findings
}

/// Looks at one stream as one consumer saw it. `is_due` if that one had to read it to its end.
fn judge(
    found: &mut Findings,
    verifier: &Verifier,
    stream: &Acknowledged,
    start: i64,
    is_due: bool,
) {
    let (partition, name, end) = (stream.partition, stream.stream, stream.end);
    // A refused record leaves a gap in its stream that is nobody's fault.
    let (mut gaps, mut lacking) = (0, 0);
    for refused in &stream.refused {
        let (lost, behind) = verifier.missing(partition, name, refused, end);
        gaps += lost;
        lacking += behind;
    }
    found.lost = found.lost.saturating_sub(gaps);
    if !is_due {
        return;
    }
    let lacks = verifier.lacks(partition, name, end).saturating_sub(lacking);
    // The last record's offset says how many of its stream can still be there.
    let there = match stream.last_offset {
        -1 => lacks,
        last => u64::try_from(last + 1 - start).unwrap_or(0),
    };
    let lost = lacks.min(there);
    found.lost += lost;
    found.expired += lacks - lost;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::StreamId;

    fn findings(last_offset: i64, start: i64) -> Findings {
        let read = Read {
            partitions: vec![0],
            verifier: Verifier::default(),
        };
        let mut produced = Produced::new();
        produced.acknowledged.push(Acknowledged {
            partition: 0,
            stream: StreamId(1),
            end: 10,
            last_offset,
            refused: vec![2..3, 3..4],
        });
        verdict(&[read], &produced, &BTreeMap::from([(0, start)]))
    }

    #[test]
    fn what_lay_before_the_partitions_start_is_not_lost() {
        let counts = |found: Findings| (found.lost, found.expired);
        assert_eq!(counts(findings(19, 0)), (8, 0));
        assert_eq!(counts(findings(19, 17)), (3, 5));
        assert_eq!(counts(findings(19, 20)), (0, 8));
        assert_eq!(counts(findings(-1, 20)), (8, 0));
    }
}
