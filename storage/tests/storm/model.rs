//! What clients were told, and so what must be true after any crash: the model against which every
//! answer and every log is compared. It knows nothing of how storage works.
//!
//! A batch goes through three states: *sent* (an append was answered with an offset, nothing was
//! promised), *promised* (its commit came, or a reader saw it), and, for what lies below the log's
//! start, *let go*. A sent batch may be gone after a crash, but only together with all behind it.
//!
//! Where appends are answered only when they are durable, as a shard of the broker answers them, a
//! batch is *asked for* before that, and may be read before its answer tells where it is.

use super::{
    batch::Batch,
    keyed::{is_compacted, key_of},
};
use spate_storage::{
    batch::{BatchHeader, HEADER_BYTES, batches},
    store::Bounds,
    types::{Offset, TopicId, TopicPartition},
};
use std::collections::{BTreeMap, BTreeSet};

/// A batch at its offset.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub batch: Batch,
    /// Only its header is left, for its producer's sake.
    pub is_emptied: bool,
    pub leader_epoch: i32,
    /// When it was asked for, if that was once: logs keep that order.
    pub turn: Option<u64>,
}

/// One partition.
#[derive(Default, Debug)]
pub struct Log {
    entries: BTreeMap<i64, Entry>,
    /// By number: asked for, and neither answered nor seen.
    asked: BTreeMap<u64, Entry>,
    /// Everything below was promised.
    promised_end: i64,
    /// Where the next batch goes.
    end: i64,
    /// Where the log begins, as the last answered move of its start said; and the furthest asked.
    start_told: i64,
    start_asked: i64,
    /// What was let go at a start before this one; the model has forgotten it.
    forgotten_to: i64,
    /// Where it ended at the last start: what lies before that and was still there is known.
    found_to: i64,
}

/// Everything.
#[derive(Default, Debug)]
pub struct Model {
    logs: BTreeMap<TopicPartition, Log>,
    pub topics: BTreeSet<TopicId>,
    pub deleted: BTreeSet<TopicId>,
    /// Damage was done on purpose: errors are answers too, wrong bytes and silence are not.
    pub is_damaged: bool,
    /// A start went on without records, as it was allowed to: how many is its report's matter.
    pub has_accepted_loss: bool,
    pub promises: u64,
}

/// What went wrong, for the one who reads the seed's last line.
pub type Verdict = Result<(), String>;

impl Log {
    pub fn end_of(base: i64, batch: &Batch) -> i64 {
        base + batch.span()
    }

    /// The entry that holds `offset`.
    fn at(&self, offset: i64) -> Option<(i64, &Entry)> {
        let (base, entry) = self.entries.range(..=offset).next_back()?;
        (Log::end_of(*base, &entry.batch) > offset).then_some((*base, entry))
    }

    /// Where a walk that found `offset` unreadable may go on.
    pub fn after(&self, offset: i64) -> i64 {
        self.at(offset)
            .map_or(offset + 1, |(base, entry)| Log::end_of(base, &entry.batch))
    }
}

impl Model {
    pub fn log(&mut self, tp: TopicPartition) -> &mut Log {
        self.logs.entry(tp).or_default()
    }

