//! The classic group's rules, event by event.

use spate_net::kafka::api::{
    join_group::JoinGroupRequestProtocol, leave_group::MemberIdentity,
    sync_group::SyncGroupRequestAssignment,
};

use super::*;

const RULES: Rules = Rules {
    initial_rebalance_delay_ms: 3000,
    group_max_size: 3,
};

const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 60_000;

/// A group with a clock that stands still, and what it asked for last.
struct World {
    group: ClassicGroup,
    tickets: u64,
    rules: Rules,
    actions: Vec<Action>,
}

impl World {
    fn new() -> World {
        World {
            group: ClassicGroup::new(0),
            tickets: 0,
            rules: RULES,
            actions: Vec::new(),
        }
    }

    fn step(&mut self, event: Event) {
        let rules = self.rules;
        self.actions = self.group.step(event, &rules, 1);
    }

    fn join_with(&mut self, request: JoinGroupRequest, new_id: &str, knows: bool) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.step(Event::Join(Box::new(JoinEvent {
            ticket,
            new_member_id: new_id.into(),
            must_know_its_id: knows,
            may_skip_assignment: true,
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
            asked: request,
        })));
        ticket
    }

    /// Joins as version 3 does: the new id comes with the answer.
    fn join(&mut self, member: &str) -> Ticket {
        let known = self.group.members.contains_key(member);
        let id = if known { member } else { "" };
        self.join_with(request(id, None, "range"), member, false)
    }

    fn join_static(&mut self, instance: &str, new_id: &str) -> Ticket {
        self.join_with(request("", Some(instance), "range"), new_id, true)
    }

    fn sync(&mut self, member: &str, assignments: &[(&str, &'static [u8])]) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let part = |(id, bytes): &(&str, &'static [u8])| {
            SyncGroupRequestAssignment::default()
                .with_member_id((*id).to_owned().into())
                .with_assignment(Bytes::from_static(bytes))
        };
        let asked = SyncGroupRequest::default()
            .with_member_id(member.to_owned().into())
            .with_generation_id(self.group.generation)
            .with_assignments(assignments.iter().map(part).collect());
        self.step(Event::Sync(ticket, Box::new(asked)));
        ticket
    }

    /// Lets what the last step stored become durable.
    fn stored(&mut self, outcome: Result<(), ErrorCode>) {
        let store = self
            .actions
            .iter()
            .position(|a| matches!(a, Action::Store(..)));
        let Action::Store(_, after) = self.actions.remove(store.expect("it stores")) else {
            unreachable!("found by its kind");
        };
        self.step(Event::Stored(after, outcome));
    }

    fn leave(&mut self, member: &str, instance: Option<&str>) -> ErrorCode {
        let member = MemberIdentity::default()
            .with_member_id(member.to_owned().into())
            .with_group_instance_id(instance.map(|id| id.to_owned().into()));
        let rules = self.rules;
        let (answers, actions) = self.group.leave(&[member], &rules, 1);
        self.actions = actions;
        ErrorCode::from(answers[0].error_code)
    }

    fn ring(&mut self, alarm: Alarm) {
        self.step(Event::Alarm(alarm));
    }

    fn joined(&self, ticket: Ticket) -> Option<&JoinGroupResponse> {
        self.actions.iter().find_map(|action| match action {
            Action::Joined(to, answer) if *to == ticket => Some(&**answer),
            _ => None,
        })
    }

    fn join_code(&self, ticket: Ticket) -> Option<ErrorCode> {
        self.joined(ticket)
            .map(|answer| ErrorCode::from(answer.error_code))
    }

    fn synced(&self, ticket: Ticket) -> Option<(ErrorCode, &[u8])> {
        self.actions.iter().find_map(|action| match action {
            Action::Synced(to, answer) if *to == ticket => {
                Some((ErrorCode::from(answer.error_code), &answer.assignment[..]))
            }
            _ => None,
        })
    }

    fn arms(&self, alarm: &Alarm) -> Option<i64> {
        self.actions.iter().find_map(|action| match action {
            Action::Arm(armed, after_ms) if armed == alarm => Some(*after_ms),
            _ => None,
        })
    }

    /// Two members, stable in generation 1, led by `a`.
    fn stable() -> World {
        let mut world = World::new();
        world.join("a");
        world.join("b");
        world.ring(Alarm::Join);
        world.ring(Alarm::Join);
        world.sync("b", &[]);
        world.sync("a", &[("a", b"A"), ("b", b"B")]);
        world.stored(Ok(()));
        assert_eq!(world.group.state, State::Stable);
        world
    }
}

