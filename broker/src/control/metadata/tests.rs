//! The metadata as a whole: what is replayed equals what lived, with and without snapshots.

use std::sync::atomic::Ordering;

use proptest::prelude::*;
use spate_storage::types::TopicId;

use super::{log::MemoryLog, record::Topic, *};
use crate::image::StartNumber;

fn open(log: &MemoryLog) -> Metadata {
    Metadata::open(Box::new(log.clone()), &log.reopen()).expect("a good log")
}

fn topic(id: u8, name: String, start: i32) -> Record {
    Record::TopicCreated(Topic {
        id: [id; 16],
        name,
        partitions: 1 + i32::from(id % 4),
        internal: false,
        created_at_start: start,
        settings: Vec::new(),
    })
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Restart,
    Create(u8),
    Delete(u8),
    Grow(u8, i32),
    Set(u8, Option<String>),
    Reserve(i64),
    Forget,
    Snapshot,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Restart),
        4 => (0..30_u8).prop_map(Step::Create),
        3 => (0..30_u8).prop_map(Step::Delete),
        2 => (0..30_u8, 1..20).prop_map(|(id, more)| Step::Grow(id, more)),
        2 => (0..30_u8, proptest::option::of("[a-z]{0,4}")).prop_map(|(id, v)| Step::Set(id, v)),
        1 => (1..5000_i64).prop_map(Step::Reserve),
        1 => Just(Step::Forget),
        1 => Just(Step::Snapshot),
    ]
}

/// The record of a step, if it fits the state.
fn record_of(step: &Step, state: &State) -> Option<Record> {
    let live = |id: u8| state.topic(TopicId([id; 16]));
    match step {
        Step::Create(id) => {
            let used = live(*id).is_some()
                || state
                    .tombstones()
                    .any(|(tombstone, _)| tombstone == TopicId([*id; 16]));
            (!used).then(|| topic(*id, format!("topic.{id}"), state.present_start().0))
        }
        Step::Delete(id) => live(*id).map(|_| Record::TopicDeleted { id: [*id; 16] }),
        Step::Grow(id, more) => live(*id).map(|topic| Record::PartitionsAdded {
            id: [*id; 16],
            total: topic.partitions + more,
        }),
        Step::Set(id, value) => live(*id).map(|_| Record::TopicSettingChanged {
            id: [*id; 16],
            key: "retention.ms".into(),
            value: value.clone(),
        }),
        Step::Reserve(count) => Some(Record::ProducerIdsReserved {
            next: state.next_producer_id() + count,
        }),
        Step::Restart | Step::Forget | Step::Snapshot => None,
    }
}

proptest! {
    #[test]
    fn a_replayed_log_makes_the_state_that_lived(
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let log = MemoryLog::default();
        let mut metadata = open(&log);
        metadata.start().expect("a good log");
        for step in &steps {
            match step {
                Step::Restart => {
                    metadata = open(&log);
                    metadata.start().expect("a good log");
                }
                Step::Forget => metadata.forget_tombstones().expect("a good log"),
                Step::Snapshot => metadata.take_snapshot(),
                step => {
                    if let Some(record) = record_of(step, metadata.state()) {
                        metadata.commit(vec![record]).expect("a good log");
                    }
                }
            }
            let again = open(&log);
            prop_assert_eq!(again.state(), metadata.state());
        }
    }
}

#[test]
fn a_snapshot_takes_the_place_of_many_records() {
    let log = MemoryLog::default();
    let mut metadata = open(&log);
    metadata.start().expect("a good log");
    let records: Vec<_> = (1..=9000)
        .map(|next| Record::ProducerIdsReserved { next: next * 1000 })
        .collect();
    for records in records.chunks(100) {
        metadata.commit(records.to_vec()).expect("a good log");
    }
    let opened = log.reopen();
    assert!(opened.snapshot.is_some());
    assert!(opened.entries.len() < RECORDS_PER_SNAPSHOT / 100);
    assert_eq!(open(&log).state(), metadata.state());
}

/// Images make a topic's leader epoch of these two numbers.
#[test]
fn each_start_has_the_next_number_and_topics_keep_theirs() {
    let log = MemoryLog::default();
    for start in 0..4 {
        let mut metadata = open(&log);
        metadata.start().expect("a good log");
        assert_eq!(metadata.state().present_start(), StartNumber(start));
        if start == 1 {
            let records = vec![topic(1, "a".into(), start)];
            metadata.commit(records).expect("a good log");
        }
        let topic = metadata.state().topic(TopicId([1; 16]));
        assert_eq!(topic.is_some(), start >= 1);
        assert!(topic.is_none_or(|topic| topic.created_at_start == StartNumber(1)));
    }
}

/// A topic deleted in one start is in the journals that the next start reads; only when the next
/// has written its own may the id be forgotten.
#[test]
fn a_tombstone_outlives_the_journals_that_mention_its_topic() {
    let log = MemoryLog::default();
    let mut metadata = open(&log);
    metadata.start().expect("a good log");
    let records = vec![
        topic(1, "a".into(), 0),
        Record::TopicDeleted { id: [1; 16] },
    ];
    metadata.commit(records).expect("a good log");
    metadata.forget_tombstones().expect("a good log");
    assert_eq!(
        metadata.state().tombstones().len(),
        1,
        "this start's journals may mention it"
    );

    let mut metadata = open(&log);
    metadata.start().expect("a good log");
    assert_eq!(
        metadata.state().tombstones().len(),
        1,
        "recovery has yet to read the journals"
    );
    metadata.forget_tombstones().expect("a good log");
    assert_eq!(metadata.state().tombstones().len(), 0);
}

#[test]
fn after_a_failed_write_nothing_changes_any_more() {
    let log = MemoryLog::default();
    let mut metadata = open(&log);
    metadata.start().expect("a good log");
    let before = metadata.state().clone();
    log.broken.store(true, Ordering::Relaxed);
    assert!(metadata.commit(vec![topic(1, "a".into(), 0)]).is_err());
    log.broken.store(false, Ordering::Relaxed);
    let error = metadata
        .commit(vec![topic(1, "a".into(), 0)])
        .expect_err("poisoned");
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    assert_eq!(metadata.state(), &before);
}

#[test]
fn a_log_that_contradicts_itself_is_refused() {
    let log = MemoryLog::default();
    let mut twice = log.clone();
    let entry = record::encode_entry(&[topic(1, "a".into(), 0)]);
    twice.append(&entry).expect("a good log");
    twice.append(&entry).expect("a good log");
    let Err(error) = Metadata::open(Box::new(log.clone()), &log.reopen()) else {
        panic!("the second entry does not fit");
    };
    assert!(
        error
            .to_string()
            .starts_with("metadata entry 1 after the snapshot creates"),
        "{error}"
    );
}
