//! What the kernel may refuse: locked memory.

use std::process::Command;

use spate_net::reactor::{
    Backend, File, FileOptions, Reactor, buffers::dma_buffer, buffers::registered_buffer,
};

use crate::both::{BOTH, config};

/// Set for the child that runs with hardly any lockable memory.
const CHILD: &str = "SPATE_TEST_WITHOUT_LOCKED_MEMORY";

/// Root is exempt from the limit unless it loses CAP_IPC_LOCK, so the body runs in a child that
/// has lost it.
#[test]
fn without_locked_memory_writes_are_plain_and_a_note_says_so() {
    if std::env::var_os(CHILD).is_some() {
        return write_without_locked_memory();
    }
    let body = "fallbacks::without_locked_memory_writes_are_plain_and_a_note_says_so";
    let child = Command::new("prlimit")
        .args([
            "--memlock=65536:65536",
            "setpriv",
            "--bounding-set",
            "-ipc_lock",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", body, "--nocapture"])
        .env(CHILD, "1")
        .output();
    let child = match child {
        Ok(child) => child,
        Err(error) => return println!("skipped: prlimit (util-linux) cannot run: {error}"),
    };
    let text = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    if errors.contains("setpriv:") {
        return println!("skipped: {errors}");
    }
    assert!(child.status.success(), "{text}\n{errors}");
}

fn write_without_locked_memory() {
    let mut reactor = Reactor::new(&config(BOTH[0])).unwrap();
    assert_eq!(reactor.backend(), Backend::IoUring);
    let note = reactor
        .notes()
        .iter()
        .find(|note| note.contains("locked memory"));
    assert!(
        note.is_some_and(|note| note.contains("ulimit -l")),
        "{:?}",
        reactor.notes()
    );
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    reactor.block_on(async {
        assert!(registered_buffer(4096).is_none());
        let options = FileOptions {
            write: true,
            create_len: Some(8192),
            direct: true,
        };
        let file = File::open(dir.path().join("file"), options).await.unwrap();
        let mut buf = dma_buffer(4096);
        buf.fill(3);
        file.write(4096, buf, true).await.0.unwrap();
        let (outcome, buf) = file.read(4096, dma_buffer(4096)).await;
        outcome.unwrap();
        assert!(buf.iter().all(|byte| *byte == 3));
    });
    assert_eq!(reactor.counters().fixed_writes, 0);
}