fn request(member: &str, instance: Option<&str>, protocol: &str) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_member_id(member.to_owned().into())
        .with_group_instance_id(instance.map(|id| id.to_owned().into()))
        .with_session_timeout_ms(SESSION_MS)
        .with_rebalance_timeout_ms(REBALANCE_MS)
        .with_protocol_type("consumer".to_owned().into())
        .with_protocols(vec![
            JoinGroupRequestProtocol::default()
                .with_name(protocol.to_owned().into())
                .with_metadata(Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t")),
        ])
}

#[test]
fn the_first_rebalance_waits_for_latecomers_and_the_leader_gets_the_members() {
    let mut world = World::new();
    let first = world.join("a");
    assert_eq!(world.arms(&Alarm::Join), Some(3000));
    assert_eq!(world.joined(first), None);
    let second = world.join("b");
    world.ring(Alarm::Join);
    assert_eq!(world.arms(&Alarm::Join), Some(3000), "b came: it waits on");
    world.ring(Alarm::Join);
    let leader = world.joined(first).expect("answered");
    assert_eq!((leader.generation_id, leader.members.len()), (1, 2));
    let follower = world.joined(second).expect("answered");
    assert_eq!((follower.leader.as_str(), follower.members.len()), ("a", 0));
    assert_eq!(world.arms(&Alarm::Sync), Some(REBALANCE_MS.into()));
}

#[test]
fn latecomers_do_not_draw_out_the_first_rebalance_for_ever() {
    let mut world = World::new();
    world.rules.group_max_size = 1000;
    world.join("m0");
    for number in 1.. {
        world.join(&format!("m{number}"));
        world.ring(Alarm::Join);
        if world.group.state == State::Completing {
            assert!((19..=21).contains(&number), "{number}");
            break;
        }
    }
}

#[test]
fn assignments_are_handed_out_only_when_they_are_durable() {
    let mut world = World::new();
    world.join("a");
    world.join("b");
    world.ring(Alarm::Join);
    world.ring(Alarm::Join);
    let follower = world.sync("b", &[]);
    assert_eq!(world.synced(follower), None);
    let leader = world.sync("a", &[("b", b"B")]);
    assert_eq!(world.synced(leader), None);
    world.stored(Ok(()));
    assert_eq!(world.synced(follower), Some((ErrorCode::None, &b"B"[..])));
    let left_out = Some((ErrorCode::None, &b""[..]));
    assert_eq!(world.synced(leader), left_out);
}

#[test]
fn an_assignment_that_cannot_be_stored_sends_everybody_back() {
    let mut world = World::new();
    world.join("a");
    world.ring(Alarm::Join);
    let leader = world.sync("a", &[("a", b"A")]);
    world.stored(Err(ErrorCode::NotCoordinator));
    assert_eq!(
        world.synced(leader),
        Some((ErrorCode::NotCoordinator, &b""[..]))
    );
    assert_eq!(world.group.state, State::Preparing);
}

