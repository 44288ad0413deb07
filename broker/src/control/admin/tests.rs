//! Each refusal with Kafka's code, and what is accepted as the records it makes.

use proptest::prelude::*;

use super::*;
use crate::{
    config::{resource::ResourceKind, source::Settings},
    control::message::{MorePartitions, NewTopic, TopicRef},
};

fn config(pairs: &[&str]) -> Config {
    let mut settings = Settings::default();
    for pair in pairs {
        settings.set_pair(pair).expect("a good setting");
    }
    Config::new(settings).expect("good settings")
}

/// State and settings, with requests applied one after another.
pub(super) struct World {
    pub(super) state: State,
    config: Config,
    ids: u8,
}

impl World {
    pub(super) fn new(pairs: &[&str]) -> World {
        let mut state = State::default();
        state
            .apply(&Record::NodeStarted { start: 0 })
            .expect("the first record");
        World {
            state,
            config: config(pairs),
            ids: 0,
        }
    }

    pub(super) fn ask(&mut self, request: ControlRequest) -> ControlReply {
        let ids = &mut self.ids;
        let mut new_id = || {
            *ids += 1;
            TopicId([*ids; 16])
        };
        let layer = |name| {
            let own = self.state.config(ResourceKind::Broker, name);
            own.cloned().unwrap_or_default()
        };
        let started = self.config.settings.clone();
        let plan = Admin {
            state: &self.state,
            config: &self.config,
            broker: &Layers::new(started, layer(""), layer("1")),
        }
        .plan(request, &mut new_id);
        for record in &plan.records {
            self.state
                .apply(record)
                .expect("a plan fits the state it was made for");
        }
        plan.reply
    }

    fn create(&mut self, topics: &[NewTopic]) -> Vec<ErrorCode> {
        let request = ControlRequest::CreateTopics {
            topics: topics.to_vec(),
            validate_only: false,
        };
        match self.ask(request) {
            ControlReply::CreateTopics(items) => codes(items),
            other => panic!("{other:?}"),
        }
    }

    fn grow(&mut self, name: &str, total: i32, assignments: Option<Vec<Vec<i32>>>) -> ErrorCode {
        let topics = vec![MorePartitions {
            name: name.into(),
            total,
            assignments,
        }];
        match self.ask(ControlRequest::CreatePartitions {
            topics,
            validate_only: false,
        }) {
            ControlReply::CreatePartitions(items) => codes(items)[0],
            other => panic!("{other:?}"),
        }
    }

    fn delete(&mut self, topics: &[TopicRef]) -> Vec<ErrorCode> {
        match self.ask(ControlRequest::DeleteTopics {
            topics: topics.to_vec(),
        }) {
            ControlReply::DeleteTopics(items) => codes(items),
            other => panic!("{other:?}"),
        }
    }
}

fn codes<T>(items: Vec<TopicOutcome<T>>) -> Vec<ErrorCode> {
    let code = |item: TopicOutcome<T>| match item.outcome {
        Ok(_) => ErrorCode::None,
        Err(refusal) => {
            assert!(!refusal.message.is_empty());
            refusal.code
        }
    };
    items.into_iter().map(code).collect()
}

fn topic(name: &str) -> NewTopic {
    NewTopic {
        name: name.into(),
        partitions: -1,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: Vec::new(),
    }
}

fn with(change: impl FnOnce(&mut NewTopic)) -> NewTopic {
    let mut topic = topic("a");
    change(&mut topic);
    topic
}

#[test]
fn defaults_fill_what_is_not_said() {
    let mut world = World::new(&["num.partitions=3"]);
    assert_eq!(world.create(&[topic("a")]), [ErrorCode::None]);
    let (_, created) = world.state.topics().next().expect("one topic");
    assert_eq!((created.partitions, created.internal), (3, false));
}

