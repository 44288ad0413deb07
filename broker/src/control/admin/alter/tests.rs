//! Each refusal with the code that Kafka 4.3 gave to the same request, and what is accepted as
//! what it makes of the state.

use super::{super::tests::World, *};
use crate::control::message::{ControlRequest, NewTopic};

const TOPIC: i8 = ResourceKind::Topic as i8;
const BROKER: i8 = ResourceKind::Broker as i8;
const GROUP: i8 = ResourceKind::Group as i8;
const METRICS: i8 = ResourceKind::ClientMetrics as i8;

use operation::{APPEND, DELETE, SET, SUBTRACT};

fn world() -> World {
    let mut world = World::new(&[]);
    world.ask(ControlRequest::CreateTopics {
        topics: vec![NewTopic {
            name: "t".into(),
            partitions: 1,
            replication_factor: 1,
            assignments: Vec::new(),
            configs: Vec::new(),
        }],
        validate_only: false,
    });
    world
}

fn step(key: &str, operation: i8, value: &str) -> Step {
    Step {
        key: key.into(),
        operation,
        value: (operation != DELETE).then(|| value.to_owned()),
    }
}

fn each(kind: i8, name: &str, steps: Vec<Step>) -> ConfigChange {
    ConfigChange {
        kind,
        name: name.into(),
        change: Alteration::Each(steps),
    }
}

fn ask(world: &mut World, resources: Vec<ConfigChange>) -> Vec<Result<(), Refusal>> {
    let request = ControlRequest::AlterConfigs {
        resources,
        validate_only: false,
    };
    match world.ask(request) {
        ControlReply::AlterConfigs(outcomes) => outcomes,
        other => panic!("{other:?}"),
    }
}

fn alter(world: &mut World, kind: i8, name: &str, step: Step) -> Result<(), Refusal> {
    let outcomes = ask(world, vec![each(kind, name, vec![step])]);
    outcomes.into_iter().next().expect("one outcome")
}

fn code(outcome: Result<(), Refusal>) -> i16 {
    outcome.err().map_or(0, |refusal| refusal.code.code())
}

fn own(world: &World, key: &str) -> Option<String> {
    let id = world.state.topic_id("t").expect("it was created");
    world.state.topic(id)?.settings.get(key).cloned()
}

#[test]
fn a_topics_setting_is_set_and_taken_back() {
    let mut world = world();
    let set =
        |world: &mut World, value: &str| alter(world, TOPIC, "t", step("retention.ms", SET, value));
    assert_eq!(set(&mut world, " 5000 "), Ok(()));
    assert_eq!(own(&world, "retention.ms").as_deref(), Some("5000"));
    for bad in ["-5", "abc", ""] {
        assert_eq!(code(set(&mut world, bad)), 40, "{bad}");
    }
    assert_eq!(own(&world, "retention.ms").as_deref(), Some("5000"));
    let delete = step("retention.ms", DELETE, "");
    assert_eq!(alter(&mut world, TOPIC, "t", delete), Ok(()));
    assert_eq!(own(&world, "retention.ms"), None);
}

#[test]
fn lists_take_and_lose_items_and_other_values_do_not() {
    let mut world = world();
    let mut policy = |operation, items| {
        let outcome = alter(
            &mut world,
            TOPIC,
            "t",
            step("cleanup.policy", operation, items),
        );
        assert_eq!(outcome, Ok(()), "{items}");
        own(&world, "cleanup.policy").expect("it was set")
    };
    assert_eq!(policy(APPEND, "compact"), "delete,compact");
    assert_eq!(policy(APPEND, "compact"), "delete,compact");
    assert_eq!(policy(SUBTRACT, "delete"), "compact");
    assert_eq!(policy(SUBTRACT, "compact"), "");
    assert_eq!(policy(SET, " compact , delete,delete "), "compact,delete");
    for operation in [APPEND, SUBTRACT] {
        let outcome = alter(&mut world, TOPIC, "t", step("retention.ms", operation, "5"));
        assert_eq!(code(outcome), 40);
    }
    let outcome = alter(
        &mut world,
        TOPIC,
        "t",
        step("cleanup.policy", APPEND, "foo"),
    );
    assert_eq!(code(outcome), 40);
}

