//! The control loop against shards that the test plays.

use std::time::Duration;

use super::{
    super::{
        link::{ShardPort, link},
        message::NewTopic,
        metadata::log::MemoryLog,
    },
    *,
};
use crate::{
    config::{Config, source::Settings},
    image::NodeInfo,
};

struct World {
    control: Loop,
    ports: Vec<ShardPort>,
    log: MemoryLog,
}

fn world(shards: usize) -> World {
    let config = Arc::new(Config::new(Settings::default()).expect("good defaults"));
    let log = MemoryLog::default();
    let mut metadata = Metadata::open(Box::new(log.clone()), &log.reopen()).expect("an empty log");
    metadata.start().expect("a good log");
    let node = NodeInfo {
        node_id: 1,
        host: "localhost".into(),
        port: 9092,
        rack: None,
    };
    let mut publisher = Publisher::new(config, "cluster".into(), node);
    publisher.publish(metadata.state());
    let wake = Arc::new(Notify::new());
    let pairs = (0..shards).map(|_| link(Arc::clone(&wake), Box::new(|| {})));
    let (ports, links) = pairs.unzip();
    let statistics = Arc::new(|| serde_json::Value::Null);
    let control = Control {
        metadata,
        publisher,
        links,
        wake,
        data_dir: PathBuf::new(),
        housekeeper_runs: Box::new(|| true),
        statistics,
        fence: Fence::new(),
        space: Space::default(),
        surveys: crate::control::survey::desk().1,
        http: None,
    };
    World {
        control: Loop::new(control),
        ports,
        log,
    }
}

impl World {
    fn turn(&mut self) {
        self.control.take_messages();
        self.control.release_replies();
        self.control.flush();
    }

    fn create(&mut self, shard: usize, ticket: u64, name: &str) {
        let topic = NewTopic {
            name: name.into(),
            partitions: 1,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: Vec::new(),
        };
        let request = ControlRequest::CreateTopics {
            topics: vec![topic],
            validate_only: false,
        };
        let message = FromShard::Request {
            ticket: Ticket(ticket),
            request,
        };
        self.ports[shard].send(message).expect("room");
    }

    /// Takes an image notice, adopts it, and returns whether it knows the topic.
    fn adopt(&mut self, shard: usize, name: &str) -> bool {
        let Some(ShardNotice::NewImage { image, .. }) = self.ports[shard].receive() else {
            panic!("no image")
        };
        self.ports[shard]
            .send(FromShard::Adopted(image.version))
            .expect("room");
        image.topic(name).is_some()
    }
}

#[test]
fn a_reply_waits_until_every_shard_has_the_image() {
    let mut world = world(2);
    world.create(0, 5, "a");
    world.turn();
    assert!(world.adopt(0, "a"));
    world.turn();
    assert!(
        world.ports[0].receive().is_none(),
        "shard 1 does not know the topic yet"
    );
    assert!(world.adopt(1, "a"));
    world.turn();
    let Some(ShardNotice::Reply { ticket, reply }) = world.ports[0].receive() else {
        panic!("no reply")
    };
    assert_eq!(ticket, Ticket(5));
    let ControlReply::CreateTopics(items) = reply else {
        panic!("another reply")
    };
    assert!(items[0].outcome.is_ok());
}

#[test]
fn changes_that_come_together_make_one_image() {
    let mut world = world(2);
    world.create(0, 1, "a");
    world.create(1, 2, "b");
    world.turn();
    for shard in 0..2 {
        let Some(ShardNotice::NewImage { image, .. }) = world.ports[shard].receive() else {
            panic!("no image")
        };
        assert_eq!(image.topics().len(), 2);
        assert!(world.ports[shard].receive().is_none());
    }
}

#[test]
fn what_is_not_durable_is_refused_and_not_shown() {
    let mut world = world(1);
    world
        .log
        .broken
        .store(true, std::sync::atomic::Ordering::Relaxed);
    world.create(0, 1, "a");
    world.turn();
    let Some(ShardNotice::Reply {
        reply: ControlReply::CreateTopics(items),
        ..
    }) = world.ports[0].receive()
    else {
        panic!("no reply, or an image before it")
    };
    let refusal = items[0].outcome.as_ref().expect_err("the disk is gone");
    assert_eq!(refusal.code, ErrorCode::KafkaStorageError);
}

#[test]
fn a_shutdown_ends_when_every_shard_has_drained() {
    let mut world = world(2);
    world.control.shut_down("a test");
    world.turn();
    assert_eq!(world.control.ended(), None);
    for shard in 0..2 {
        assert!(matches!(
            world.ports[shard].receive(),
            Some(ShardNotice::Shutdown)
        ));
        world.ports[shard].send(FromShard::Drained).expect("room");
    }
    world.turn();
    assert_eq!(world.control.ended(), Some(Ended::Clean));
}

#[test]
fn the_loss_of_a_shard_ends_the_others() {
    let mut world = world(2);
    drop(world.ports.remove(0));
    world.turn();
    assert!(matches!(
        world.ports[0].receive(),
        Some(ShardNotice::Shutdown)
    ));
    world.ports[0].send(FromShard::Drained).expect("room");
    world.turn();
    assert_eq!(world.control.ended(), Some(Ended::ShardLost(0)));
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut world = world(1);
    world.control.shut_down("one");
    world.control.shut_down("two");
    std::thread::sleep(Duration::from_millis(1));
    assert_eq!(world.control.ended(), Some(Ended::TimedOut));
}

/// On a full disk the log could not be written, which panicked the housekeeper's thread; the shards
/// then waited for files for ever.
#[test]
fn the_broker_ends_when_its_housekeeper_is_gone() {
    let mut world = world(1);
    world.control.control.housekeeper_runs = Box::new(|| false);
    world.turn();
    assert!(matches!(
        world.ports[0].receive(),
        Some(ShardNotice::Shutdown)
    ));
    world.ports[0].send(FromShard::Drained).expect("room");
    world.turn();
    assert_eq!(world.control.ended(), Some(Ended::HousekeeperLost));
}
