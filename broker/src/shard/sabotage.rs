//! Deliberate bugs in what a shard does with requests for its partitions: the simulated histories
//! of `scripts/storm --shard` must find every one of them, or they prove nothing. Chosen by a test
//! for its own thread; outside of the tests none of this is compiled.

/// A bug that can be put into a shard. Named for what it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// An append is answered when it is in memory, whatever was asked.
    AnsweredBeforeDurable,
    /// An append goes past those that wait for room.
    StalledOvertaken,
    /// Of the appends that wait for room the last goes first.
    StalledTurnedRound,
    /// Of the fetches that wait for a partition only one hears that it grew.
    WatchLost,
    /// Appends that wait for room are not told that there is some.
    RoomForgotten,
}

#[cfg(test)]
impl Sabotage {
    /// All of them.
    pub const ALL: [Sabotage; 5] = [
        Sabotage::AnsweredBeforeDurable,
        Sabotage::StalledOvertaken,
        Sabotage::StalledTurnedRound,
        Sabotage::WatchLost,
        Sabotage::RoomForgotten,
    ];
}

#[cfg(test)]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Sabotage>> = const { std::cell::Cell::new(None) };
}

/// Puts the bug into the shards that this thread runs, or takes it out again.
#[cfg(test)]
pub fn choose(bug: Option<Sabotage>) {
    CHOSEN.set(bug);
}

/// Whether that bug was put in.
#[cfg(test)]
pub fn is(bug: Sabotage) -> bool {
    CHOSEN.get() == Some(bug)
}

/// Never, in the broker.
#[cfg(not(test))]
pub const fn is(_: Sabotage) -> bool {
    false
}