#[test]
fn requests_without_sense_change_nothing() {
    let mut world = world();
    let null = Step {
        value: None,
        ..step("retention.ms", SET, "")
    };
    for (resource, expected) in [
        (each(TOPIC, "t", vec![null]), 42),
        (each(TOPIC, "t", vec![step("nope", SET, "1")]), 40),
        (each(TOPIC, "t", vec![step("nope", DELETE, "")]), 0),
        (each(TOPIC, "t", vec![step("retention.ms", 7, "1")]), 42),
        (each(TOPIC, "none", vec![step("retention.ms", SET, "1")]), 3),
        (each(TOPIC, "a b", vec![step("retention.ms", SET, "1")]), 17),
        (each(TOPIC, "", vec![step("retention.ms", SET, "1")]), 42),
        (each(0, "t", Vec::new()), 42),
        (each(8, "1", Vec::new()), 42),
        (each(77, "t", Vec::new()), 42),
    ] {
        let outcome = ask(&mut world, vec![resource.clone()]).remove(0);
        assert_eq!(code(outcome), expected, "{resource:?}");
    }
    let twice = vec![
        step("retention.ms", SET, "7"),
        step("retention.ms", DELETE, ""),
    ];
    let resource = each(TOPIC, "t", twice);
    assert_eq!(code(ask(&mut world, vec![resource]).remove(0)), 42);
    let resource = each(TOPIC, "t", vec![step("retention.ms", SET, "7")]);
    let outcomes = ask(&mut world, vec![resource.clone(), resource]);
    assert_eq!(outcomes.into_iter().map(code).collect::<Vec<_>>(), [42, 42]);
    assert_eq!(own(&world, "retention.ms"), None);
}

#[test]
fn settings_that_contradict_each_other_are_refused_together() {
    let mut world = world();
    let steps = vec![
        step("min.compaction.lag.ms", SET, "10"),
        step("max.compaction.lag.ms", SET, "5"),
    ];
    let outcomes = ask(&mut world, vec![each(TOPIC, "t", steps)]);
    assert_eq!(outcomes.into_iter().map(code).collect::<Vec<_>>(), [40]);
    let tiered = step("remote.storage.enable", SET, "true");
    assert_eq!(code(alter(&mut world, TOPIC, "t", tiered)), 40);
}

#[test]
fn the_older_request_replaces_everything() {
    let mut world = world();
    let mut replace = |pairs: &[(&str, Option<&str>)]| {
        let pair =
            |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
        let change = Alteration::Replace(pairs.iter().map(pair).collect());
        let outcome = ask(
            &mut world,
            vec![ConfigChange {
                kind: TOPIC,
                name: "t".into(),
                change,
            }],
        );
        (
            code(outcome.into_iter().next().expect("one outcome")),
            own(&world, "retention.ms"),
            own(&world, "flush.ms"),
        )
    };
    let seven = || Some("7".to_owned());
    assert_eq!(replace(&[("retention.ms", Some("7"))]), (0, seven(), None));
    assert_eq!(replace(&[("flush.ms", None)]), (42, seven(), None));
    assert_eq!(replace(&[("nope", Some("7"))]), (40, seven(), None));
    assert_eq!(replace(&[("flush.ms", Some("7"))]), (0, None, seven()));
    assert_eq!(replace(&[]), (0, None, None));
}

