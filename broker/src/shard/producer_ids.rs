//! Ids for idempotent producers, given out of blocks that the control thread has made durable
//! before any id of them is used (KIP-98), so that no id is given twice, whatever crashes.

use std::{cell::Cell, rc::Rc};

use spate_storage::types::ProducerId;

use crate::{
    budget::Budget,
    control::message::{ControlReply, ControlRequest, Refusal},
    handler::ENDING,
    shard::control::ControlClient,
};

/// What is left of one shard's present block.
pub struct ProducerIds {
    next: Cell<i64>,
    end: Cell<i64>,
    /// One task at a time asks for a new block.
    asking: Rc<Budget>,
}

impl ProducerIds {
    /// No block yet: the first id asks for one.
    pub fn new() -> ProducerIds {
        ProducerIds {
            next: Cell::new(0),
            end: Cell::new(0),
            asking: Budget::new(1),
        }
    }

    /// The next id.
    ///
    /// # Errors
    /// If the control thread cannot reserve another block.
    pub async fn next(&self, control: &ControlClient) -> Result<ProducerId, Refusal> {
        let _turn = self.asking.take(1).await;
        if self.next.get() == self.end.get() {
            let reply = control.ask(ControlRequest::ProducerIdBlock).await;
            let Some(ControlReply::ProducerIdBlock(block)) = reply else {
                return Err(Refusal::new(ENDING.0, ENDING.1));
            };
            let block = block?;
            self.next.set(block.first);
            self.end.set(block.first + i64::from(block.count));
        }
        let id = self.next.replace(self.next.get() + 1);
        Ok(ProducerId(id))
    }
}
