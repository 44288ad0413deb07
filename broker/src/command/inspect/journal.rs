//! A journal file: its frames, what each carries, and what of it a start would still need.

use bytes::Bytes;
use spate_storage::{
    disk::PAGE,
    hash::Incarnation,
    journal::{
        fragment::{BlockPlace, Fragment, Kind, Reader},
        frame::{FrameError, FrameHead, FrameView, HEADER_BYTES},
        row::Row,
        switch::Switch,
    },
    pool::FileHead,
};

use super::{
    Wish, batches,
    shown::{Bad, Found, Item},
};

/// Reads the whole file.
pub fn inspect(head: &FileHead, file: &Bytes, wish: Wish) -> Found {
    let mut bad = Vec::new();
    let mut frames = Vec::new();
    let mut last: Option<FrameHead> = None;
    let mut torn = Vec::new();
    for (position, frame) in frames_of(file, head.incarnation) {
        match frame {
            Ok(view) => {
                // Damage is corruption only if a later frame says that it was durable (S13).
                let durable = view.head.durable_through;
                torn.retain(|(sequence, found): &(u64, Bad)| {
                    let is_lost = *sequence <= durable.0;
                    if is_lost {
                        bad.push(copy_of(found));
                    }
                    !is_lost
                });
                frames.push(frame_item(&view, file, position, wish, &mut bad));
                last = Some(view.head);
            }
            Err((sequence, reason)) => torn.push((
                sequence,
                Bad {
                    position: position as u64,
                    offsets: None,
                    reason,
                },
            )),
        }
    }
    let torn: Vec<Item> = torn.iter().map(|(_, found)| found.item()).collect();
    let item = Item::new()
        .with("kind", "journal")
        .with("incarnation", head.incarnation.to_string())
        .with("bytes", head.len)
        .with("durable_through", last.map(|head| head.durable_through.0))
        .with("oldest_needed", last.map(|head| head.oldest_needed.0))
        .with("torn", torn)
        .with("frames", frames);
    Found { item, bad }
}

fn copy_of(bad: &Bad) -> Bad {
    Bad {
        reason: bad.reason.clone(),
        ..*bad
    }
}

type Located<'a> = (usize, Result<FrameView<'a>, (u64, String)>);

/// Frames by position, and what was begun as one and does not verify. What is neither was never
/// written in this use of the file.
fn frames_of(file: &Bytes, incarnation: Incarnation) -> impl Iterator<Item = Located<'_>> {
    let mut position = PAGE;
    std::iter::from_fn(move || {
        while position + HEADER_BYTES <= file.len() {
            let here = position;
            match FrameView::parse(&file[here..], incarnation) {
                Ok(view) => {
                    position += view.len;
                    return Some((here, Ok(view)));
                }
                Err(
                    error @ (FrameError::Table { sequence, .. }
                    | FrameError::Payload { sequence, .. }),
                ) => {
                    position += PAGE;
                    return Some((here, Err((sequence.0, error.to_string()))));
                }
                Err(_) => position += PAGE,
            }
        }
        None
    })
}

fn frame_item(
    view: &FrameView<'_>,
    file: &Bytes,
    position: usize,
    wish: Wish,
    bad: &mut Vec<Bad>,
) -> Item {
    let item = Item::new()
        .with("sequence", view.head.sequence.0)
        .with("position", position)
        .with("bytes", view.len)
        .with("durable_through", view.head.durable_through.0)
        .with("oldest_needed", view.head.oldest_needed.0);
    let Some(fragments) = view.fragments() else {
        let reason = "fragments of another release".to_owned();
        bad.push(Bad {
            position: position as u64,
            offsets: None,
            reason: reason.clone(),
        });
        return item.with("error", reason);
    };
    let start = file.as_ptr() as usize;
    let items: Vec<Item> = fragments
        .iter()
        .map(|(fragment, payload)| {
            let at = (payload.as_ptr() as usize - start) as u64;
            fragment_item(fragment, file.slice_ref(payload), at, wish, bad)
        })
        .collect();
    item.with("fragments", items)
}

fn fragment_item(
    fragment: &Fragment,
    payload: Bytes,
    position: u64,
    wish: Wish,
    bad: &mut Vec<Bad>,
) -> Item {
    let item = Item::new()
        .with("kind", format!("{:?}", fragment.kind))
        .with("partition", fragment.tp.to_string())
        .with("base", fragment.base.0)
        .with("next", fragment.next.0)
        .with("bytes", payload.len());
    match fragment.kind {
        Kind::Batches | Kind::Copy => {
            item.with("batches", batches::items(&payload, position, wish, bad))
        }
        Kind::Sealed | Kind::Announced | Kind::Confirmed => {
            match BlockPlace::decode(&mut Reader(&payload)) {
                Some(place) => item
                    .with("file", place.segment.to_string())
                    .with("position", place.position.0)
                    .with("block_bytes", u64::from(place.block_bytes)),
                None => item.with("error", "no place of a block"),
            }
        }
        Kind::Row => match Row::decode(&payload) {
            Some(row) => item
                .with("start", row.start.0)
                .with("flushed", row.flushed.0.0)
                .with("files", row.files.len())
                .with("producers", row.producers.len())
                .with("unreadable", row.unreadable.len()),
            None => item.with("error", "no row"),
        },
        Kind::Switch => match Switch::decode(fragment, &payload) {
            Some(switch) => item
                .with("clean_end", switch.clean_end.0)
                .with("files", switch.files.len()),
            None => item.with("error", "no switch of generations"),
        },
        _ => item,
    }
}