#[test]
fn only_some_of_a_brokers_settings_change_while_it_runs() {
    let mut world = World::new(&["shard.listeners=127.0.0.1:9192"]);
    for (name, key, value, expected) in [
        ("1", "log.roll.ms", "7", 0),
        ("1000", "log.roll.ms", "8", 0), // The first shard.
        ("", "log.roll.ms", "9", 0),
        ("", "max.connections", "100", 0),
        ("1", "some.plugins.key", "x", 0),
        ("x", "log.roll.ms", "7", 42),
        ("2", "log.roll.ms", "7", 42),
        ("1", "num.partitions", "7", 42),
        ("", "listeners", "localhost:1", 42),
        ("1", "log.roll.ms", "soon", 42),
        ("1", "message.max.bytes", "33500000", 42),
    ] {
        let outcome = alter(&mut world, BROKER, name, step(key, SET, value));
        assert_eq!(code(outcome), expected, "{name} {key}={value}");
    }
    let append = |key| step(key, APPEND, "compact");
    assert_eq!(
        code(alter(&mut world, BROKER, "", append("log.roll.ms"))),
        40
    );
    assert_eq!(
        code(alter(&mut world, BROKER, "", append("log.cleanup.policy"))),
        0
    );
    let of_this = world.state.config(ResourceKind::Broker, "1").expect("set");
    assert_eq!(of_this["log.roll.ms"], "8");
    let of_all = world.state.config(ResourceKind::Broker, "").expect("set");
    assert_eq!(of_all["log.cleanup.policy"], "delete,compact");
}

/// A batch of that size could never arrive, and its client would wait for ever.
#[test]
fn a_brokers_setting_must_fit_those_it_was_started_with() {
    let mut world = World::new(&[
        "memory.receive.bytes=16777216",
        "socket.request.max.bytes=8388608",
    ]);
    let large = step("message.max.bytes", SET, "9000000");
    let outcome = alter(&mut world, BROKER, "", large);
    let refusal = outcome.expect_err("above the largest request");
    assert!(
        refusal.message.contains("socket.request.max.bytes"),
        "{refusal}"
    );
}

#[test]
fn groups_and_clients_metrics_have_their_own_keys() {
    let mut world = world();
    for (kind, name, key, value, expected) in [
        (GROUP, "g", "consumer.session.timeout.ms", "50000", 0),
        (GROUP, "g", "consumer.session.timeout.ms", "5", 40),
        (GROUP, "g", "consumer.session.timeout.ms", "x", 40),
        (GROUP, "g", "share.auto.offset.reset", "by_duration:PT1H", 0),
        (GROUP, "g", "share.auto.offset.reset", "tomorrow", 40),
        (GROUP, "g", "nope", "1", 40),
        (GROUP, "", "consumer.session.timeout.ms", "50000", 42),
        (METRICS, "m", "interval.ms", "5000", 0),
        (METRICS, "m", "interval.ms", "50", 42),
        (METRICS, "m", "match", "client_id=a.*", 0),
        (METRICS, "m", "match", "foo=a.*", 40),
        (METRICS, "m", "nope", "1", 42),
        (METRICS, "", "interval.ms", "5000", 42),
    ] {
        let outcome = alter(&mut world, kind, name, step(key, SET, value));
        assert_eq!(code(outcome), expected, "{name} {key}={value}");
    }
    let append = step("match", APPEND, "client_id=b");
    assert_eq!(code(alter(&mut world, METRICS, "m", append)), 40);
    let refusal = alter(
        &mut world,
        GROUP,
        "g",
        step("consumer.session.timeout.ms", SET, "5"),
    );
    assert_eq!(
        refusal.expect_err("too short").message,
        "consumer.session.timeout.ms must be greater than or equal to \
         group.consumer.min.session.timeout.ms"
    );
}

#[test]
fn what_is_only_validated_leaves_no_trace() {
    let mut world = world();
    let before = world.state.clone();
    world.ask(ControlRequest::AlterConfigs {
        resources: vec![each(TOPIC, "t", vec![step("retention.ms", SET, "7")])],
        validate_only: true,
    });
    assert_eq!(world.state, before);
}