#[test]
fn each_mistake_has_kafkas_code() {
    let set = |key: &str, value: Option<&str>| {
        let pair = (key.to_owned(), value.map(str::to_owned));
        with(|topic| topic.configs.push(pair))
    };
    let assign = |assignments: Vec<(i32, Vec<i32>)>| with(|topic| topic.assignments = assignments);
    let cases = [
        (topic("a/b"), ErrorCode::InvalidTopicException),
        (topic("taken"), ErrorCode::TopicAlreadyExists),
        (topic("with_dot"), ErrorCode::InvalidTopicException),
        (
            with(|topic| topic.partitions = 0),
            ErrorCode::InvalidPartitions,
        ),
        (
            with(|topic| topic.partitions = -2),
            ErrorCode::InvalidPartitions,
        ),
        (
            with(|topic| topic.partitions = i32::MAX),
            ErrorCode::PolicyViolation,
        ),
        (
            with(|topic| topic.replication_factor = 0),
            ErrorCode::InvalidReplicationFactor,
        ),
        (
            with(|topic| topic.replication_factor = 3),
            ErrorCode::InvalidReplicationFactor,
        ),
        (
            assign(vec![(0, vec![1]), (0, vec![1])]),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            assign(vec![(0, vec![1]), (2, vec![1])]),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            assign(vec![(0, vec![])]),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            assign(vec![(0, vec![2])]),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            assign(vec![(0, vec![1, 1])]),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (set("retention.m", Some("1")), ErrorCode::InvalidConfig),
        (set("retention.ms", Some("soon")), ErrorCode::InvalidConfig),
        (set("retention.ms", None), ErrorCode::InvalidConfig),
        (set("num.partitions", Some("1")), ErrorCode::InvalidConfig),
    ];
    for (topic_to_create, code) in cases {
        let mut world = World::new(&[]);
        world.create(&[topic("taken"), topic("with.dot")]);
        let asked = format!("{topic_to_create:?}");
        assert_eq!(world.create(&[topic_to_create]), [code], "{asked}");
        assert_eq!(world.state.topics().len(), 2, "{asked}");
    }
    let both = with(|topic| {
        topic.assignments = vec![(0, vec![1])];
        topic.partitions = 1;
    });
    assert_eq!(World::new(&[]).create(&[both]), [ErrorCode::InvalidRequest]);
}

#[test]
fn topics_of_one_request_do_not_collide() {
    let mut world = World::new(&[]);
    let created = world.create(&[topic("twice"), topic("ok"), topic("twice"), topic("a.b")]);
    let invalid = ErrorCode::InvalidRequest;
    assert_eq!(created, [invalid, ErrorCode::None, ErrorCode::None]);
    let created = world.create(&[topic("c_d"), topic("c.d")]);
    assert_eq!(created, [ErrorCode::None, ErrorCode::InvalidTopicException]);
}

#[test]
fn the_limit_on_partitions_counts_the_whole_request() {
    let mut world = World::new(&["max.partitions=5"]);
    let mut three = topic("a");
    three.partitions = 3;
    let other = NewTopic {
        name: "b".into(),
        ..three.clone()
    };
    let created = world.create(&[three, other]);
    assert_eq!(created, [ErrorCode::None, ErrorCode::PolicyViolation]);
    assert_eq!(world.grow("a", 6, None), ErrorCode::PolicyViolation);
    assert_eq!(world.grow("a", 5, None), ErrorCode::None);
}

#[test]
fn validate_only_changes_nothing() {
    let mut world = World::new(&[]);
    let request = ControlRequest::CreateTopics {
        topics: vec![topic("a")],
        validate_only: true,
    };
    let ControlReply::CreateTopics(items) = world.ask(request) else {
        panic!("another reply")
    };
    let created = items[0].outcome.as_ref().expect("it could be");
    assert_eq!((created.id, created.partitions), (TopicId::default(), 1));
    assert!(created.configs.iter().any(|row| row.key == "retention.ms"));
    assert_eq!(world.state.topics().len(), 0);
}

#[test]
fn partitions_only_grow() {
    let mut world = World::new(&[]);
    world.create(&[with(|topic| topic.partitions = 2)]);
    assert_eq!(
        world.grow("none", 3, None),
        ErrorCode::UnknownTopicOrPartition
    );
    assert_eq!(world.grow("a", 2, None), ErrorCode::InvalidPartitions);
    assert_eq!(world.grow("a", 1, None), ErrorCode::InvalidPartitions);
    let wrong = ErrorCode::InvalidReplicaAssignment;
    assert_eq!(world.grow("a", 4, Some(vec![vec![1]])), wrong);
    assert_eq!(world.grow("a", 3, Some(vec![vec![9]])), wrong);
    assert_eq!(world.grow("a", 3, Some(vec![vec![1]])), ErrorCode::None);
    assert_eq!(world.state.partitions(), 3);
}

#[test]
fn topics_are_deleted_by_either_name() {
    let mut world = World::new(&[]);
    world.create(&[topic("a"), topic("b"), topic("c")]);
    let name = |name: &str| TopicRef::Name(name.into());
    let b = world.state.topic_id("b").expect("it was created");
    let deleted = world.delete(&[
        name("a"),
        TopicRef::Id(b),
        name("d"),
        TopicRef::Id(TopicId([99; 16])),
    ]);
    let unknown = [
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::UnknownTopicId,
    ];
    assert_eq!(deleted, [[ErrorCode::None; 2], unknown].concat());
    let c = world.state.topic_id("c").expect("it was created");
    assert_eq!(
        world.delete(&[name("c"), TopicRef::Id(c), name("none"), name("none")]),
        [ErrorCode::InvalidRequest; 2],
        "what is named twice is answered once, known or not"
    );
    world.config = config(&["delete.topic.enable=false"]);
    assert_eq!(
        world.delete(&[name("c")]),
        [ErrorCode::TopicDeletionDisabled]
    );
}

#[test]
fn asking_again_for_an_auto_created_topic_finds_the_first() {
    let mut world = World::new(&[]);
    let names = ["a", "a", "__consumer_offsets", "a b"]
        .map(str::to_owned)
        .to_vec();
    let ControlReply::AutoCreate(items) = world.ask(ControlRequest::AutoCreate { names }) else {
        panic!("another reply")
    };
    assert_eq!(items[0].id, items[1].id);
    let refused = [
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::InvalidTopicException,
    ];
    assert_eq!(codes(items)[2..], refused);
    world.config = config(&["auto.create.topics.enable=false"]);
    let names = vec!["a".to_owned(), "new".to_owned()];
    let ControlReply::AutoCreate(items) = world.ask(ControlRequest::AutoCreate { names }) else {
        panic!("another reply")
    };
    assert_eq!(
        codes(items),
        [ErrorCode::None, ErrorCode::UnknownTopicOrPartition]
    );
}

#[test]
fn producer_id_blocks_never_overlap() {
    let mut world = World::new(&[]);
    let mut next = 0;
    for _ in 0..3 {
        let ControlReply::ProducerIdBlock(Ok(block)) = world.ask(ControlRequest::ProducerIdBlock)
        else {
            panic!("no block")
        };
        assert_eq!((block.first, block.count), (next, PRODUCER_IDS_PER_BLOCK));
        next += i64::from(block.count);
    }
}

fn any_topic() -> impl Strategy<Value = NewTopic> {
    let name = "[a-c._]{0,3}";
    let assignments =
        proptest::collection::vec((0..3, proptest::collection::vec(0..3, 0..2)), 0..3);
    (name, -2..5_i32, -2..3_i16, assignments).prop_map(|(name, partitions, factor, assignments)| {
        let configs = Vec::new();
        NewTopic {
            name,
            partitions,
            replication_factor: factor,
            assignments,
            configs,
        }
    })
}

proptest! {
    /// `World::ask` applies every planned record, so one that does not fit fails here.
    #[test]
    fn whatever_is_asked_the_plan_fits_the_state(
        requests in proptest::collection::vec(proptest::collection::vec(any_topic(), 0..4), 0..20),
    ) {
        let mut world = World::new(&["max.partitions=12"]);
        for (index, topics) in requests.iter().enumerate() {
            world.create(topics);
            let first = topics.first().map_or("a", |topic| topic.name.as_str());
            world.grow(first, 3, None);
            if index % 3 == 2 {
                world.delete(&[TopicRef::Name(first.to_owned())]);
            }
            prop_assert!(world.state.partitions() <= 12);
        }
    }
}
