//! The `node` file: whose data this is, and which journals are in force.

use spate_storage::node::{NodeState, Slot, read_slots};

use super::shown::{Bad, Found, Item};

/// Reads both slots. One that does not verify is what a torn write leaves, as long as the other
/// does.
pub fn inspect(file: &[u8]) -> Found {
    let slots = read_slots(file);
    let in_force = slots
        .iter()
        .filter_map(|slot| slot.as_ref().ok())
        .max_by_key(|slot| slot.sequence)
        .copied();
    let mut bad = Vec::new();
    if in_force.is_none() {
        let reasons = slots.iter().filter_map(|slot| slot.as_ref().err());
        let reasons: Vec<String> = reasons.map(ToString::to_string).collect();
        bad.push(Bad {
            position: 0,
            offsets: None,
            reason: format!("neither slot verifies: {}", reasons.join("; ")),
        });
    }
    let rows = slots.iter().map(|slot| match slot {
        Ok(Slot { sequence, state }) => Item::new()
            .with("sequence", *sequence)
            .with("journal_set", state.journal_set.0),
        Err(error) => Item::new().with("error", error.to_string()),
    });
    let rows: Vec<Item> = rows.collect();
    let item = Item::new().with("kind", "node");
    let item = match in_force {
        Some(slot) => with_state(item, &slot.state),
        None => item,
    };
    Found {
        item: item.with("slots", rows),
        bad,
    }
}

/// Who the node is.
pub fn with_state(item: Item, state: &NodeState) -> Item {
    item.with("cluster", state.cluster.to_string())
        .with("node", state.node.get())
        .with("disk", state.disk.to_string())
        .with("journal_set", state.journal_set.0)
}
