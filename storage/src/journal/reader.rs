//! Finding the frames of one shard's journal at a start (S12), and telling a torn tail from
//! corruption (S13). It reads whole files and writes nothing.
//!
//! Every 4 KiB boundary of every file is tried, whatever came before it: a damaged frame hides none
//! behind it. Which of the frames count is decided afterwards, by their numbers:
//!
//! ```text
//!  worked example: frames 7 8 _ 10 found, 9 does not verify
//!  10 says durable_through = 8: nobody was told that 9 is durable; it is torn, and 10 with it
//!  10 says durable_through = 9: 9 was durable and acknowledged; it is corrupt
//! ```

use super::{
    fragment::{Fragment, Kind},
    frame::{FRAME_BYTES_MAX, FrameError, FrameHead, FrameView, HEADER_BYTES, Sequence},
    slot_of,
};
use crate::{
    disk::{Disk, OpenMode, PAGE},
    hash::Incarnation,
    pool::{FileHead, FileKind, HeadError},
    sabotage::{self, Sabotage},
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// A journal file's bytes.
#[derive(Debug)]
pub struct FileBytes {
    /// Where it lies.
    pub path: PathBuf,
    /// Which use of it (S7); nothing if its head does not verify.
    pub head: Result<Incarnation, String>,
    bytes: Bytes,
}

/// A frame that verifies.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    /// What it says.
    pub head: FrameHead,
    /// Its hash.
    pub hash: u64,
    file: usize,
    position: usize,
    len: usize,
}

/// A frame that should be there and does not verify.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The frame.
    pub sequence: Sequence,
    /// The file it should be in.
    pub path: PathBuf,
    /// Where in it.
    pub position: u64,
    /// What stands there instead.
    pub reason: String,
    /// Frames that verify behind it.
    pub later: usize,
}

/// One shard's journal as found.
#[derive(Debug)]
pub struct FoundJournal {
    files: Vec<FileBytes>,
    /// All frames that verify, by number.
    frames: BTreeMap<Sequence, Located>,
    unreadable: Vec<Unreadable>,
}

/// A page that the disk would not give. What it held is not known: no tear looks like this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub position: u64,
    /// What the disk said.
    pub reason: String,
}

/// What of a journal counts.
#[derive(Debug)]
pub struct Readable {
    /// Number of the first frame to replay.
    pub first: Sequence,
    /// The frames to replay, in order.
    pub frames: Vec<Located>,
    /// What ended them, if frames or damage lie behind.
    pub torn: Option<Damage>,
    /// Acknowledged frames that are lost (S19), oldest first: none unless the journal is corrupt.
    pub lost: Vec<Damage>,
}

impl FoundJournal {
    /// Reads all files of `dir`.
    pub async fn read<D: Disk>(disk: &D, dir: &Path) -> Result<FoundJournal, (PathBuf, io::Error)> {
        let mut paths = disk
            .list(dir)
            .await
            .map_err(|error| (dir.to_owned(), error))?;
        paths.sort_unstable();
        let mut journal = FoundJournal {
            files: Vec::new(),
            frames: BTreeMap::new(),
            unreadable: Vec::new(),
        };
        for path in paths {
            let read = read_file(disk, &path).await;
            let (bytes, refused) = read.map_err(|error| (path.clone(), error))?;
            let refused = refused.into_iter();
            let refused = refused.map(|(position, reason)| Unreadable {
                path: path.clone(),
                position,
                reason,
            });
            journal.unreadable.extend(refused);
            let head = head_of(&bytes).map_err(|error| error.to_string());
            journal.files.push(FileBytes { path, head, bytes });
            journal.find_frames(journal.files.len() - 1);
        }
        while let Some((file, incarnation)) = journal.named_without_head() {
            journal.files[file].head = Ok(incarnation);
            journal.find_frames(file);
        }
        Ok(journal)
    }

