//! The judgement: what was acknowledged, refused or unknown on one side, what every consumer saw at
//! every offset on the other. A pure function: it is told everything, and asks nothing.
//!
//! The rules are those of jepsen's kafka workload, as far as they concern single records:
//!
//! - **lost**: acknowledged, never seen, although something behind it was;
//! - **unseen**: acknowledged, never seen, and nothing behind it either;
//! - **unread**: the same, where no consumer came to the end: it may be there;
//! - **duplicated**: seen at more than one offset of its partition;
//! - **reordered**: seen behind a record that its producer sent later;
//! - **inconsistent**: an offset at which different records were seen, or that was acknowledged for
//!   another one;
//! - **aborted reads**: refused for good, and seen nevertheless;
//! - **unexpected**: seen, and never sent;
//! - **nonmonotonic** and **skipped** polls: a consumer went back, or over something that is there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::tally::{Batch, Fate, Read};
use crate::verify::{Seen, StreamId};

/// Examples of each kind that are shown.
const EXAMPLES_MAX: usize = 5;

/// A kind of anomaly: how often, and where for example.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// How often.
    pub count: u64,
    /// The first few.
    pub examples: Vec<String>,
}

impl Anomaly {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records refused for good.
    pub refused: u64,
    /// Records whose fate nobody told.
    pub unknown: u64,
    /// Different records seen.
    pub seen: u64,
    /// Acknowledged, and deleted by the broker before anyone saw them.
    pub expired: u64,
    /// Acknowledged, never seen, although something behind was.
    pub lost: Anomaly,
    /// Acknowledged, never seen, nor anything behind.
    pub unseen: Anomaly,
    /// The same, where no consumer came to the end of the partition in time.
    pub unread: Anomaly,
    /// Seen at several offsets.
    pub duplicated: Anomaly,
    /// Seen behind later ones of the same producer.
    pub reordered: Anomaly,
    /// Different records at one offset.
    pub inconsistent: Anomaly,
    /// Refused and seen.
    pub aborted_reads: Anomaly,
    /// Seen and never sent.
    pub unexpected: Anomaly,
    /// A consumer went back.
    pub nonmonotonic: Anomaly,
    /// A consumer left something out.
    pub skipped: Anomaly,
    /// Records whose content had changed, or that were in another partition.
    pub corrupt: u64,
    /// Where each partition begins by now: what lay before need not have been seen.
    #[serde(skip)]
    starts: BTreeMap<i32, i64>,
    /// The partitions that some consumer has read to their ends.
    #[serde(skip)]
    finished: BTreeSet<i32>,
}

/// A record: who sent it, and its number among that one's in its partition.
type Record = (StreamId, u64);

/// One partition as all consumers saw it together.
#[derive(Default)]
struct Log {
    /// What is at each offset; the first that was seen there.
    at: BTreeMap<i64, Record>,
    /// The first offset of each record.
    of: HashMap<Record, i64>,
}

impl Verdict {
    /// Judges.
    pub fn of(batches: &[Batch], reads: &[&Read], starts: BTreeMap<i32, i64>) -> Verdict {
        let finished = reads.iter().filter(|read| read.finished);
        let mut verdict = Verdict {
            starts,
            finished: finished.flat_map(|read| read.partitions.clone()).collect(),
            ..Verdict::default()
        };
        let mut logs: BTreeMap<i32, Log> = BTreeMap::new();
        for read in reads {
            let found = read.verifier.findings();
            verdict.corrupt += found.corrupt + found.misplaced;
            for seen in read.verifier.reads() {
                verdict.note(logs.entry(seen.partition).or_default(), seen);
            }
        }
        for (partition, log) in &logs {
            verdict.judge_order(*partition, log);
        }
        for read in reads {
            verdict.judge_polls(read.verifier.reads(), &logs);
        }
        verdict.judge_batches(batches, &logs);
        verdict.seen = logs.values().map(|log| log.of.len() as u64).sum();
        verdict
    }

    /// Whether everything is as it must be. What is unknown may be there or not.
    pub fn is_clean(&self) -> bool {
        self.corrupt == 0
            && self
                .anomalies()
                .iter()
                .all(|(_, anomaly)| anomaly.count == 0)
    }

