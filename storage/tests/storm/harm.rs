//! Damage done on purpose, once in a history: a disk that reports success for what it did not do,
//! bits that change where they lie, and reads that come with other bytes.

use super::history::{pick, tell};
use spate_storage::disk::{
    PAGE,
    simulated::{Effect, Fault, Operation, Simulation},
};

/// One write of the running node goes nowhere, only in part, or elsewhere, and reports success; or
/// one read comes wrong.
pub fn lie_once(sim: &Simulation) {
    let skip = sim.random_below(200);
    let effects = [
        Effect::Lost,
        Effect::Lost,
        Effect::Cut,
        Effect::Misdirected,
        Effect::FlippedBit,
        Effect::Stale,
    ];
    let effect = *pick(sim, &effects);
    let is_read = matches!(effect, Effect::FlippedBit | Effect::Stale);
    let operation = if is_read {
        Operation::Read
    } else {
        Operation::Write
    };
    let part = *pick(sim, &["/data/journal", "/data/topics", "/data"]);
    tell(|| format!("the disk lies: {effect:?} at {operation:?} {skip} of {part}"));
    sim.disk().inject(Fault {
        skip: if is_read { skip / 8 } else { skip },
        effect,
        ..Fault::once(operation, part, 0)
    });
}

/// One bit of one file changes for good.
pub fn damage_once(sim: &Simulation) {
    let files = sim.disk().files();
    let files: Vec<_> = files.into_iter().filter(|(_, len)| *len > 0).collect();
    if files.is_empty() {
        return;
    }
    let (path, len) = pick(sim, &files);
    // Most of a file is zeros that nobody reads: look for a page that holds something.
    for _ in 0..20 {
        let position = sim.random_below(*len);
        let page = position / PAGE as u64 * PAGE as u64;
        let bytes = sim.disk().peek(path, page, PAGE).unwrap_or_default();
        if bytes.iter().any(|byte| *byte != 0) {
            tell(|| format!("a bit flips in {} at {position}", path.display()));
            return sim
                .disk()
                .flip_bit(path, position, sim.random_below(8) as u8);
        }
    }
}

/// One read of the next start comes with a flipped bit or with what was there before.
pub fn misread_once(sim: &Simulation) {
    let skip = sim.random_below(30);
    let effect = *pick(sim, &[Effect::FlippedBit, Effect::Stale]);
    tell(|| format!("the next start misreads: {effect:?} at read {skip}"));
    sim.disk().inject(Fault {
        skip,
        effect,
        ..Fault::once(Operation::Read, "/data", 0)
    });
}
