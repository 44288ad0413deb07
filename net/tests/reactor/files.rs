//! Files of the reactor, on both backends.

use std::{io, time::Duration};

use spate_net::reactor::{
    File, FileOptions, Reactor, TcpListener, TcpStream,
    buffers::{DmaBuf, dma_buffer, registered_buffer},
    sleep, spawn, timeout, yield_now,
};

use crate::both::{BOTH, config, loopback, on_both, pattern};

const CREATE: FileOptions = FileOptions {
    write: true,
    create_len: Some(1 << 20),
    direct: true,
};

fn filled(mut buf: DmaBuf, seed: u32) -> DmaBuf {
    let bytes = pattern(buf.len(), seed);
    buf.copy_from_slice(&bytes);
    buf
}

#[test]
fn durable_direct_writes_read_back() {
    on_both(|reactor| {
        // Not /tmp, which may be a tmpfs without O_DIRECT.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("file");
        reactor.block_on(async {
            let file = File::open(&path, CREATE).await.unwrap();
            assert!(file.is_direct());
            assert_eq!(file.len().unwrap(), 1 << 20);
            let mut positions = Vec::new();
            for n in 0..16u32 {
                let buf = match registered_buffer(8192) {
                    Some(buf) if n % 2 == 0 => buf,
                    _ => dma_buffer(8192),
                };
                assert_eq!(buf.as_ptr() as usize % 4096, 0);
                let position = u64::from(15 - n) * 8192;
                let (outcome, _) = file.write(position, filled(buf, n), n % 3 > 0).await;
                outcome.unwrap();
                positions.push((position, n));
            }
            file.sync_data().await.unwrap();
            let reader = File::open(&path, FileOptions::default()).await.unwrap();
            for (position, n) in positions {
                let (outcome, buf) = reader.read(position, dma_buffer(8192)).await;
                outcome.unwrap();
                assert!(buf[..] == pattern(8192, n)[..], "block {n} differs");
            }
            let (outcome, _) = reader.read((1 << 20) - 4096, dma_buffer(8192)).await;
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            let (outcome, _) = reader.write(0, dma_buffer(4096), false).await;
            assert!(outcome.is_err(), "opened for reading only");
            let again = File::open(&path, CREATE).await.err().unwrap();
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        });
    });
}

#[test]
fn missing_file_is_not_found() {
    on_both(|reactor| {
        let missing = std::path::Path::new("/nonexistent/file");
        let opened = reactor.block_on(File::open(missing, FileOptions::default()));
        assert_eq!(opened.err().unwrap().kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn refused_direct_is_opened_buffered_and_says_so() {
    on_both(|reactor| {
        // procfs has no direct I/O on any kernel.
        let options = FileOptions {
            direct: true,
            ..FileOptions::default()
        };
        let file = reactor
            .block_on(File::open("/proc/self/status", options))
            .unwrap();
        assert!(!file.is_direct());
    });
}

#[test]
fn registered_buffers_come_back_from_any_thread() {
    let mut reactor = Reactor::new(&config(BOTH[0])).unwrap();
    reactor.block_on(async {
        let mut all: Vec<_> = (0..4).map(|_| registered_buffer(4096).unwrap()).collect();
        assert!(
            registered_buffer(4096).is_none(),
            "only four were configured"
        );
        let sent = all.pop().unwrap();
        std::thread::spawn(move || drop(sent)).join().unwrap();
        let back = registered_buffer(64 << 10).unwrap();
        assert!(back.is_registered());
        assert!(
            registered_buffer((64 << 10) + 1).is_none(),
            "larger than configured"
        );
    });
    assert_eq!(reactor.counters().fixed_writes, 0);
}

#[test]
fn writes_from_registered_buffers_are_fixed_writes() {
    let mut reactor = Reactor::new(&config(BOTH[0])).unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    reactor.block_on(async {
        let file = File::open(dir.path().join("file"), CREATE).await.unwrap();
        for n in 0..10u32 {
            let buf = filled(registered_buffer(4096).unwrap(), n);
            file.write(u64::from(n) * 4096, buf, true).await.0.unwrap();
        }
    });
    assert_eq!(reactor.counters().fixed_writes, 10);
}

#[test]
fn dropped_write_still_owns_its_buffer_and_file() {
    on_both(|reactor| {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("file");
        reactor.block_on(async {
            for round in 0..50u32 {
                let _ = std::fs::remove_file(&path);
                let file = File::open(&path, CREATE).await.unwrap();
                let buf = filled(
                    registered_buffer(64 << 10).unwrap_or_else(|| dma_buffer(65536)),
                    round,
                );
                let writing = spawn(async move { file.write(0, buf, true).await.0 });
                // Submitted, and given up: file and buffer belong to the operation alone.
                yield_now().await;
                writing.cancel();
                // Whoever takes the memory next must not be seen in the file.
                let mut next = dma_buffer(64 << 10);
                next.fill(0xff);
                let written = timeout(Duration::from_secs(10), async {
                    while std::fs::read(&path).unwrap()[..65536] != pattern(65536, round)[..] {
                        sleep(Duration::from_millis(1)).await;
                    }
                });
                written
                    .await
                    .unwrap_or_else(|_| panic!("round {round} was never written"));
            }
        });
    });
}

#[test]
fn dropping_the_reactor_waits_for_writes_in_flight() {
    for choice in BOTH {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("file");
        let mut reactor = Reactor::new(&config(choice)).unwrap();
        let (file, stream) = reactor.block_on(async {
            let file = File::open(&path, CREATE).await.unwrap();
            for n in 0..8u64 {
                let file = file.clone();
                let buf = filled(dma_buffer(128 << 10), n as u32);
                spawn(async move { file.write(n * (128 << 10), buf, true).await.0 }).detach();
            }
            // And operations that would never end by themselves.
            let listener = TcpListener::bind(loopback(), false).unwrap();
            let address = listener.local_addr().unwrap();
            let stream = TcpStream::connect(address).await.unwrap();
            let silent = stream.clone();
            spawn(async move { silent.receive().await.map(drop) }).detach();
            spawn(async move { while listener.accept().await.is_ok() {} }).detach();
            yield_now().await;
            yield_now().await;
            (file, stream)
        });
        let before = reactor.counters();
        drop(reactor);
        assert!(before.submissions >= before.completions || before.submissions == 0);
        // What outlives the reactor fails, and does not hang or crash.
        let mut other = Reactor::new(&config(choice)).unwrap();
        other.block_on(async {
            let late = timeout(Duration::from_secs(5), stream.receive())
                .await
                .unwrap();
            assert!(late.is_err() || late.unwrap().is_empty());
            if choice == BOTH[0] {
                assert!(file.sync_data().await.is_err());
            }
        });
    }
}

#[test]
fn file_that_ends_within_a_page_is_an_unexpected_end() {
    on_both(|reactor| {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, pattern(5000, 1)).unwrap();
        reactor.block_on(async {
            let options = FileOptions {
                direct: true,
                ..FileOptions::default()
            };
            let file = File::open(&path, options).await.unwrap();
            let (outcome, buf) = file.read(0, dma_buffer(8192)).await;
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            assert!(buf[..4096] == pattern(5000, 1)[..4096]);
        });
    });
}

#[test]
fn file_that_cannot_be_allocated_is_not_left_behind() {
    on_both(|reactor| {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("file");
        let options = FileOptions {
            create_len: Some(1 << 50),
            ..CREATE
        };
        let opened = reactor.block_on(File::open(&path, options));
        assert!(opened.is_err());
        assert!(!path.exists());
    });
}
