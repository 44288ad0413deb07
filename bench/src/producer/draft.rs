//! Batches before they are requests: records that have become due, gathered by partition until
//! their batch is complete. Records are taken from the schedule only as far as they can be sent:
//! a broker that stalls leaves them in the schedule, where they cost no memory.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::payload::{Chooser, Content, KEY_BYTES, RecordPlan, key_bytes, partition_of};
use crate::scenario::{RecordBytes, Scenario};
use crate::schedule::{Arrivals, Moment};

/// What a record takes in a batch beside key and value, about.
const RECORD_OVERHEAD_BYTES: usize = 10;
/// Lists of records that are kept for the next batches.
const SPARE_MAX: usize = 256;

/// A record that is due.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// When it was meant to be sent.
    pub due: Moment,
    /// What it is.
    pub plan: RecordPlan,
}

/// A batch to be.
#[derive(Debug)]
pub struct Draft {
    /// Its partition's place.
    pub lane: usize,
    /// Its records, at least one.
    pub records: Vec<Planned>,
    /// Since when it could be sent.
    pub ready: Moment,
    /// Bytes of its values.
    pub bytes: u64,
    size: usize,
    number: u64,
}

/// Gathers one connection's records.
pub struct Drafts {
    arrivals: Arrivals,
    chooser: Chooser,
    content: Rc<Content>,
    /// All records are alike: nothing has to be chosen.
    constant: Option<RecordPlan>,
    batch_records: u64,
    linger: Option<Duration>,
    batch_bytes: usize,
    /// What the largest record takes in a batch.
    size_max: usize,
    open: Vec<Option<Draft>>,
    /// When open batches have waited long enough, in that order; some may be gone meanwhile.
    deadlines: VecDeque<(Moment, usize, u64)>,
    ready: VecDeque<Draft>,
    spare: Vec<Vec<Planned>>,
    numbered: u64,
    sticky: usize,
}

impl Drafts {
    /// Nothing gathered yet, for so many partitions.
    pub fn new(
        scenario: &Scenario,
        arrivals: Arrivals,
        chooser: Chooser,
        content: Rc<Content>,
        lanes: usize,
    ) -> Drafts {
        let constant = match &scenario.record_bytes {
            RecordBytes::Fixed(bytes) if scenario.is_uniform() => Some(RecordPlan {
                key: None,
                bytes: *bytes as u32,
                content: 0,
            }),
            _ => None,
        };
        Drafts {
            arrivals,
            chooser,
            content,
            constant,
            batch_records: scenario.batch_records,
            linger: scenario.linger,
            batch_bytes: scenario.batch_bytes,
            size_max: scenario.record_bytes.max() + KEY_BYTES + RECORD_OVERHEAD_BYTES,
            open: (0..lanes).map(|_| None).collect(),
            deadlines: VecDeque::new(),
            ready: VecDeque::new(),
            spare: Vec::new(),
            numbered: 0,
            sticky: 0,
        }
    }

    /// Whether nothing is waited for but answers.
    pub fn is_closed_loop(&self) -> bool {
        self.arrivals.is_closed_loop()
    }

    /// Takes what has become due, until so many batches are ready.
    pub fn gather(&mut self, now: Moment, limit: usize) {
        while self.ready.len() < limit && !self.arrivals.is_over(now) {
            let due = self.arrivals.next_due(now);
            self.expire(now.min(due));
            if due > now {
                break;
            }
            let plan = match self.constant {
                Some(plan) => plan,
                None => self.chooser.choose(&self.content),
            };
            let lane = self.lane_of(&plan);
            self.arrivals.take();
            self.add(lane, Planned { due, plan });
        }
        if self.ready.len() >= limit {
            return;
        }
        self.expire(now);
        if self.arrivals.is_over(now) {
            for lane in 0..self.open.len() {
                self.close(lane, now);
            }
        }
    }

    fn lane_of(&self, plan: &RecordPlan) -> usize {
        let lanes = self.open.len();
        match plan.key {
            Some(key) => partition_of(&key_bytes(key), lanes),
            None if self.linger.is_some() => self.sticky,
            None => (self.arrivals.group_number() % lanes as u64) as usize,
        }
    }