    /// A file whose head does not verify, and its incarnation, which the frame that names it
    /// repeats: it is scanned, not taken as the end (S12).
    fn named_without_head(&self) -> Option<(usize, Incarnation)> {
        if self.files.iter().all(|file| file.head.is_ok()) {
            return None;
        }
        self.frames.values().find_map(|frame| {
            let (slot, incarnation) = self.successor(frame)?;
            let is_it = |f: &FileBytes| f.head.is_err() && slot_of(&f.path) == Some(slot);
            Some((self.files.iter().position(is_it)?, incarnation))
        })
    }

    /// The file that a frame names as the next (S9).
    fn successor(&self, frame: &Located) -> Option<(u32, Incarnation)> {
        let fragments = self.view(frame)?.fragments()?;
        let is_next = |(fragment, _): &&(Fragment, &[u8])| fragment.kind == Kind::NextFile;
        let named = fragments.iter().find(is_next)?.0;
        let slot = u32::try_from(named.base.0).ok()?;
        Some((slot, Incarnation(named.chain_after.0)))
    }

    /// The file that the last frame names, if it is not there: it was ready before it was named, so
    /// whatever it held is lost.
    fn missing_after(&self, last: &Located) -> Option<Damage> {
        let (slot, incarnation) = self.successor(last)?;
        let is_it = |f: &FileBytes| slot_of(&f.path) == Some(slot) && f.head == Ok(incarnation);
        if self.files.iter().any(is_it) {
            return None;
        }
        Some(Damage {
            sequence: last.head.sequence.next(),
            path: self.files[last.file].path.with_file_name(slot.to_string()),
            position: 0,
            reason: format!("no journal file with incarnation {incarnation}"),
            later: 0,
        })
    }

    fn find_frames(&mut self, file: usize) {
        let FileBytes {
            head: Ok(incarnation),
            bytes,
            ..
        } = &self.files[file]
        else {
            return;
        };
        let mut position = PAGE;
        while position + HEADER_BYTES <= bytes.len() {
            let rest = &bytes[position..];
            let Ok(view) = FrameView::parse(rest, *incarnation) else {
                position += PAGE;
                continue;
            };
            let (head, hash, len) = (view.head, view.hash, view.len);
            self.frames.insert(
                head.sequence,
                Located {
                    head,
                    hash,
                    file,
                    position,
                    len,
                },
            );
            position += len;
        }
    }

    /// Pages that the disk would not give; they are taken for zeros.
    #[must_use]
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// Whether nothing that verifies was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// What is wrong with files whose head does not verify.
    pub fn damaged_heads(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.files
            .iter()
            .filter_map(|file| Some((&*file.path, file.head.as_ref().err()?.as_str())))
    }

