//! Finding the frames of one shard's journal at a start (S12), and telling a torn tail from
//! corruption (S13). It writes nothing, and holds no more than where each frame lies: a replay
//! reads again what counts, frame by frame.
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
    fragment::Fragment,
    frame::{FrameError, FrameHead, FrameView, HEADER_BYTES, Sequence},
    scan::{PIECE_BYTES, Pieces},
    slot_of,
};
use crate::{
    disk::{Disk, PAGE},
    hash::Incarnation,
    pool::{FileHead, FileKind, HeadError},
    sabotage::{self, Sabotage},
};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// A journal file.
#[derive(Debug)]
struct FoundFile {
    path: PathBuf,
    /// Which use of it (S7); nothing if its head does not verify.
    head: Result<Incarnation, String>,
    len: u64,
    /// Where its last frame ends.
    frames_end: u64,
}

/// A frame that verifies.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    /// What it says.
    pub head: FrameHead,
    /// Its hash.
    pub hash: u64,
    file: usize,
    position: u64,
    len: usize,
    /// The file that it names as the next (S9).
    successor: Option<(u32, Incarnation)>,
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
    /// What the frame held, if its table still says so.
    pub named: Vec<Fragment>,
    /// A frame was begun there, rather than nothing ever written.
    is_begun: bool,
}

