//! What may be answered: every answer that a client of the storm gets is compared with the model,
//! and becomes a promise there.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use spate_net::kafka::error::ErrorCode;
use spate_storage::{
    store::Bounds,
    types::{Offset, TopicPartition},
};

use super::{
    batch::Batch,
    life::ask,
    model::{Log, Model, Verdict},
};
use crate::{
    control::message::Refusal,
    shard::{
        logs::Logs,
        message::{Answer, Ask, Lookup, ReadItem},
        outcome::{AppendOutcome, Extent, Found},
    },
};

/// What a producer knows of a batch that it sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Unknown,
    Acknowledged,
    /// To be sent again.
    Failed,
}

/// What a task needs to judge an answer.
#[derive(Clone)]
pub struct Judge {
    pub model: Rc<RefCell<Model>>,
    pub complaint: Rc<RefCell<Option<String>>>,
}

impl Judge {
    pub fn note(&self, verdict: Verdict) {
        if let Err(text) = verdict {
            self.complaint.borrow_mut().get_or_insert(text);
        }
    }

    /// Whether a refusal may be: the topic is gone, or damage was done.
    pub fn is_excused(&self, tp: TopicPartition) -> bool {
        let model = self.model.borrow();
        model.is_damaged || model.deleted.contains(&tp.topic)
    }
}

/// One batch whose answer has come.
pub struct Answered<'a> {
    pub logs: &'a Rc<Logs>,
    pub tp: TopicPartition,
    pub batch: &'a Batch,
    pub wait_for_durable: bool,
    pub has_failed: &'a Cell<bool>,
}

impl Answered<'_> {
    pub fn judge(&self, outcome: &AppendOutcome, judge: &Judge) -> Fate {
        match outcome {
            Ok(placed) => {
                judge.note(self.taken(placed.base_offset, judge));
                Fate::Acknowledged
            }
            Err(refusal) => {
                judge.note(self.refused(refusal, judge));
                Fate::Failed
            }
        }
    }

    fn taken(&self, base: Offset, judge: &Judge) -> Verdict {
        let Answered { tp, batch, .. } = *self;
        let mut model = judge.model.borrow_mut();
        if model.deleted.contains(&tp.topic) {
            return Ok(());
        }
        model.placed(tp, base, batch.number)?;
        if !self.wait_for_durable {
            return Ok(());
        }
        let (end, bounds) = (Log::end_of(base.0, batch), self.logs.store().bounds(tp));
        if bounds.high_watermark.0 < end {
            return Err(format!(
                "{tp}: {batch:?} is acknowledged at {base}, in {bounds:?}"
            ));
        }
        model.promised(tp, end)
    }

    fn refused(&self, refusal: &Refusal, judge: &Judge) -> Verdict {
        let Answered { tp, batch, .. } = *self;
        let mut model = judge.model.borrow_mut();
        match refusal.code {
            // Whether it is there shows after the next start.
            ErrorCode::KafkaStorageError => {
                self.has_failed.set(true);
                Ok(())
            }
            _ if model.deleted.contains(&tp.topic) || model.has_accepted_loss => Ok(()),
            ErrorCode::OutOfOrderSequenceNumber if self.has_failed.get() => {
                model.refused(tp, batch);
                Ok(())
            }
            _ => Err(format!("{tp}: {batch:?} was refused: {refusal:?}")),
        }
    }
}

/// Reads, and compares with what was sent.
pub async fn judge_read(logs: &Rc<Logs>, item: ReadItem, judge: &Judge) {
    let (tp, from) = (item.target, item.from.0);
    let before = logs.store().bounds(tp);
    let answer = ask(logs, Ask::Read { items: vec![item] }).await;
    let Answer::Read(outcomes) = answer else {
        return judge.note(Err("a read got another answer".to_owned()));
    };
    let (outcome, now) = (&outcomes[0], logs.store().bounds(tp));
    let mut model = judge.model.borrow_mut();
    let verdict = match &outcome.failure {
        _ if model.deleted.contains(&tp.topic) => Ok(()),
        None if outcome.slices.is_empty() && from < before.high_watermark.0 => Err(format!(
            "{tp}: nothing at {from} of {before:?}, now {now:?}"
        )),
        None => model.read(tp, from, &outcome.slices.concat()).map(drop),
        Some(refusal) if refusal.code == ErrorCode::OffsetOutOfRange => {
            match from > before.high_watermark.0 || from < now.log_start.0 {
                true => Ok(()),
                false => Err(format!("{tp}: {from} of {now:?}: {refusal:?}")),
            }
        }
        Some(_) if model.is_damaged || from < now.log_start.0 => Ok(()),
        Some(refusal) => Err(format!("{tp}: read of {from}: {refusal:?}")),
    };
    drop(model);
    judge.note(verdict);
}

pub fn bounds_of(extent: Extent) -> Bounds {
    Bounds {
        log_start: extent.log_start,
        high_watermark: extent.high_watermark,
        log_end: extent.high_watermark,
    }
}

/// Whether a lookup found what was so at some moment between the question and the answer.
pub fn is_between(
    lookup: Lookup,
    current: i32,
    before: &Bounds,
    found: &Found,
    after: &Bounds,
) -> bool {
    let Ok(found) = found else { return false };
    let range = match lookup {
        Lookup::Earliest => before.log_start..=after.log_start,
        Lookup::EpochEnd(epoch) if epoch.0 > current => Offset(-1)..=Offset(-1),
        _ => before.high_watermark..=after.high_watermark,
    };
    range.contains(&found.offset)
}