    /// A frame's bytes, verified before.
    #[must_use]
    pub fn view(&self, located: &Located) -> Option<FrameView<'_>> {
        let file = &self.files[located.file];
        let bytes = &file.bytes[located.position..located.position + located.len];
        FrameView::parse_header(bytes, *file.head.as_ref().ok()?).ok()
    }

    /// A slice of a frame's file that outlives the frame.
    #[must_use]
    pub fn share(&self, located: &Located, part: &[u8]) -> Bytes {
        self.files[located.file].bytes.slice_ref(part)
    }

    /// Where a frame lies.
    #[must_use]
    pub fn place(&self, located: &Located) -> (&Path, u64) {
        (&self.files[located.file].path, located.position as u64)
    }

    /// Decides what is to be replayed. `None` if no frame's own claim of where to begin can be
    /// followed: everything is damaged.
    #[must_use]
    pub fn readable(&self) -> Option<Readable> {
        let mut claims: Vec<Sequence> =
            self.frames.values().map(|f| f.head.oldest_needed).collect();
        claims.sort_unstable();
        claims.dedup();
        // The newest claim that the unbroken run behind it repeats. A claim beyond the run was
        // never durable: the files before it are still there (S9).
        let followed = claims.iter().rev().copied().find(|first| {
            self.run(*first)
                .any(|frame| frame.head.oldest_needed == *first)
        });
        let first = followed.or(claims.last().copied())?;
        let mut frames: Vec<Located> = self.run(first).collect();
        let mut lost = Vec::new();
        loop {
            let expected = frames
                .last()
                .map_or(first, |frame| frame.head.sequence.next());
            let mut later = self
                .frames
                .range(expected..)
                .map(|(_, frame)| frame)
                .peekable();
            let Some(next) = later.peek().copied().copied() else {
                break;
            };
            let damage = self.damage(expected, frames.last());
            let is_durable = later.any(|frame| frame.head.durable_through >= expected);
            if !is_durable || sabotage::is(Sabotage::RecoveryStopsEarly) {
                return Some(Readable {
                    first,
                    frames,
                    torn: Some(damage),
                    lost,
                });
            }
            lost.push(damage);
            frames.extend(self.run(next.head.sequence));
        }
        let expected = frames
            .last()
            .map_or(first, |frame| frame.head.sequence.next());
        lost.extend(frames.last().and_then(|last| self.missing_after(last)));
        let damage = self.damage(expected, frames.last());
        // Zeros, an earlier use's bytes or the file's end are where every clean journal ends.
        let torn = Some(damage).filter(|damage| self.is_torn(damage));
        Some(Readable {
            first,
            frames,
            torn,
            lost,
        })
    }

    /// The unbroken run from frame `first`: numbers follow, and each names the one before it.
    fn run(&self, first: Sequence) -> impl Iterator<Item = Located> + '_ {
        let mut expected = first;
        let mut before: Option<u64> = None;
        self.frames
            .range(first..)
            .map(|(_, frame)| *frame)
            .take_while(move |frame| {
                let links = before.is_none_or(|hash| hash == frame.head.predecessor);
                let follows = frame.head.sequence == expected && links;
                (expected, before) = (expected.next(), Some(frame.hash));
                follows
            })
    }

    /// What stands where frame `sequence` should: behind `before`, or at a file's head.
    fn damage(&self, sequence: Sequence, before: Option<&Located>) -> Damage {
        let later = self.frames.range(sequence..).count();
        let next = self
            .frames
            .range(sequence..)
            .next()
            .map(|(_, frame)| *frame);
        let behind = before.map(|frame| (frame.file, frame.position + frame.len));
        let is_in_file =
            |(file, position): &(usize, usize)| *position < self.files[*file].bytes.len();
        // A frame at its file's end named the next file: the damage is at a head.
        let place = behind
            .filter(is_in_file)
            .or(next.map(|frame| (frame.file, PAGE)));
        let Some((file, position)) = place else {
            let path = self
                .files
                .first()
                .map(|file| file.path.clone())
                .unwrap_or_default();
            let reason = "no frame".to_owned();
            return Damage {
                sequence,
                path,
                position: 0,
                reason,
                later,
            };
        };
        let FileBytes { path, head, bytes } = &self.files[file];
        let found = head
            .as_ref()
            .map(|of| FrameView::parse(&bytes[position..], *of));
        let reason = match found {
            Err(error) => error.clone(),
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(view)) => format!("frame {} where {sequence} belongs", view.head.sequence),
        };
        Damage {
            sequence,
            path: path.clone(),
            position: position as u64,
            reason,
            later,
        }
    }

    /// Whether a frame was begun here, rather than nothing ever written.
    fn is_torn(&self, damage: &Damage) -> bool {
        let found = self.files.iter().find(|file| file.path == damage.path);
        let Some(FileBytes {
            head: Ok(of),
            bytes,
            ..
        }) = found
        else {
            return false;
        };
        let Some(rest) = bytes.get(damage.position as usize..) else {
            return false;
        };
        let begins = match FrameView::parse(rest, *of) {
            Err(FrameError::Table { sequence, .. } | FrameError::Payload { sequence, .. }) => {
                sequence == damage.sequence
            }
            Err(FrameError::Length { .. }) => rest.len() >= HEADER_BYTES,
            _ => false,
        };
        begins && damage.position as usize + PAGE <= bytes.len()
    }

    /// What the frame at a damage held, if its table still says so.
    #[must_use]
    pub fn named_at(&self, damage: &Damage) -> Vec<super::fragment::Fragment> {
        let found = self.files.iter().find(|file| file.path == damage.path);
        let Some(FileBytes {
            head: Ok(of),
            bytes,
            ..
        }) = found
        else {
            return Vec::new();
        };
        let Some(rest) = bytes.get(damage.position as usize..) else {
            return Vec::new();
        };
        FrameView::named_fragments(rest, *of).unwrap_or_default()
    }
}

