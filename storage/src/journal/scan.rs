//! Reading journal files piece by piece: a start holds one piece at a time, whatever the journals'
//! size, or one frame where that is longer.

use super::frame::{FRAME_BYTES_MAX, FrameError, FrameView, HEADER_BYTES};
use crate::{
    disk::{Disk, OpenMode, PAGE},
    hash::Incarnation,
};
use std::{collections::BTreeMap, io, path::Path};

/// Read at once, into the same memory for each: fresh memory costs more than the read itself. Half
/// a frame more is read for each piece, for the next begins with the frame that this one cuts.
pub(super) const PIECE_BYTES: usize = 8 << 20;

const _: () = assert!(FRAME_BYTES_MAX < u32::MAX as usize);

/// Unreadable pages of one file with which a start is still tried: a device that is gone would
/// take minutes to say so for each of them.
const UNREADABLE_MAX: usize = 64;

/// A file that is read from front to back.
pub(super) struct Pieces<'a, D: Disk> {
    disk: &'a D,
    file: D::File,
    /// Whole pages only: a file of another length was never handed out.
    pub len: u64,
    buf: D::Buf,
    /// Pages that the disk would not give, which are zeros here, and what it said.
    pub unreadable: BTreeMap<u64, String>,
}

impl<'a, D: Disk> Pieces<'a, D> {
    pub(super) async fn open(disk: &'a D, path: &Path) -> io::Result<Pieces<'a, D>> {
        let file = disk.open(path, OpenMode::Read).await?;
        let len = disk.len(&file)?;
        Ok(Pieces {
            disk,
            file,
            len: len - len % PAGE as u64,
            buf: disk.buffer(0),
            unreadable: BTreeMap::new(),
        })
    }

    /// The piece at `position`, `len_bytes` of it or what the file has.
    pub(super) async fn read(&mut self, position: u64, len_bytes: usize) -> io::Result<&[u8]> {
        let left = self.len.saturating_sub(position);
        let len_bytes = left.min(len_bytes as u64) as usize;
        if self.buf.as_ref().len() != len_bytes {
            self.buf = self.disk.buffer(len_bytes);
        }
        if len_bytes == 0 {
            return Ok(&[]);
        }
        let buf = std::mem::replace(&mut self.buf, self.disk.buffer(0));
        let (read, buf) = self.disk.read(&self.file, position, buf).await;
        self.buf = buf;
        if read.is_err() {
            self.read_pages(position).await?;
        }
        Ok(self.buf.as_ref())
    }

    /// The piece that was read last.
    pub(super) fn piece(&self) -> &[u8] {
        self.buf.as_ref()
    }

    /// Reads a piece page by page: one sector that cannot be read must not hide its neighbours.
    async fn read_pages(&mut self, position: u64) -> io::Result<()> {
        let mut buf = self.disk.buffer(PAGE);
        let pages = self.buf.as_mut().chunks_mut(PAGE);
        for (page, at) in pages.zip((position..).step_by(PAGE)) {
            let (read, found) = self.disk.read(&self.file, at, buf).await;
            match read {
                Ok(()) => page.copy_from_slice(found.as_ref()),
                Err(error) if self.unreadable.len() < UNREADABLE_MAX => {
                    page.fill(0);
                    self.unreadable.insert(at, error.to_string());
                }
                Err(error) => return Err(error),
            }
            buf = found;
        }
        Ok(())
    }

    /// Calls `found` with the place of every frame that verifies.
    pub(super) async fn each_frame(
        &mut self,
        incarnation: Incarnation,
        mut found: impl FnMut(u64, &FrameView<'_>),
    ) -> io::Result<()> {
        let mut position = PAGE as u64;
        let mut piece_bytes = PIECE_BYTES;
        while position < self.len {
            let left = self.len - position;
            let piece = self.read(position, piece_bytes).await?;
            let begun = |view: &FrameView<'_>, at: usize| found(position + at as u64, view);
            let scanned = scan(piece, incarnation, left, begun);
            piece_bytes = match scanned.cut_frame_bytes {
                // A frame longer than a piece is read whole; then it is judged like any other.
                Some(frame_bytes) if scanned.bytes == 0 && frame_bytes > piece_bytes => frame_bytes,
                _ => PIECE_BYTES,
            };
            position += scanned.bytes as u64;
        }
        Ok(())
    }
}

/// How far a piece was scanned.
struct Scanned {
    bytes: usize,
    /// The length of the frame that goes on behind the piece.
    cut_frame_bytes: Option<usize>,
}

/// Tries every page of a piece behind which, its own bytes included, the file has `left_bytes`.
fn scan(
    piece: &[u8],
    incarnation: Incarnation,
    left_bytes: u64,
    mut found: impl FnMut(&FrameView<'_>, usize),
) -> Scanned {
    let mut at = 0;
    while at + HEADER_BYTES <= piece.len() {
        match FrameView::parse(&piece[at..], incarnation) {
            Ok(view) => {
                found(&view, at);
                at += view.len;
            }
            Err(FrameError::Length { found, limit })
                if found > limit && found <= left_bytes - at as u64 && is_long(found) =>
            {
                return Scanned {
                    bytes: at,
                    cut_frame_bytes: Some(found as usize),
                };
            }
            Err(_) => at += PAGE,
        }
    }
    Scanned {
        bytes: piece.len(),
        cut_frame_bytes: None,
    }
}

/// Whether a frame may be that long.
fn is_long(frame_bytes: u64) -> bool {
    frame_bytes <= FRAME_BYTES_MAX as u64
}