    /// Whether nothing is wrong but that the end was not read.
    fn is_undecided(&self) -> bool {
        let mut found = self.anomalies().into_iter();
        self.corrupt == 0
            && found.all(|(_, anomaly)| anomaly.count == 0 || std::ptr::eq(anomaly, &self.unread))
    }

    fn anomalies(&self) -> [(&'static str, &Anomaly); 10] {
        [
            ("lost", &self.lost),
            ("unseen", &self.unseen),
            ("not read in time: they may be there", &self.unread),
            ("duplicated", &self.duplicated),
            ("reordered", &self.reordered),
            ("inconsistent offsets", &self.inconsistent),
            ("aborted reads", &self.aborted_reads),
            ("unexpected", &self.unexpected),
            ("nonmonotonic polls", &self.nonmonotonic),
            ("skipped polls", &self.skipped),
        ]
    }

    /// For people.
    pub fn text(&self) -> String {
        let Verdict {
            acknowledged,
            refused,
            unknown,
            seen,
            expired,
            ..
        } = self;
        let mut text = match self.is_clean() {
            true => "PASSED: every acknowledged record is there, once, in order".to_owned(),
            false if self.is_undecided() => {
                "UNDECIDED: not all was read in time; what was read is as it must be".to_owned()
            }
            false => "FAILED".to_owned(),
        };
        text += &format!(
            "\n{acknowledged} acknowledged, {unknown} unknown, {refused} refused; {seen} seen\n"
        );
        if *expired > 0 {
            text += &format!("{expired} deleted by the broker before anyone saw them\n");
        }
        for (name, anomaly) in self.anomalies() {
            if anomaly.count > 0 {
                let examples = anomaly.examples.join("; ");
                text += &format!("{:>9} {name}: {examples}\n", anomaly.count);
            }
        }
        if self.corrupt > 0 {
            text += &format!("{:>9} with other content than was sent\n", self.corrupt);
        }
        text
    }

    fn note(&mut self, log: &mut Log, seen: &Seen) {
        let record = (seen.stream, seen.sequence);
        let here = *log.at.entry(seen.offset).or_insert(record);
        if here != record {
            self.inconsistent
                .add(|| place(seen.partition, seen.offset, &[here, record]));
            return;
        }
        let first = *log.of.entry(record).or_insert(seen.offset);
        if first > seen.offset {
            log.of.insert(record, seen.offset);
        }
    }

    /// Looks at a partition from its beginning to its end.
    fn judge_order(&mut self, partition: i32, log: &Log) {
        let mut last: HashMap<StreamId, u64> = HashMap::new();
        for (offset, record) in &log.at {
            let (stream, sequence) = *record;
            if log.of.get(record).is_some_and(|first| first < offset) {
                self.duplicated
                    .add(|| place(partition, *offset, &[*record]));
                continue;
            }
            let last = last.entry(stream).or_insert(sequence);
            if sequence < *last {
                self.reordered.add(|| place(partition, *offset, &[*record]));
            }
            *last = sequence.max(*last);
        }
    }

    /// Looks at what one consumer saw, in its order.
    fn judge_polls(&mut self, reads: &[Seen], logs: &BTreeMap<i32, Log>) {
        let mut positions: HashMap<i32, i64> = HashMap::new();
        for seen in reads {
            let Some(before) = positions.insert(seen.partition, seen.offset) else {
                continue;
            };
            let record = [(seen.stream, seen.sequence)];
            if seen.offset <= before {
                self.nonmonotonic
                    .add(|| place(seen.partition, seen.offset, &record));
                continue;
            }
            let passed = (before + 1).max(self.start(seen.partition))..seen.offset;
            if !passed.is_empty()
                && let Some(log) = logs.get(&seen.partition)
                && log.at.range(passed).next().is_some()
            {
                self.skipped
                    .add(|| place(seen.partition, seen.offset, &record));
            }
        }
    }

    fn judge_batches(&mut self, batches: &[Batch], logs: &BTreeMap<i32, Log>) {
        let nothing = Log::default();
        // By partition and stream, the first numbers that were never sent.
        let mut sent: HashMap<(i32, StreamId), u64> = HashMap::new();
        for batch in batches {
            let log = logs.get(&batch.partition).unwrap_or(&nothing);
            let end = batch.sequence + batch.records;
            let known = sent.entry((batch.partition, batch.stream)).or_default();
            *known = end.max(*known);
            for (index, sequence) in (0..).zip(batch.sequence..end) {
                self.judge_record(batch, (batch.stream, sequence), index, log);
            }
        }
        for (partition, log) in logs {
            for (offset, record) in &log.at {
                let known = sent.get(&(*partition, record.0)).copied().unwrap_or(0);
                if record.1 >= known {
                    self.unexpected
                        .add(|| place(*partition, *offset, &[*record]));
                }
            }
        }
    }

    fn judge_record(&mut self, batch: &Batch, record: Record, index: i64, log: &Log) {
        let found = log.of.get(&record).copied();
        match batch.fate {
            Fate::Unknown => self.unknown += 1,
            Fate::Refused => {
                self.refused += 1;
                if let Some(offset) = found {
                    self.aborted_reads
                        .add(|| place(batch.partition, offset, &[record]));
                }
            }
            Fate::Written { base_offset } => {
                self.acknowledged += 1;
                let offset = (base_offset >= 0).then_some(base_offset + index);
                match (found, offset) {
                    (None, _) => self.judge_missing(batch.partition, record, offset, log),
                    (Some(found), Some(offset)) if log.at.get(&offset) != Some(&record) => {
                        let there = log.at.get(&offset).copied();
                        let records: Vec<Record> = there.into_iter().chain([record]).collect();
                        self.inconsistent.add(|| {
                            let text = place(batch.partition, offset, &records);
                            format!("{text} (found at {found})")
                        });
                    }
                    _ => {}
                }
            }
        }
    }

    fn start(&self, partition: i32) -> i64 {
        self.starts.get(&partition).copied().unwrap_or(0)
    }

    fn judge_missing(&mut self, partition: i32, record: Record, offset: Option<i64>, log: &Log) {
        // Where another record was seen, this one was never there.
        let start = self.start(partition);
        if offset.is_some_and(|offset| offset < start && !log.at.contains_key(&offset)) {
            self.expired += 1;
            return;
        }
        let last = log.at.last_key_value().map(|(last, _)| *last);
        let behind = match (offset, last) {
            (Some(offset), Some(last)) => last >= offset,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let example = || place(partition, offset.unwrap_or(-1), &[record]);
        match behind {
            true => self.lost.add(example),
            false if self.finished.contains(&partition) => self.unseen.add(example),
            false => self.unread.add(example),
        }
    }
}

fn place(partition: i32, offset: i64, records: &[Record]) -> String {
    let records: Vec<String> = records
        .iter()
        .map(|(stream, sequence)| format!("{:x}#{sequence}", stream.0))
        .collect();
    format!(
        "partition {partition} offset {offset} record {}",
        records.join(" and ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{Stamp, Verifier, filler_hash};

    const STREAM: StreamId = StreamId(7);

    fn written(sequence: u64, records: u64, base_offset: i64) -> Batch {
        batch(sequence, records, Fate::Written { base_offset })
    }

    fn batch(sequence: u64, records: u64, fate: Fate) -> Batch {
        Batch {
            partition: 0,
            stream: STREAM,
            sequence,
            records,
            fate,
        }
    }

    /// A consumer that saw these sequence numbers at these offsets.
    fn read(seen: &[(i64, u64)]) -> Read {
        let mut verifier = Verifier::default().keeping_reads(true);
        for (offset, sequence) in seen {
            let mut value = vec![1; 40];
            let stamp = Stamp {
                sequence: *sequence,
                intended_unix_ns: 0,
                stream: STREAM,
                partition: 0,
            };
            let hash = filler_hash(&value);
            stamp.write(&mut value, hash);
            verifier.observe(0, *offset, Some(&value));
        }
        Read {
            partitions: vec![0],
            finished: true,
            verifier,
        }
    }

    /// How often each anomaly is found, by name.
    fn judged(batches: &[Batch], reads: &[&[(i64, u64)]]) -> Vec<(&'static str, u64)> {
        let reads: Vec<Read> = reads.iter().map(|seen| read(seen)).collect();
        let verdict = Verdict::of(batches, &reads.iter().collect::<Vec<_>>(), BTreeMap::new());
        let found = verdict.anomalies().into_iter();
        found
            .filter(|(_, anomaly)| anomaly.count > 0)
            .map(|(name, anomaly)| (name, anomaly.count))
            .collect()
    }

    #[test]
    fn what_is_as_it_must_be_passes() {
        let all = [written(0, 2, 0), written(2, 2, 2)];
        assert_eq!(
            judged(
                &all,
                &[&[(0, 0), (1, 1), (2, 2), (3, 3)], &[(2, 2), (3, 3)]]
            ),
            []
        );
        // What nobody was told about may be there or not.
        let unsure = [written(0, 1, 0), batch(1, 1, Fate::Unknown)];
        assert_eq!(judged(&unsure, &[&[(0, 0), (1, 1)]]), []);
        assert_eq!(judged(&unsure, &[&[(0, 0)]]), []);
    }

    #[test]
    fn loss_is_told_from_what_was_not_read() {
        let all = [written(0, 1, 0), written(1, 1, 1), written(2, 1, 2)];
        assert_eq!(judged(&all, &[&[(0, 0), (2, 2)]]), [("lost", 1)]);
        assert_eq!(judged(&all, &[&[(0, 0), (1, 1)]]), [("unseen", 1)]);
    }

    #[test]
    fn what_no_consumer_came_to_is_neither_lost_nor_right() {
        let all = [written(0, 1, 0), written(1, 1, 1), written(2, 1, 2)];
        let unfinished = Read {
            finished: false,
            ..read(&[(1, 1)])
        };
        let verdict = Verdict::of(&all, &[&unfinished], BTreeMap::new());
        let counts = [&verdict.lost, &verdict.unseen, &verdict.unread].map(|found| found.count);
        assert_eq!(counts, [1, 0, 1]);
        let verdict = Verdict::of(&all[1..], &[&unfinished], BTreeMap::new());
        assert!(!verdict.is_clean() && verdict.text().starts_with("UNDECIDED"));
    }

    #[test]
    fn doubles_and_disorder_are_told_apart() {
        let all = [written(0, 1, 0), written(1, 1, 1)];
        let doubled: &[(i64, u64)] = &[(0, 0), (1, 1), (2, 0)];
        assert_eq!(judged(&all, &[doubled]), [("duplicated", 1)]);
        let all = [written(1, 1, 0), written(0, 1, 1)];
        assert_eq!(judged(&all, &[&[(0, 1), (1, 0)]]), [("reordered", 1)]);
    }

    #[test]
    fn an_offset_has_one_record_for_everybody() {
        let all = [written(0, 1, 0), batch(1, 1, Fate::Unknown)];
        let found = judged(&all, &[&[(0, 0)], &[(0, 1)]]);
        assert_eq!(found, [("inconsistent offsets", 1)]);
        // Acknowledged for one offset and found at another.
        let all = [written(0, 1, 5)];
        assert_eq!(judged(&all, &[&[(4, 0)]]), [("inconsistent offsets", 1)]);
    }

    #[test]
    fn refused_and_foreign_records_must_not_be_seen() {
        let all = [written(0, 1, 0), batch(1, 1, Fate::Refused)];
        assert_eq!(judged(&all, &[&[(0, 0), (1, 1)]]), [("aborted reads", 1)]);
        assert_eq!(
            judged(&[written(0, 1, 0)], &[&[(0, 0), (1, 9)]]),
            [("unexpected", 1)]
        );
    }

    #[test]
    fn consumers_must_neither_go_back_nor_leave_out() {
        let all = [written(0, 3, 0)];
        let whole: &[(i64, u64)] = &[(0, 0), (1, 1), (2, 2)];
        let back: &[(i64, u64)] = &[(0, 0), (1, 1), (1, 1), (2, 2)];
        assert_eq!(judged(&all, &[whole, back]), [("nonmonotonic polls", 1)]);
        assert_eq!(
            judged(&all, &[whole, &[(0, 0), (2, 2)]]),
            [("skipped polls", 1)]
        );
    }
}