/// Read at once, into the same memory for each: fresh memory costs more than the read itself, and
/// on a node that sees little the files are zeros.
const PIECE_BYTES: usize = 2 << 20;
const ZEROS: [u8; PAGE] = [0; PAGE];

const _: () = assert!(FRAME_BYTES_MAX < u32::MAX as usize);

/// Unreadable pages of one file with which a start is still tried: a device that is gone would
/// take minutes to say so for each of them.
const UNREADABLE_MAX: usize = 64;

/// The file's bytes, and the pages that the disk would not give, which are zeros here.
async fn read_file<D: Disk>(disk: &D, path: &Path) -> io::Result<(Bytes, Vec<(u64, String)>)> {
    let file = disk.open(path, OpenMode::Read).await?;
    let len = disk.len(&file)? as usize;
    // A file of another length was never handed out.
    let whole_pages = len / PAGE * PAGE;
    if whole_pages == 0 {
        return Ok((Bytes::new(), Vec::new()));
    }
    let mut unreadable = Vec::new();
    // Pages of zeros are not copied: memory for them is never touched.
    let mut bytes = vec![0; whole_pages];
    let mut buf = disk.buffer(0);
    for (piece, position) in bytes
        .chunks_mut(PIECE_BYTES)
        .zip((0..).step_by(PIECE_BYTES))
    {
        if buf.as_ref().len() != piece.len() {
            buf = disk.buffer(piece.len());
        }
        let (read, mut filled) = disk.read(&file, position as u64, buf).await;
        if read.is_err() {
            read_pages(
                disk,
                &file,
                position as u64,
                filled.as_mut(),
                &mut unreadable,
            )
            .await?;
        }
        for (page, found) in piece.chunks_mut(PAGE).zip(filled.as_ref().chunks(PAGE)) {
            if found != ZEROS {
                page.copy_from_slice(found);
            }
        }
        buf = filled;
    }
    Ok((bytes.into(), unreadable))
}

/// Reads a piece page by page: one sector that cannot be read must not hide its neighbours.
async fn read_pages<D: Disk>(
    disk: &D,
    file: &D::File,
    position: u64,
    piece: &mut [u8],
    unreadable: &mut Vec<(u64, String)>,
) -> io::Result<()> {
    let mut buf = disk.buffer(PAGE);
    for (page, at) in piece.chunks_mut(PAGE).zip((position..).step_by(PAGE)) {
        let (read, found) = disk.read(file, at, buf).await;
        match read {
            Ok(()) => page.copy_from_slice(found.as_ref()),
            Err(error) if unreadable.len() < UNREADABLE_MAX => {
                page.fill(0);
                unreadable.push((at, error.to_string()));
            }
            Err(error) => return Err(error),
        }
        buf = found;
    }
    Ok(())
}

fn head_of(bytes: &[u8]) -> Result<Incarnation, HeadError> {
    if bytes.len() < PAGE {
        return Err(HeadError::Magic(0));
    }
    match FileHead::decode(bytes)? {
        FileHead {
            kind: FileKind::Journal,
            incarnation,
            ..
        } => Ok(incarnation),
        FileHead { .. } => Err(HeadError::Kind(1)),
    }
}
