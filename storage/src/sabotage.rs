//! Deliberate bugs, one for each promise that a test claims to watch over: the simulated histories
//! of `scripts/storm` must find every one of them, or they prove nothing. Chosen by a test for its
//! own thread; a build without debug assertions, as every release is, has none of this.

/// A bug that can be put into the engine. Named for what it does, with the rule it breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// S3: a journal write is acknowledged before its bytes are flushed.
    FrameUnflushed,
    /// S3: a write that came back vouches for the ones before it that did not.
    AckOutOfOrder,
    /// S2: what a frame carries is not checked against its checksum.
    FrameChecksumIgnored,
    /// S19: what a block carries is not checked against its checksum.
    BlockChecksumIgnored,
    /// S13: recovery takes every damaged frame for the journal's torn end.
    RecoveryStopsEarly,
    /// S5: a block is noted as sealed although its bytes are not flushed.
    SealUnflushed,
    /// S5: a direct write is acknowledged before a frame announces it.
    DirectUnannounced,
    /// S9: a journal file is used again although blocks in it are in no segment yet.
    JournalReusedEarly,
    /// S8: a journal file's head lacks the row of one partition.
    RowLeftOut,
    /// S8: rows forget the producers.
    RowsWithoutProducers,
    /// S7: checksums are not seeded with the incarnation, and heads are not compared.
    IncarnationIgnored,
    /// S3: a duplicate is answered before the original is durable.
    DuplicateAnsweredEarly,
    /// S6: a log's start moves, and files go, before that is durable.
    StartActedOnEarly,
    /// A file is handed out before its name is durable.
    NameUnflushed,
    /// S11: `node` names a fresh journal set that is not flushed.
    SetUnflushed,
    /// S11: `node` names a fresh journal set whose rows name segment files that are not flushed.
    StartSealsUnflushed,
    /// S11: the old journal set goes before `node` names the fresh one.
    OldSetGoesEarly,
    /// S16: a compacted generation takes the place of the files before it, and no frame says so.
    SwitchUnwritten,
    /// S13: a torn write is taken for corruption, and the start refused.
    TornTakenForCorrupt,
    /// S16: a compacted file is named before it is flushed.
    CompactedUnflushed,
}

impl Sabotage {
    /// All that whole histories find.
    pub const ALL: [Sabotage; 20] = [
        Sabotage::FrameUnflushed,
        Sabotage::AckOutOfOrder,
        Sabotage::FrameChecksumIgnored,
        Sabotage::BlockChecksumIgnored,
        Sabotage::RecoveryStopsEarly,
        Sabotage::SealUnflushed,
        Sabotage::DirectUnannounced,
        Sabotage::JournalReusedEarly,
        Sabotage::RowLeftOut,
        Sabotage::RowsWithoutProducers,
        Sabotage::IncarnationIgnored,
        Sabotage::DuplicateAnsweredEarly,
        Sabotage::StartActedOnEarly,
        Sabotage::NameUnflushed,
        Sabotage::SetUnflushed,
        Sabotage::StartSealsUnflushed,
        Sabotage::OldSetGoesEarly,
        Sabotage::CompactedUnflushed,
        Sabotage::SwitchUnwritten,
        Sabotage::TornTakenForCorrupt,
    ];
}

#[cfg(debug_assertions)]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Sabotage>> = const { std::cell::Cell::new(None) };
}

/// Puts the bug into the engine as this thread runs it, or takes it out again.
#[cfg(debug_assertions)]
pub fn choose(bug: Option<Sabotage>) {
    CHOSEN.set(bug);
}

/// Whether that bug was put in.
#[cfg(debug_assertions)]
pub(crate) fn is(bug: Sabotage) -> bool {
    CHOSEN.get() == Some(bug)
}

/// Never, in a release.
#[cfg(not(debug_assertions))]
pub(crate) const fn is(_: Sabotage) -> bool {
    false
}