    fn add(&mut self, mut lane: usize, record: Planned) {
        let key = record.plan.key.map_or(0, |_| KEY_BYTES);
        let size = record.plan.bytes as usize + key + RECORD_OVERHEAD_BYTES;
        let full = |draft: &Draft| draft.size + size > self.batch_bytes;
        if self.linger.is_some() && self.open[lane].as_ref().is_some_and(full) {
            self.close(lane, record.due);
            // Whoever has no key goes where the next batch is filled.
            lane = self.lane_of(&record.plan);
        }
        let draft = self.open[lane].get_or_insert_with(|| {
            self.numbered += 1;
            if let Some(linger) = self.linger {
                let deadline = record.due.after(linger);
                self.deadlines.push_back((deadline, lane, self.numbered));
            }
            Draft {
                lane,
                records: self.spare.pop().unwrap_or_default(),
                ready: record.due,
                bytes: 0,
                size: 0,
                number: self.numbered,
            }
        });
        draft.records.push(record);
        draft.bytes += u64::from(record.plan.bytes);
        draft.size += size;
        let complete = match self.linger {
            Some(_) => draft.size >= self.batch_bytes,
            None => draft.records.len() as u64 >= self.batch_records,
        };
        if complete {
            self.close(lane, record.due);
        }
    }

    /// Closes the batches that have waited long enough.
    fn expire(&mut self, now: Moment) {
        while let Some(&(deadline, lane, number)) = self.deadlines.front() {
            let gone = self.open[lane]
                .as_ref()
                .is_none_or(|draft| draft.number != number);
            if !gone && deadline > now {
                break;
            }
            self.deadlines.pop_front();
            if !gone {
                self.close(lane, deadline);
            }
        }
    }

    fn close(&mut self, lane: usize, ready: Moment) {
        if let Some(mut draft) = self.open[lane].take() {
            draft.ready = ready;
            self.ready.push_back(draft);
            if lane == self.sticky {
                self.sticky = (lane + 1) % self.open.len();
            }
        }
    }

    /// The partition's place of the next batch that is ready.
    pub fn next_lane(&self) -> Option<usize> {
        self.ready.front().map(|draft| draft.lane)
    }

    /// Takes the next batch that is ready.
    pub fn take(&mut self) -> Option<Draft> {
        self.ready.pop_front()
    }

    /// Gives the memory of a batch back.
    pub fn recycle(&mut self, mut records: Vec<Planned>) {
        if self.spare.len() < SPARE_MAX {
            records.clear();
            self.spare.push(records);
        }
    }

    /// When the next batch may be ready; none if none will be.
    pub fn next_event(&self, now: Moment) -> Option<Moment> {
        let deadline = self.deadlines.front().map(|(deadline, ..)| *deadline);
        if self.arrivals.is_over(now) {
            return deadline;
        }
        let Some(linger) = self.linger else {
            return Some(self.arrivals.next_due(now));
        };
        // Records that neither fill a batch nor end its wait need not be noticed one by one.
        let deadline = deadline.unwrap_or_else(|| self.arrivals.next_due(now).after(linger));
        let open = self.open.iter().flatten();
        let fullest = open.map(|draft| draft.size).max().unwrap_or(0);
        let fit = self.batch_bytes.saturating_sub(fullest + 1) / self.size_max;
        Some(deadline.min(self.arrivals.due_after(fit as u64, now)))
    }