/// One shard's journal as found.
#[derive(Debug)]
pub struct FoundJournal {
    files: Vec<FoundFile>,
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
            let at = |error| (path.clone(), error);
            journal.take_file(disk, &path, None).await.map_err(at)?;
        }
        while let Some((file, incarnation)) = journal.named_without_head() {
            let path = journal.files[file].path.clone();
            let at = |error| (path.clone(), error);
            let named = Some((file, incarnation));
            journal.take_file(disk, &path, named).await.map_err(at)?;
        }
        Ok(journal)
    }

    /// Reads a file once; one without a head of its own by the incarnation that a frame gives it.
    async fn take_file<D: Disk>(
        &mut self,
        disk: &D,
        path: &Path,
        named: Option<(usize, Incarnation)>,
    ) -> io::Result<()> {
        let mut pieces = Pieces::open(disk, path).await?;
        let head = match named {
            Some((_, incarnation)) => Ok(incarnation),
            None => head_of(pieces.read(0, PAGE).await?).map_err(|error| error.to_string()),
        };
        let file = named.map_or(self.files.len(), |(file, _)| file);
        let mut frames_end = PAGE as u64;
        if let Ok(incarnation) = &head {
            let frames = &mut self.frames;
            let found = |position, view: &FrameView<'_>| {
                frames_end = position + view.len as u64;
                let located = Located {
                    head: view.head,
                    hash: view.hash,
                    file,
                    position,
                    len: view.len,
                    successor: view.next_file(),
                };
                frames.insert(located.head.sequence, located);
            };
            pieces.each_frame(*incarnation, found).await?;
        }
        let refused = pieces.unreadable.into_iter();
        self.unreadable
            .extend(refused.map(|(position, reason)| Unreadable {
                path: path.to_owned(),
                position,
                reason,
            }));
        let found = FoundFile {
            path: path.to_owned(),
            head,
            len: pieces.len,
            frames_end,
        };
        match self.files.get_mut(file) {
            Some(known) => *known = found,
            None => self.files.push(found),
        }
        Ok(())
    }

    /// A file whose head does not verify, and its incarnation, which the frame that names it
    /// repeats: it is scanned, not taken as the end (S12). The newest such frame tells its present
    /// use: a file that was to be removed may still name an earlier one.
    fn named_without_head(&self) -> Option<(usize, Incarnation)> {
        if self.files.iter().all(|file| file.head.is_ok()) {
            return None;
        }
        self.frames.values().rev().find_map(|frame| {
            let (slot, incarnation) = frame.successor?;
            let is_it = |f: &FoundFile| f.head.is_err() && slot_of(&f.path) == Some(slot);
            Some((self.files.iter().position(is_it)?, incarnation))
        })
    }

    /// The file that the last frame names, if it is not there: it was ready before it was named, so
    /// whatever it held is lost.
    fn missing_after(&self, last: &Located) -> Option<Damage> {
        let (slot, incarnation) = last.successor?;
        let is_it = |f: &FoundFile| slot_of(&f.path) == Some(slot) && f.head == Ok(incarnation);
        if self.files.iter().any(is_it) {
            return None;
        }
        Some(Damage {
            sequence: last.head.sequence.next(),
            path: self.files[last.file].path.with_file_name(slot.to_string()),
            position: 0,
            reason: format!("no journal file with incarnation {incarnation}"),
            later: 0,
            named: Vec::new(),
            is_begun: false,
        })
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

    /// Reads frames again, for a replay.
    pub fn frames<'a, D: Disk>(&'a self, disk: &'a D) -> Frames<'a, D> {
        Frames {
            journal: self,
            disk,
            open: None,
            start: 0,
            piece_bytes: 0,
        }
    }

    /// Where a frame lies.
    #[must_use]
    pub fn place(&self, located: &Located) -> (&Path, u64) {
        (&self.files[located.file].path, located.position)
    }

    /// Decides what is to be replayed. `None` if no frame's own claim of where to begin can be
    /// followed: everything is damaged.
    pub async fn readable<D: Disk>(&self, disk: &D) -> Option<Readable> {
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
            let damage = self.damage(disk, expected, frames.last()).await;
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
        let damage = self.damage(disk, expected, frames.last()).await;
        // Zeros, an earlier use's bytes or the file's end are where every clean journal ends.
        let torn = Some(damage).filter(|damage| damage.is_begun);
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
    async fn damage<D: Disk>(
        &self,
        disk: &D,
        sequence: Sequence,
        before: Option<&Located>,
    ) -> Damage {
        let later = self.frames.range(sequence..).count();
        let next = self.frames.range(sequence..).next();
        let behind = before.map(|frame| (frame.file, frame.position + frame.len as u64));
        let is_in_file = |(file, position): &(usize, u64)| *position < self.files[*file].len;
        // A frame at its file's end named the next file: the damage is at a head.
        let place = behind
            .filter(is_in_file)
            .or(next.map(|(_, frame)| (frame.file, PAGE as u64)));
        let mut damage = Damage {
            sequence,
            path: PathBuf::new(),
            position: 0,
            reason: "no frame".to_owned(),
            later,
            named: Vec::new(),
            is_begun: false,
        };
        match place {
            Some((file, position)) => {
                let found = &self.files[file];
                damage.path.clone_from(&found.path);
                damage.position = position;
                match &found.head {
                    Err(error) => damage.reason.clone_from(error),
                    Ok(of) => damage.look(disk, *of).await,
                }
            }
            None => {
                let first = self.files.first();
                damage.path = first.map(|file| file.path.clone()).unwrap_or_default();
            }
        }
        damage
    }
}

impl Damage {
    /// Says what stands at its place.
    async fn look<D: Disk>(&mut self, disk: &D, of: Incarnation) {
        let looked = async {
            let mut pieces = Pieces::open(disk, &self.path).await?;
            let left = pieces.len.saturating_sub(self.position);
            let page = pieces.read(self.position, PAGE).await?;
            // What the frame claims to be long, if its header holds.
            let claimed = match FrameView::parse_header(page, of) {
                Ok(view) => view.len as u64,
                Err(FrameError::Length { found, .. }) => found,
                Err(_) => PAGE as u64,
            };
            let len_bytes = claimed.clamp(PAGE as u64, left.max(PAGE as u64)) as usize;
            let bytes = match len_bytes {
                PAGE => page,
                longer => pieces.read(self.position, longer).await?,
            };
            let parsed = FrameView::parse(bytes, of).map(|view| view.head.sequence);
            let named = FrameView::named_fragments(bytes, of).unwrap_or_default();
            let is_begun = match parsed {
                Err(FrameError::Table { sequence, .. } | FrameError::Payload { sequence, .. }) => {
                    sequence == self.sequence
                }
                Err(FrameError::Length { .. }) => bytes.len() >= HEADER_BYTES,
                _ => false,
            };
            let reason = match parsed {
                Err(error) => error.to_string(),
                Ok(found) => format!("frame {found} where {} belongs", self.sequence),
            };
            io::Result::Ok((reason, named, is_begun))
        };
        match looked.await {
            Ok((reason, named, is_begun)) => {
                (self.reason, self.named, self.is_begun) = (reason, named, is_begun);
            }
            Err(error) => self.reason = error.to_string(),
        }
    }
}

/// Frames read again, one after the other: of neighbours many at once.
pub struct Frames<'a, D: Disk> {
    journal: &'a FoundJournal,
    disk: &'a D,
    open: Option<(usize, Pieces<'a, D>)>,
    /// Where the piece that was read last begins, and its length.
    start: u64,
    piece_bytes: usize,
}

impl<D: Disk> Frames<'_, D> {
    /// A frame, verified again.
    pub async fn read(&mut self, located: &Located) -> Result<FrameView<'_>, Unreadable> {
        let journal = self.journal;
        let file = &journal.files[located.file];
        let refused = |reason: String| Unreadable {
            path: file.path.clone(),
            position: located.position,
            reason,
        };
        let incarnation = file.head.as_ref().map_err(|error| refused(error.clone()))?;
        let failed = |error: io::Error| refused(error.to_string());
        if self.open.as_ref().is_none_or(|(at, _)| *at != located.file) {
            let pieces = Pieces::open(self.disk, &file.path).await.map_err(failed)?;
            self.open = Some((located.file, pieces));
            self.piece_bytes = 0;
        }
        let Some((_, pieces)) = &mut self.open else {
            return Err(refused("not open".to_owned()));
        };
        let end = located.position + located.len as u64;
        let is_there =
            located.position >= self.start && end <= self.start + self.piece_bytes as u64;
        if !is_there {
            // No more than holds frames: most of a file may be zeros.
            let behind = file.frames_end.saturating_sub(located.position) as usize;
            let len_bytes = behind.min(PIECE_BYTES).max(located.len);
            let piece = pieces.read(located.position, len_bytes).await;
            self.piece_bytes = piece.map_err(failed)?.len();
            self.start = located.position;
        }
        let at = (located.position - self.start) as usize;
        let frame = pieces.piece().get(at..at + located.len).unwrap_or_default();
        // It verified a moment ago. A disk that gives other bytes now may give those again.
        FrameView::parse(frame, *incarnation).map_err(|error| refused(error.to_string()))
    }
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
