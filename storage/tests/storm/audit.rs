//! After a start: the whole of every log, read back and compared with what was promised; ends,
//! epochs and lookups too. A damaged history may answer with errors, never with other bytes and
//! never with silence.

use super::{
    keyed::is_compacted,
    machine::Machine,
    model::{Model, Verdict},
};
use spate_storage::{
    batch::batches,
    store::ReadError,
    types::{LeaderEpoch, Offset, TopicPartition},
};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

/// What an audit saw.
#[derive(Default, Debug)]
pub struct Seen {
    /// Offsets where a read gave an error instead of what was promised.
    pub unreadable: u64,
}

pub fn audit(node: &Machine, model: &Rc<RefCell<Model>>) -> Result<Seen, String> {
    let mut seen = Seen::default();
    let partitions = model.borrow().partitions();
    for tp in partitions {
        audit_partition(node, model, tp, &mut seen)?;
    }
    Ok(seen)
}

fn audit_partition(
    node: &Machine,
    model: &Rc<RefCell<Model>>,
    tp: TopicPartition,
    seen: &mut Seen,
) -> Verdict {
    let bounds = node.store(tp).bounds(tp);
    if bounds.log_end != bounds.high_watermark {
        return Err(format!("{tp}: a fresh start has {bounds:?}"));
    }
    model.borrow_mut().bounds(tp, bounds)?;
    model.borrow_mut().settle(tp, bounds);
    let mut found = BTreeMap::new();
    let mut from = bounds.log_start.0;
    while from < bounds.high_watermark.0 {
        let max_bytes = 1 << (8 + node.sim.random_below(12));
        let store = Rc::clone(node.store(tp));
        let read = async move { store.read(tp, Offset(from), max_bytes, true).await };
        match node.sim.block_on(read) {
            Ok(data) if data.bytes == 0 => {
                return Err(format!("{tp}: nothing at {from} of {bounds:?}"));
            }
            Ok(data) => {
                let bytes = data.slices.concat();
                let seen = batches(&bytes);
                found.extend(seen.map(|(header, batch)| (header.base.0, batch.len())));
                from = model.borrow_mut().read(tp, from, &bytes)?;
            }
            Err(error) => {
                from = excused(&mut model.borrow_mut(), tp, from, &error)?;
                seen.unreadable += 1;
            }
        }
    }
    model.borrow_mut().given_up(tp);
    if seen.unreadable == 0 && !model.borrow().has_accepted_loss {
        model.borrow_mut().prune(tp, &found);
        check_epochs(node, &model.borrow_mut(), tp, bounds.high_watermark.0)?;
        check_lookups(node, model, tp)?;
    }
    Ok(())
}

/// Where to read on after an error that a damaged history may give.
fn excused(
    model: &mut Model,
    tp: TopicPartition,
    from: i64,
    error: &ReadError,
) -> Result<i64, String> {
    let next = model.log(tp).after(from);
    match error {
        ReadError::Lost { range, .. } if model.is_damaged && range.next.0 > from => {
            Ok(range.next.0)
        }
        ReadError::OutOfRange { .. } => Err(format!("{tp}: {from} is gone: {error}")),
        _ if model.is_damaged => Ok(next),
        _ => Err(format!("{tp}: {from} cannot be read: {error}")),
    }
}

/// Every epoch of the log ends where the next one begins.
fn check_epochs(node: &Machine, model: &Model, tp: TopicPartition, end: i64) -> Verdict {
    if is_compacted(tp.topic) {
        // Where an epoch began may be gone.
        return Ok(());
    }
    let mut ends: Vec<(i32, i64)> = Vec::new();
    for (base, epoch) in model.epochs(tp) {
        match ends.last_mut() {
            Some((last, until)) if *last == epoch => *until = end,
            Some((_, until)) => {
                *until = base;
                ends.push((epoch, end));
            }
            None => ends.push((epoch, end)),
        }
    }
    for (epoch, until) in ends {
        let found = node.store(tp).epoch_end(tp, LeaderEpoch(epoch));
        if found != Some((LeaderEpoch(epoch), Offset(until))) {
            return Err(format!(
                "{tp}: epoch {epoch} ends at {until}, not {found:?}"
            ));
        }
    }
    Ok(())
}

/// A few lookups by time against the first batch in the model that is late enough.
fn check_lookups(node: &Machine, model: &Rc<RefCell<Model>>, tp: TopicPartition) -> Verdict {
    let start = node.store(tp).bounds(tp).log_start.0;
    let times: Vec<(i64, i64)> = model.borrow().times(tp);
    let Some(newest) = times.iter().map(|(_, time)| *time).max() else {
        return Ok(());
    };
    for time in [
        0,
        newest,
        newest + 1,
        1_000 + node.sim.random_below(newest as u64) as i64,
    ] {
        let expected = times.iter().find(|(_, of)| *of >= time);
        let expected = expected.map(|(base, _)| (*base).max(start));
        let store = Rc::clone(node.store(tp));
        let look_up = async move { store.offset_at_timestamp(tp, time).await };
        let found = node.sim.block_on(look_up);
        let found = match found {
            Ok(found) => found.map(|found| found.offset.0),
            Err(_) if model.borrow().is_damaged => continue,
            Err(error) => return Err(format!("{tp}: lookup of {time}: {error}")),
        };
        if found != expected {
            return Err(format!(
                "{tp}: lookup of {time} gave {found:?}, not {expected:?}"
            ));
        }
    }
    Ok(())
}