    /// Ends it: when each record was due that has not been taken.
    pub fn leftovers(&mut self, now: Moment, mut each: impl FnMut(Moment)) {
        let open = self.open.iter_mut().filter_map(Option::take);
        for draft in self.ready.drain(..).chain(open) {
            draft.records.iter().for_each(|record| each(record.due));
        }
        while !self.arrivals.is_closed_loop() && !self.arrivals.is_over(now) {
            each(self.arrivals.next_due(now));
            self.arrivals.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Keys, Spacing};
    use crate::schedule::{Pace, Phases};

    const MS: u64 = 1_000_000;

    fn drafts(scenario: &Scenario, lanes: usize) -> Drafts {
        let phases = Phases::new(Moment(0), Duration::ZERO, Duration::from_secs(1));
        let pace = Pace::new(&scenario.rate, phases);
        let arrivals = Arrivals::new(pace, Spacing::Even, scenario.batch_records, (0, 1), 1);
        let content = Rc::new(Content::new(scenario).unwrap());
        let chooser = Chooser::new(scenario, (0, 1));
        Drafts::new(scenario, arrivals, chooser, content, lanes)
    }

    fn taken(drafts: &mut Drafts) -> Vec<(usize, usize, u64)> {
        let all = std::iter::from_fn(|| drafts.take());
        all.map(|draft| (draft.lane, draft.records.len(), draft.ready.0 / MS))
            .collect()
    }

    #[test]
    fn batches_of_a_number_go_when_their_last_record_is_due() {
        let scenario = Scenario {
            rate: "1000".parse().unwrap(),
            batch_records: 3,
            ..Scenario::default()
        };
        let mut drafts = drafts(&scenario, 2);
        drafts.gather(Moment(7 * MS), 32);
        assert_eq!(taken(&mut drafts), [(0, 3, 2), (1, 3, 5)]);
        assert_eq!(drafts.next_event(Moment(7 * MS)), Some(Moment(8 * MS)));
        drafts.gather(Moment(100 * MS), 2);
        assert_eq!(taken(&mut drafts).len(), 2);
        // The last one is not full: 1,000 records in batches of three.
        drafts.gather(Moment(2_000 * MS), 1_000);
        assert_eq!(taken(&mut drafts).last(), Some(&(1, 1, 2_000)));
        assert_eq!(drafts.next_event(Moment(2_000 * MS)), None);
    }

    #[test]
    fn batches_that_linger_go_when_full_or_when_they_have_waited() {
        let scenario = Scenario {
            rate: "1000".parse().unwrap(),
            record_bytes: RecordBytes::Fixed(1_000),
            linger: Some(Duration::from_millis(5)),
            batch_bytes: 3_500,
            ..Scenario::default()
        };
        let mut full = drafts(&scenario, 2);
        full.gather(Moment(9 * MS), 32);
        assert_eq!(taken(&mut full), [(0, 3, 3), (1, 3, 6), (0, 3, 9)]);
        // One is in the next batch, two more fit: the record after those closes it.
        assert_eq!(full.next_event(Moment(9 * MS)), Some(Moment(12 * MS)));
        let scenario = Scenario {
            batch_bytes: 1 << 20,
            ..scenario
        };
        let mut patient = drafts(&scenario, 2);
        patient.gather(Moment(4 * MS), 32);
        assert_eq!(taken(&mut patient), []);
        assert_eq!(patient.next_event(Moment(4 * MS)), Some(Moment(5 * MS)));
        patient.gather(Moment(12 * MS), 32);
        assert_eq!(taken(&mut patient), [(0, 5, 5), (1, 5, 10)]);
    }

    #[test]
    fn records_of_a_key_go_to_its_partition() {
        let scenario = Scenario {
            rate: "1000".parse().unwrap(),
            keys: Keys::Uniform,
            key_count: 50,
            linger: Some(Duration::from_millis(100)),
            ..Scenario::default()
        };
        let mut drafts = drafts(&scenario, 4);
        drafts.gather(Moment(2_000 * MS), 1_000);
        let mut count = 0;
        while let Some(draft) = drafts.take() {
            for record in &draft.records {
                let key = key_bytes(record.plan.key.unwrap());
                assert_eq!(partition_of(&key, 4), draft.lane);
                count += 1;
            }
        }
        assert_eq!(count, 1_000);
    }

    #[test]
    fn what_was_never_sent_is_told_in_the_end() {
        let scenario = Scenario {
            rate: "1000".parse().unwrap(),
            batch_records: 4,
            ..Scenario::default()
        };
        let mut drafts = drafts(&scenario, 1);
        drafts.gather(Moment(10 * MS), 1);
        drafts.take().unwrap();
        let mut left = Vec::new();
        drafts.leftovers(Moment(20 * MS), |due| left.push(due.0 / MS));
        left.sort_unstable();
        assert_eq!(left, (4..1_000).collect::<Vec<u64>>());
    }
}
