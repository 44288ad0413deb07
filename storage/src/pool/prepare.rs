//! Making files ready. In every function the order of writes and flushes is the point: a file is
//! handed out only when a crash can no longer take back its head, its length or its name.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{FileHead, FileKind, PreparedFile};
use crate::{
    disk::{Disk, Flush, OpenMode, PAGE},
    hash::Incarnation,
    sabotage::{self, Sabotage},
};

/// Zeros are written in pieces of this size, one after the other: a shard's flush never queues
/// behind more than one of them. 512 KiB take a disk 300 us, this 80; nobody waits for the zeros.
const FILL_BYTES: usize = 128 << 10;

/// What a new file's blocks hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filling {
    /// Zeros, written and flushed: a later write changes no metadata.
    Zeros,
    /// Unwritten extents: instant, but a file's first pass of writes updates them.
    Allocated,
}

/// Creates a file of `len` bytes in `dir` (which is created if missing), named for its
/// incarnation. On failure the file is removed again: a full disk must not stay full of halves.
pub async fn prepare<D: Disk>(
    disk: &D,
    dir: &Path,
    kind: FileKind,
    len: u64,
    filling: Filling,
    incarnation: Incarnation,
) -> io::Result<PreparedFile> {
    disk.create_dir(dir).await?;
    let path = dir.join(incarnation.to_string());
    let head = FileHead {
        kind,
        incarnation,
        len,
    };
    if let Err(error) = create(disk, dir, &path, head, filling).await {
        if let Err(also) = disk.remove(&path).await {
            tracing::debug!(path = %path.display(), %also, "an unfinished file stays");
        }
        return Err(error);
    }
    Ok(PreparedFile {
        path,
        kind,
        len,
        incarnation,
    })
}

async fn create<D: Disk>(
    disk: &D,
    dir: &Path,
    path: &Path,
    head: FileHead,
    filling: Filling,
) -> io::Result<()> {
    let file = disk.open(path, OpenMode::Create { len: head.len }).await?;
    if filling == Filling::Zeros {
        write_zeros(disk, &file, 0..head.len).await?;
    }
    write_head(disk, &file, head, Flush::Data).await?;
    disk.sync(&file).await?;
    disk.sync_dir(dir).await
}

/// Creates a file at `path` of which nothing is durable yet, zero-filled from `content_end` on: for
/// the start, which flushes it together with the frames that it writes up to there.
pub(crate) async fn create_unflushed<D: Disk>(
    disk: &D,
    path: &Path,
    head: FileHead,
    content_end: u64,
) -> io::Result<D::File> {
    let file = disk.open(path, OpenMode::Create { len: head.len }).await?;
    write_zeros(disk, &file, content_end..head.len).await?;
    write_head(disk, &file, head, Flush::No).await?;
    Ok(file)
}

async fn write_zeros<D: Disk>(disk: &D, file: &D::File, range: Range<u64>) -> io::Result<()> {
    let Range {
        start: mut position,
        end: len,
    } = range;
    let mut zeros = disk.buffer(0);
    while position < len {
        let piece = (len - position).min(FILL_BYTES as u64) as usize;
        if zeros.as_ref().len() != piece {
            zeros = disk.buffer(piece);
            zeros.as_mut().fill(0);
        }
        let (written, buf) = disk.write(file, position, zeros, Flush::No).await;
        written?;
        zeros = buf;
        position += piece as u64;
    }
    Ok(())
}

async fn write_head<D: Disk>(
    disk: &D,
    file: &D::File,
    head: FileHead,
    flush: Flush,
) -> io::Result<()> {
    let mut page = disk.buffer(PAGE);
    head.encode(page.as_mut());
    disk.write(file, 0, page, flush).await.0
}

/// Gives a file that nobody uses any more a new incarnation, in its place. Its old bytes stay and
/// never verify again.
pub async fn renew<D: Disk>(
    disk: &D,
    path: &Path,
    kind: FileKind,
    incarnation: Incarnation,
) -> io::Result<PreparedFile> {
    let file = disk.open(path, OpenMode::Write).await?;
    let len = disk.len(&file)?;
    write_head(
        disk,
        &file,
        FileHead {
            kind,
            incarnation,
            len,
        },
        Flush::Data,
    )
    .await?;
    Ok(PreparedFile {
        path: path.to_owned(),
        kind,
        len,
        incarnation,
    })
}

/// Moves a prepared file to the place of its use and returns when a crash can no longer undo it.
/// May be tried again after any failure: one that came as far as the rename is found by it.
pub async fn place<D: Disk>(disk: &D, source: &Path, target: &Path) -> io::Result<()> {
    let source_dir = source.parent().unwrap_or(Path::new("."));
    let target_dir = target.parent().unwrap_or(Path::new("."));
    disk.create_dir(target_dir).await?;
    match disk.rename(source, target).await {
        // Renamed by an earlier try whose flush failed. Back first: a flush that failed may have
        // given up what it should have written, and only a new rename is written for certain.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.rename(target, source).await?;
            disk.rename(source, target).await?;
        }
        other => other?,
    }
    if sabotage::is(Sabotage::NameUnflushed) {
        return Ok(());
    }
    // The target first: between the two the file must have at least one name.
    disk.sync_dir(target_dir).await?;
    if source_dir != target_dir {
        disk.sync_dir(source_dir).await?;
    }
    Ok(())
}

/// Unlinks everything an earlier process left in the pool (S1) and says what it was.
pub async fn clear_leftovers<D: Disk>(disk: &D, pool: &Path) -> io::Result<Vec<PathBuf>> {
    let mut cleared = Vec::new();
    for entry in disk.list(pool).await? {
        // A plain file here lists as an empty directory or as none.
        cleared.extend(disk.list(&entry).await.unwrap_or_default());
        disk.remove(&entry).await?;
        cleared.push(entry);
    }
    if !cleared.is_empty() {
        disk.sync_dir(pool).await?;
    }
    Ok(cleared)
}
