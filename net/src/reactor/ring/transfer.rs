//! Disk operations: reads, writes and flushes that own buffer and file until they complete.
//!
//! None is cancelled when its future is dropped: a write that was begun is better finished.

use std::{io, os::fd::OwnedFd, path::Path, rc::Rc};

use super::{
    Ring,
    request::{Request, Transfer, own_descriptor},
};
use crate::reactor::{buffers::DmaBuf, file::path_to_c};

impl Ring {
    fn transfer(&self, file: &Rc<OwnedFd>, position: u64, buf: DmaBuf) -> Transfer {
        let registered = self.pool().is_some_and(|pool| buf.is_from(pool));
        Transfer {
            file: Rc::clone(file),
            position,
            buf,
            done: 0,
            registered,
        }
    }
}

/// Fills `buf` from `position`.
pub(crate) async fn read(
    ring: &Rc<Ring>,
    file: &Rc<OwnedFd>,
    position: u64,
    buf: DmaBuf,
) -> (io::Result<()>, DmaBuf) {
    let mut transfer = ring.transfer(file, position, buf);
    while transfer.done < transfer.buf.len() {
        let (result, request) = ring.run(Request::Read(transfer), false).await;
        let Request::Read(back) = request else {
            unreachable!("a request comes back as it went")
        };
        transfer = back;
        match moved(result) {
            Ok(Some(0)) => return (Err(io::ErrorKind::UnexpectedEof.into()), transfer.buf),
            Ok(n) => transfer.done += n.unwrap_or(0),
            Err(error) => return (Err(error), transfer.buf),
        }
    }
    (Ok(()), transfer.buf)
}

/// Writes all of `buf` at `position`; durably if `flush`.
pub(crate) async fn write(
    ring: &Rc<Ring>,
    file: &Rc<OwnedFd>,
    position: u64,
    buf: DmaBuf,
    flush: bool,
) -> (io::Result<()>, DmaBuf) {
    let mut transfer = ring.transfer(file, position, buf);
    while transfer.done < transfer.buf.len() {
        ring.tally()
            .fixed_writes
            .add(u64::from(transfer.registered));
        let (result, request) = ring.run(Request::Write { transfer, flush }, false).await;
        let Request::Write { transfer: back, .. } = request else {
            unreachable!("a request comes back as it went")
        };
        transfer = back;
        match moved(result) {
            Ok(Some(0)) => return (Err(io::ErrorKind::WriteZero.into()), transfer.buf),
            Ok(n) => transfer.done += n.unwrap_or(0),
            Err(error) => return (Err(error), transfer.buf),
        }
    }
    (Ok(()), transfer.buf)
}

/// `None` if the kernel only asks to try again.
fn moved(result: i32) -> io::Result<Option<usize>> {
    match result {
        n if n >= 0 => Ok(Some(n as usize)),
        n if n == -libc::EINTR || n == -libc::EAGAIN => Ok(None),
        n => Err(io::Error::from_raw_os_error(-n)),
    }
}

/// `fdatasync`.
pub(crate) async fn sync_data(ring: &Rc<Ring>, file: &Rc<OwnedFd>) -> io::Result<()> {
    let (result, _) = ring
        .run(
            Request::Sync {
                file: Rc::clone(file),
            },
            false,
        )
        .await;
    done(result).map(drop)
}

/// Opens `path` with `flags` of `open(2)`.
pub(crate) async fn open(ring: &Rc<Ring>, path: &Path, flags: i32) -> io::Result<Rc<OwnedFd>> {
    let request = Request::Open {
        path: path_to_c(path)?,
        flags,
    };
    let (result, _) = ring.run(request, false).await;
    Ok(Rc::new(own_descriptor(done(result)?)))
}

/// Allocates the blocks of a new file.
pub(crate) async fn allocate(ring: &Rc<Ring>, file: &Rc<OwnedFd>, len: u64) -> io::Result<()> {
    let (result, _) = ring
        .run(
            Request::Allocate {
                file: Rc::clone(file),
                len,
            },
            false,
        )
        .await;
    done(result).map(drop)
}

fn done(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::from_raw_os_error(-result))
    } else {
        Ok(result)
    }
}