#[test]
fn an_assignment_of_an_earlier_generation_is_void() {
    let mut world = World::new();
    world.join("a");
    world.ring(Alarm::Join);
    let leader = world.sync("a", &[("a", b"A")]);
    let store = world.actions.remove(world.actions.len() - 1);
    let Action::Store(_, after) = store else {
        unreachable!("the leader's sync stores last");
    };
    world.join("b");
    assert_eq!(
        world.synced(leader),
        Some((ErrorCode::RebalanceInProgress, &b""[..]))
    );
    world.step(Event::Stored(after, Ok(())));
    assert!(world.actions.is_empty());
    assert_eq!(world.group.state, State::Preparing);
}

#[test]
fn a_dynamic_member_is_told_its_id_before_it_counts() {
    let mut world = World::new();
    let ticket = world.join_with(request("", None, "range"), "a-1", true);
    let answer = world.joined(ticket).expect("at once");
    assert_eq!(answer.member_id.as_str(), "a-1");
    assert_eq!(world.join_code(ticket), Some(ErrorCode::MemberIdRequired));
    assert_eq!(world.group.state, State::Empty);
    world.join_with(request("a-1", None, "range"), "unused", true);
    assert_eq!(world.group.state, State::Preparing);
    assert!(world.group.pending_joins.is_empty());
}

#[test]
fn who_never_came_back_with_its_id_holds_up_no_rebalance() {
    let mut world = World::stable();
    world.join_with(request("", None, "range"), "c", true);
    let (a, b) = (world.join("a"), world.join("b"));
    assert_eq!(world.join_code(b), None, "c may still come");
    world.ring(Alarm::Member("c".into()));
    assert_eq!(world.join_code(a), Some(ErrorCode::None));
    assert_eq!(world.join_code(b), Some(ErrorCode::None));
}

#[test]
fn silence_removes_a_member_and_rebalances_the_others() {
    let mut world = World::stable();
    world.ring(Alarm::Member("b".into()));
    assert_eq!(world.group.state, State::Preparing);
    let beat = world.group.heartbeat("a", None, 1).0;
    assert_eq!(beat, ErrorCode::RebalanceInProgress);
    let a = world.join("a");
    assert_eq!(world.joined(a).map(|answer| answer.members.len()), Some(1));
}

#[test]
fn a_member_that_waits_is_not_silent() {
    let mut world = World::stable();
    let a = world.join("a");
    world.ring(Alarm::Member("a".into()));
    assert!(world.group.members.contains_key("a"));
    world.ring(Alarm::Join);
    assert_eq!(world.joined(a).map(|answer| answer.generation_id), Some(2));
    assert_eq!(world.group.members.len(), 1, "b did not come back");
}

#[test]
fn who_joined_and_does_not_ask_for_its_assignment_is_out() {
    let mut world = World::new();
    world.join("a");
    world.join("b");
    world.ring(Alarm::Join);
    world.ring(Alarm::Join);
    world.sync("a", &[("a", b"A"), ("b", b"B")]);
    world.stored(Ok(()));
    world.ring(Alarm::Sync);
    assert_eq!(world.group.state, State::Preparing);
    assert!(!world.group.members.contains_key("b"));
}

#[test]
fn generations_protocols_and_members_are_checked() {
    let mut world = World::stable();
    let beat =
        |world: &World, member: &str, generation| world.group.heartbeat(member, None, generation).0;
    assert_eq!(beat(&world, "a", 1), ErrorCode::None);
    assert_eq!(beat(&world, "a", 2), ErrorCode::IllegalGeneration);
    assert_eq!(beat(&world, "z", 1), ErrorCode::UnknownMemberId);
    let other = world.join_with(request("", None, "sticky"), "c", false);
    assert_eq!(
        world.join_code(other),
        Some(ErrorCode::InconsistentGroupProtocol)
    );
    let unknown = world.join_with(request("z", None, "range"), "c", false);
    assert_eq!(world.join_code(unknown), Some(ErrorCode::UnknownMemberId));
    let commit = |member, generation| world.group.check_commit(member, None, generation).err();
    assert_eq!(commit("a", 1), None);
    assert_eq!(commit("a", 0), Some(ErrorCode::IllegalGeneration));
    assert_eq!(commit("", -1), Some(ErrorCode::UnknownMemberId));
    let empty = ClassicGroup::new(0);
    assert!(matches!(empty.check_commit("", None, -1), Ok(None)));
    assert!(empty.check_commit("a", None, 1).is_err());
}

