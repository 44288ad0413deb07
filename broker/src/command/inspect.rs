//! `spate inspect`: what is in the files of a data directory, for people or as JSON. It only reads,
//! also beside a running broker, whose files change while they are read: what it finds then is of
//! some moment, and a verification may have to be repeated.
//!
//! One file per kind of file; `summary` is the whole directory, `shown` how anything is printed.

mod batches;
mod journal;
mod metadata;
mod node;
mod segment;
mod shown;
mod summary;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use serde_json::Value;
use spate_storage::{
    disk::{Disk as _, OpenMode, PAGE, standard::StandardDisk},
    pool::{FileHead, FileKind},
};

use super::CommandError;
use shown::{Bad, Found, Item};

/// What `inspect` is told.
#[derive(clap::Args, Debug)]
pub struct InspectArgs {
    /// Files of a data directory: node, a journal or segment file, a metadata log or snapshot
    #[arg(value_name = "FILE", required_unless_present = "data")]
    files: Vec<PathBuf>,
    /// Show this data directory in short
    #[arg(long, value_name = "DIR", conflicts_with = "files")]
    data: Option<PathBuf>,
    /// As JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Show each record too, decompressed
    #[arg(long)]
    records: bool,
    /// Check everything, records too; exit with 1 if something does not verify
    #[arg(long)]
    verify: bool,
}

/// How far to look.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    records: bool,
    verify: bool,
}

/// Inspects and prints. With `--verify` what does not verify is the command's failure.
pub fn run(args: &InspectArgs) -> Result<(), CommandError> {
    let wish = Wish {
        records: args.records,
        verify: args.verify,
    };
    let mut first_bad = None;
    let mut out = io::stdout().lock();
    if let Some(data) = &args.data {
        let summary = summary::inspect(data, wish)?;
        let bad = summary.bad.first();
        first_bad = bad.map(|(path, bad)| complaint(path, bad));
        print(&summary.item(), data, args.json, &mut out).map_err(CommandError::output)?;
    }
    for path in &args.files {
        let found = inspect_file(path, None, wish)?;
        let bad = found.bad.iter().map(Bad::item).collect::<Vec<_>>();
        let item = found.item.with("bad", bad);
        if let Some(bad) = found.bad.first() {
            first_bad.get_or_insert_with(|| complaint(path, bad));
        }
        print(&item, path, args.json, &mut out).map_err(CommandError::output)?;
    }
    match first_bad.filter(|_| args.verify) {
        Some(complaint) => Err(CommandError::Other(complaint)),
        None => Ok(()),
    }
}

fn complaint(path: &Path, bad: &Bad) -> String {
    let offsets = bad.offsets.map_or(String::new(), |(base, next)| {
        format!(", offsets {base} to {next}")
    });
    format!(
        "{}: does not verify: at {}{offsets}: {}; restore the file from a replica or a backup",
        path.display(),
        bad.position,
        bad.reason
    )
}

fn print(item: &Item, path: &Path, as_json: bool, out: &mut impl Write) -> io::Result<()> {
    let path = path.display().to_string();
    if as_json {
        let mut json = item.to_json();
        json["path"] = Value::from(path);
        return writeln!(out, "{json}");
    }
    writeln!(out, "{:<16} {path}", "path")?;
    item.print(out)
}

/// Reads one file of whatever kind it says it is. `flushed` is where the journal says that a
/// segment's blocks end, if that is known.
fn inspect_file(path: &Path, flushed: Option<u64>, wish: Wish) -> Result<Found, CommandError> {
    let file = read_file(path)?;
    Ok(match file.get(..8) {
        Some(b"SPATENOD") => node::inspect(&file),
        Some(b"SPATEMLG") => metadata::inspect_log(path, &file),
        Some(b"SPATESNP") => metadata::inspect_snapshot(path, &file),
        Some(b"SPATEFIL") if file.len() >= PAGE => match FileHead::decode(&file) {
            Ok(head) if head.kind == FileKind::Segment => {
                segment::inspect(&head, &file, flushed, wish)
            }
            Ok(head) => journal::inspect(&head, &file, wish),
            Err(error) => unreadable(&error.to_string()),
        },
        _ if path.file_name().is_some_and(|name| name == "node") => node::inspect(&file),
        _ => unreadable("no file of a data directory begins like this one"),
    })
}

fn unreadable(reason: &str) -> Found {
    let bad = Bad {
        position: 0,
        offsets: None,
        reason: reason.to_owned(),
    };
    Found {
        item: Item::new().with("kind", "unknown").with("error", reason),
        bad: vec![bad],
    }
}

/// The whole file, its last page filled up with zeros. Past the page cache where that can be done,
/// as the broker writes it: the cache need not know what is on the disk.
fn read_file(path: &Path) -> Result<Bytes, CommandError> {
    let failed = |error| CommandError::Io {
        what: format!("cannot read {}", path.display()),
        error,
    };
    let len = std::fs::metadata(path).map_err(failed)?.len() as usize;
    if !len.is_multiple_of(PAGE) || len == 0 {
        return Ok(std::fs::read(path).map_err(failed)?.into());
    }
    let read = async {
        let disk = StandardDisk::new();
        let file = disk.open(path, OpenMode::Read).await?;
        let (read, buf) = disk.read(&file, 0, disk.buffer(len)).await;
        read.map(|()| Bytes::from_owner(buf))
    };
    let read = read.now_or_never();
    read.unwrap_or_else(|| Err(io::Error::other("the plain disk waited")))
        .map_err(failed)
}