    /// The partitions of topics that exist, with batches.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        let exists = |tp: &&TopicPartition| self.topics.contains(&tp.topic);
        self.logs.keys().filter(exists).copied().collect()
    }

    pub fn delete(&mut self, topic: TopicId) {
        self.topics.remove(&topic);
        self.deleted.insert(topic);
    }

    /// An append was answered.
    pub fn sent(&mut self, tp: TopicPartition, base: Offset, entry: Entry) -> Verdict {
        let log = self.logs.entry(tp).or_default();
        let batch = entry.batch;
        let earlier = log
            .entries
            .iter()
            .find(|(_, known)| batch.producer >= 0 && known.batch.is_resend_of(&batch));
        if let Some((at, _)) = earlier {
            if *at == base.0 {
                return Ok(());
            }
            return Err(format!(
                "{tp}: batch {batch:?} is at {at}, and was appended again at {base}"
            ));
        }
        if base.0 < log.start_told {
            // A resend of what was let go: its place is not known any more.
            return Ok(());
        }
        if base.0 < log.end && is_compacted(tp.topic) && batch.producer >= 0 {
            // A resend of what a compaction has taken.
            return Ok(());
        }
        if base.0 != log.end {
            let end = log.end;
            return Err(format!(
                "{tp}: {batch:?} was given {base}, the log ends at {end}"
            ));
        }
        log.end = Log::end_of(base.0, &batch);
        log.entries.insert(base.0, entry);
        Ok(())
    }

    /// A batch was asked for: once, or once more.
    pub fn asked(&mut self, tp: TopicPartition, mut entry: Entry) {
        let log = self.logs.entry(tp).or_default();
        let number = entry.batch.number;
        let known = log.entries.values_mut();
        let known = known.chain(log.asked.values_mut());
        for other in known.filter(|other| other.batch.number == number) {
            (other.turn, entry.turn) = (None, None);
        }
        log.asked.insert(number, entry);
    }

    /// It was refused. What is asked for more than once may yet be answered.
    pub fn refused(&mut self, tp: TopicPartition, batch: &Batch) {
        let asked = &mut self.log(tp).asked;
        if asked
            .get(&batch.number)
            .is_some_and(|entry| entry.turn.is_some())
        {
            asked.remove(&batch.number);
        }
    }

    /// An append that was asked for was answered, or its batch was seen.
    pub fn placed(&mut self, tp: TopicPartition, base: Offset, number: u64) -> Verdict {
        let log = self.logs.entry(tp).or_default();
        let is_here = |entry: &Entry| entry.batch.number == number;
        if let Some((at, entry)) = log.entries.iter().find(|(_, entry)| is_here(entry)) {
            let batch = entry.batch;
            return match *at == base.0 {
                true => Ok(()),
                false => Err(format!("{tp}: {batch:?} is at {at}, and also at {base}")),
            };
        }
        let asked = log.asked.remove(&number);
        let end = asked.map_or(base.0 + 1, |entry| Log::end_of(base.0, &entry.batch));
        if end <= log.forgotten_to || is_compacted(tp.topic) && base.0 < log.found_to {
            // A resend of what was let go, or of what a compaction has taken.
            return Ok(());
        }
        let Some(entry) = asked else {
            return Err(format!("{tp}: {number} at {base}, which nobody asked for"));
        };
        let batch = entry.batch;
        let before = log.entries.range(..base.0).next_back();
        let after = log.entries.range(base.0..).next();
        let overlaps = before.is_some_and(|(at, other)| Log::end_of(*at, &other.batch) > base.0)
            || after.is_some_and(|(at, _)| *at < end);
        if overlaps {
            let text = format!("{tp}: {batch:?} at {base} lies over {before:?} or {after:?}");
            return Err(text);
        }
        let turns = |other: Option<(&i64, &Entry)>| other.and_then(|(_, other)| other.turn);
        if let Some(mine) = entry.turn
            && (turns(before) > Some(mine) || turns(after).is_some_and(|after| after < mine))
        {
            return Err(format!(
                "{tp}: {entry:?} at {base} was overtaken: {before:?}, {after:?}"
            ));
        }
        log.end = log.end.max(end);
        log.entries.insert(base.0, entry);
        Ok(())
    }

    /// A whole log was looked at: what was asked for and is not there will never come.
    pub fn given_up(&mut self, tp: TopicPartition) {
        let log = self.log(tp);
        log.asked.clear();
        log.found_to = log.end;
    }

    /// A commit came, or a reader saw the batches below `end`.
    pub fn promised(&mut self, tp: TopicPartition, end: i64) -> Verdict {
        self.promises += 1;
        let log = self.log(tp);
        if end > log.end {
            let known = log.end;
            return Err(format!("{tp}: durable to {end}, but it ends at {known}"));
        }
        log.promised_end = log.promised_end.max(end);
        Ok(())
    }

    pub fn start_asked(&mut self, tp: TopicPartition, start: i64) {
        let log = self.log(tp);
        log.start_asked = log.start_asked.max(start);
    }

    pub fn start_told(&mut self, tp: TopicPartition, start: Offset) -> Verdict {
        let log = self.log(tp);
        if start.0 > log.start_asked {
            let asked = log.start_asked;
            return Err(format!(
                "{tp}: begins at {start}, though only {asked} was asked for"
            ));
        }
        log.start_told = log.start_told.max(start.0);
        Ok(())
    }

    /// The ends that a log shows; what they show is promised from then on.
    pub fn bounds(&mut self, tp: TopicPartition, bounds: Bounds) -> Verdict {
        let may_end_early = self.has_accepted_loss;
        let log = self.log(tp);
        let (start, end) = (bounds.log_start.0, bounds.high_watermark.0);
        let (told, asked) = (log.start_told, log.start_asked);
        if !(told..=asked).contains(&start) && !may_end_early {
            return Err(format!(
                "{tp}: begins at {start}, told {told}, asked {asked}"
            ));
        }
        if end < log.promised_end && !may_end_early {
            let promised = log.promised_end;
            return Err(format!("{tp}: ends at {end}, promised to {promised}: lost"));
        }
        let spans = log.asked.values().map(|entry| entry.batch.span());
        if end > log.end + spans.sum::<i64>() {
            let known = log.end;
            return Err(format!("{tp}: readable to {end}, but it ends at {known}"));
        }
        log.end = log.end.max(end);
        log.start_told = log.start_told.max(start);
        self.promised(tp, end)
    }

    /// Batches that a reader got, asking for `from`; returns the offset after them.
    pub fn read(&mut self, tp: TopicPartition, from: i64, bytes: &[u8]) -> Result<i64, String> {
        let mut expected = None;
        let mut found = 0;
        for (header, batch) in batches(bytes) {
            found += batch.len();
            let base = header.base.0;
            let is_behind = self.has_accepted_loss && base > from;
            // A lost frame may have been the one that says where the log begins now.
            let is_compacted = base > from && self.is_superseded(tp, from, base);
            let is_behind = is_behind || is_compacted;
            if expected.is_none() && !(base..header.next().0).contains(&from) && !is_behind {
                return Err(format!("{tp}: asked for {from}, got {base}"));
            }
            let gap = expected.filter(|next| *next != base);
            if gap.is_some_and(|next| next > base || !self.is_superseded(tp, next, base)) {
                return Err(format!(
                    "{tp}: asked for {from}, {base} comes after {expected:?}"
                ));
            }
            self.compare(tp, &header, batch)?;
            expected = Some(header.next().0);
        }
        if found != bytes.len() {
            return Err(format!("{tp}: read from {from} ends in half a batch"));
        }
        if let Some(next) = expected {
            self.promised(tp, next)?;
        }
        Ok(expected.unwrap_or(from))
    }

    /// A batch that was asked for may be read before its answer has come.
    fn see(&mut self, tp: TopicPartition, base: Offset, batch: &[u8]) -> Verdict {
        let number = Batch::number_of(batch).unwrap_or(0);
        let log = self.log(tp);
        let is_news = !log.entries.contains_key(&base.0) && log.asked.contains_key(&number);
        match is_news {
            true => self.placed(tp, base, number),
            false => Ok(()),
        }
    }

    fn compare(&mut self, tp: TopicPartition, header: &BatchHeader, batch: &[u8]) -> Verdict {
        let base = header.base;
        let may_come_back = self.has_accepted_loss;
        self.see(tp, base, batch)?;
        let log = self.log(tp);
        let Some(entry) = log.entries.get(&base.0) else {
            // The lost frames may have said that the log begins behind it.
            if may_come_back && base.0 < log.forgotten_to {
                return Ok(());
            }
            let number = Batch::number_of(batch);
            return Err(format!(
                "{tp}: batch {number:?} at {base}, where none was put"
            ));
        };
        let sent = entry.batch;
        let is_same = sent.is_stored_as(batch) && header.epoch.0 == entry.leader_epoch;
        // A producer's last batch stays when its record goes.
        let is_emptied = batch.len() == HEADER_BYTES && header.first_sequence == sent.sequence;
        let is_right = is_same || is_emptied && self.is_superseded(tp, base.0, header.next().0);
        if !is_right {
            return Err(format!(
                "{tp}: {header:?} is not what was sent there: {sent:?}"
            ));
        }
        Ok(())
    }

    /// After a crash: what was not promised and is not there is gone for good.
    pub fn settle(&mut self, tp: TopicPartition, bounds: Bounds) {
        let log = self.log(tp);
        let (start, end) = (bounds.log_start.0, bounds.high_watermark.0);
        log.entries.split_off(&end);
        (log.end, log.promised_end) = (end, end);
        (log.start_told, log.start_asked) = (start, start);
        log.forgotten_to = log.forgotten_to.max(start);
        log.entries = log
            .entries
            .split_off(&log.at(start).map_or(start, |(base, _)| base));
    }

    /// Whether all batches from `from` to `to` may be gone: each has a later one of its key that is
    /// promised, or may be durable with its answer still on its way, and the topic is compacted.
    fn is_superseded(&mut self, tp: TopicPartition, from: i64, to: i64) -> bool {
        if !is_compacted(tp.topic) || from > to {
            return false;
        }
        let log = self.log(tp);
        log.entries.range(from..to).all(|(base, entry)| {
            let promised_end = log.promised_end.max(base + 1);
            let later = log.entries.range(base + 1..promised_end);
            let mut later = later.map(|(_, other)| other).chain(log.asked.values());
            later.any(|other| key_of(&other.batch) == key_of(&entry.batch))
        })
    }

    /// After a whole log was read: what a compaction took is gone for good.
    pub fn prune(&mut self, tp: TopicPartition, found: &BTreeMap<i64, usize>) {
        if is_compacted(tp.topic) {
            self.log(tp).entries.retain(|base, entry| {
                let len = found.get(base);
                entry.is_emptied = len == Some(&HEADER_BYTES);
                len.is_some()
            });
        }
    }

    /// Base offset and epoch of every batch.
    pub fn epochs(&self, tp: TopicPartition) -> impl Iterator<Item = (i64, i32)> {
        let entries = self.logs.get(&tp).into_iter().flat_map(|log| &log.entries);
        entries.map(|(base, entry)| (*base, entry.leader_epoch))
    }

    /// Base offset and timestamp of every batch that has its records.
    pub fn times(&self, tp: TopicPartition) -> Vec<(i64, i64)> {
        let entries = self.logs.get(&tp).into_iter().flat_map(|log| &log.entries);
        let entries = entries.filter(|(_, entry)| !entry.is_emptied);
        entries
            .map(|(base, entry)| (*base, entry.batch.timestamp))
            .collect()
    }
}