#[test]
fn a_full_group_turns_away_newcomers_only() {
    let mut world = World::stable();
    world.join("c");
    let _b = (world.join("a"), world.join("b"));
    let fourth = world.join("d");
    assert_eq!(
        world.join_code(fourth),
        Some(ErrorCode::GroupMaxSizeReached)
    );
    let again = world.join("a");
    assert_ne!(world.join_code(again), Some(ErrorCode::GroupMaxSizeReached));
}

#[test]
fn a_follower_that_asks_again_gets_the_same_and_the_leader_rebalances() {
    let mut world = World::stable();
    let follower = world.join("b");
    let answer = world.joined(follower).expect("at once");
    assert_eq!((answer.generation_id, answer.leader.as_str()), (1, "a"));
    assert_eq!(world.group.state, State::Stable);
    world.join("a");
    assert_eq!(world.group.state, State::Preparing);
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_its_old_self_is_fenced() {
    let mut world = World::new();
    world.join_static("one", "one-1");
    world.join_static("two", "two-1");
    world.ring(Alarm::Join);
    world.ring(Alarm::Join);
    world.sync("two-1", &[]);
    world.sync("one-1", &[("one-1", b"1"), ("two-1", b"2")]);
    world.stored(Ok(()));

    let back = world.join_static("two", "two-2");
    assert_eq!(world.joined(back), None, "first it must be durable");
    world.stored(Ok(()));
    let answer = world.joined(back).expect("now");
    assert_eq!(
        (answer.generation_id, answer.member_id.as_str()),
        (1, "two-2")
    );
    assert_eq!(world.group.state, State::Stable);
    let (code, _) = world.group.heartbeat("two-1", Some("two"), 1);
    assert_eq!(code, ErrorCode::FencedInstanceId);
    let sync = world.sync("two-2", &[]);
    assert_eq!(world.synced(sync), Some((ErrorCode::None, &b"2"[..])));

    let leader = world.join_static("one", "one-2");
    world.stored(Ok(()));
    let answer = world.joined(leader).expect("answered");
    assert!(answer.skip_assignment, "it leads, and need not assign");
    assert_eq!((answer.leader.as_str(), answer.members.len()), ("one-2", 2));
}

#[test]
fn a_static_member_whose_return_cannot_be_stored_stays_who_it_was() {
    let mut world = World::new();
    world.join_static("one", "one-1");
    world.ring(Alarm::Join);
    world.sync("one-1", &[("one-1", b"1")]);
    world.stored(Ok(()));
    let back = world.join_static("one", "one-2");
    world.stored(Err(ErrorCode::NotCoordinator));
    assert_eq!(world.join_code(back), Some(ErrorCode::NotCoordinator));
    assert_eq!(
        world.group.heartbeat("one-1", Some("one"), 1).0,
        ErrorCode::None
    );
    assert_eq!(world.group.leader.as_deref(), Some("one-1"));
    assert_eq!(world.group.joining, 0);
}

#[test]
fn static_members_outlive_a_rebalance_that_they_miss() {
    let mut world = World::new();
    world.join_static("one", "one-1");
    world.join_static("two", "two-1");
    world.ring(Alarm::Join);
    world.ring(Alarm::Join);
    world.join_with(request("one-1", Some("one"), "range"), "unused", true);
    world.ring(Alarm::Join);
    assert_eq!(world.group.members.len(), 2);
    assert_eq!(world.group.state, State::Completing);
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance() {
    let mut world = World::new();
    world.join_static("one", "one-1");
    world.ring(Alarm::Join);
    assert_eq!(world.leave("", Some("other")), ErrorCode::UnknownMemberId);
    assert_eq!(
        world.leave("one-0", Some("one")),
        ErrorCode::FencedInstanceId
    );
    assert_eq!(world.leave("", Some("one")), ErrorCode::None);
    assert!(world.group.is_deserted());
}

#[test]
fn the_last_departure_empties_the_group_durably() {
    let mut world = World::stable();
    assert_eq!(world.leave("b", None), ErrorCode::None);
    assert_eq!(world.leave("a", None), ErrorCode::None);
    assert_eq!(world.group.state, State::Empty);
    let stored = world.actions.iter().find_map(|action| match action {
        Action::Store(value, AfterStore::Nothing) => Some(value),
        _ => None,
    });
    let stored = stored.expect("it is written");
    assert_eq!((stored.generation, stored.members.len()), (2, 0));
    assert_eq!(
        (stored.protocol.as_ref(), stored.leader.as_ref()),
        (None, None)
    );
}

#[test]
fn the_group_speaks_what_most_prefer_of_what_all_know() {
    let mut world = World::new();
    let protocol =
        |name: &str| JoinGroupRequestProtocol::default().with_name(name.to_owned().into());
    let asks = |names: &[&str]| {
        let protocols = names.iter().map(|name| protocol(name)).collect();
        request("", None, "range").with_protocols(protocols)
    };
    world.join_with(asks(&["rare", "sticky", "range"]), "a", false);
    world.join_with(asks(&["sticky", "range"]), "b", false);
    world.join_with(asks(&["range", "sticky"]), "c", false);
    world.ring(Alarm::Join);
    world.ring(Alarm::Join);
    assert_eq!(world.group.protocol.as_deref(), Some("sticky"));
}

#[test]
fn a_group_survives_the_way_through_the_log() {
    let world = World::stable();
    let value = world.group.value(&[]);
    let read = GroupValue::decode(&value.encode()).expect("our own");
    let mut group = ClassicGroup::restore(read);
    assert_eq!(group.state, State::Stable);
    assert_eq!(group.topics(), world.group.topics());
    let alarms = group.resume(&RULES, 1);
    assert_eq!(alarms.len(), 2);
    assert_eq!(group.heartbeat("b", None, 1).0, ErrorCode::None);
    assert_eq!(group.value(&[]).members, value.members);
}

#[test]
fn deleting_a_group_tells_whoever_waits() {
    let mut world = World::stable();
    let waiting = world.join("a");
    world.actions = world.group.kill();
    assert_eq!(world.join_code(waiting), Some(ErrorCode::NotCoordinator));
    let late = world.join("c");
    assert_eq!(
        world.join_code(late),
        Some(ErrorCode::CoordinatorNotAvailable)
    );
}

#[test]
fn metadata_that_is_no_subscription_is_nobodys_topics() {
    for bytes in [
        &b""[..],
        b"\0",
        b"\0\0\0\0\0\x09\0\x01t",
        b"\xff\xff\0\0\0\0",
    ] {
        assert_eq!(subscription::topics(&Bytes::from_static(bytes)), None);
    }
    let future = Bytes::from_static(b"\0\x09\0\0\0\x01\0\x01t and more");
    assert_eq!(subscription::topics(&future), Some(vec!["t".to_owned()]));
}

#[test]
fn static_members_that_allow_no_time_are_not_looked_for_without_a_pause() {
    let mut world = World::new();
    world.rules.initial_rebalance_delay_ms = 0;
    let hasty = request("", Some("one"), "range").with_rebalance_timeout_ms(0);
    world.join_with(hasty, "one-1", true);
    world.join_with(
        request("", None, "range").with_rebalance_timeout_ms(0),
        "a",
        false,
    );
    world.leave("a", None);
    world.ring(Alarm::Join);
    let pause = world.actions.iter().find_map(|action| match action {
        Action::Arm(Alarm::Join, after_ms) => Some(*after_ms),
        _ => None,
    });
    assert!(pause.is_some_and(|ms| ms >= 1000), "{pause:?}");
}
