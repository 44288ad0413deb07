//! What the kernel may refuse: locked memory, descriptors, io_uring itself. The refusals concern a
//! whole process, so each body runs in a child: this test binary again, with one test.

use std::{
    net::TcpStream,
    process::{Command, Output},
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use spate_net::reactor::{
    Backend, File, FileOptions, Reactor, ReactorChoice, ReactorError, TcpListener,
    buffers::{dma_buffer, registered_buffer},
    sleep, spawn, timeout,
};

use crate::both::{BOTH, config, loopback};

/// Set in the child.
const CHILD: &str = "SPATE_TEST_CHILD";

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs the test `body` in a child started through `launcher`; `None` if that is not installed.
fn run_in_child(launcher: &[&str], body: &str) -> Option<Output> {
    let binary = std::env::current_exe().unwrap();
    let mut command = match launcher {
        [] => Command::new(&binary),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&binary);
            command
        }
    };
    let child = command
        .args(["--exact", body, "--nocapture"])
        .env(CHILD, "1")
        .output();
    child
        .inspect_err(|error| println!("skipped: {launcher:?} cannot run: {error}"))
        .ok()
}

fn assert_success(child: &Output) {
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{output}\n{errors}");
    assert!(output.contains("1 passed"), "{output}\n{errors}");
}

/// Root is exempt from the limit unless it loses CAP_IPC_LOCK.
#[test]
fn without_locked_memory_writes_are_plain_and_a_note_says_so() {
    if is_child() {
        return write_without_locked_memory();
    }
    let launcher = [
        "prlimit",
        "--memlock=65536:65536",
        "setpriv",
        "--bounding-set",
        "-ipc_lock",
    ];
    let body = "fallbacks::without_locked_memory_writes_are_plain_and_a_note_says_so";
    let Some(child) = run_in_child(&launcher, body) else {
        return;
    };
    if String::from_utf8_lossy(&child.stderr).contains("setpriv:") {
        return println!("skipped: setpriv cannot drop the capability");
    }
    assert_success(&child);
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

/// Refuses one system call with EPERM, as containers' default seccomp profiles do, then becomes
/// the rest of the command line.
const REFUSING: &str = r#"
import ctypes, os, struct, sys
refused = int(sys.argv[1])
program = b"".join(struct.pack("HBBI", *step) for step in [
    (0x20, 0, 0, 0), (0x15, 0, 1, refused), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)])
steps = ctypes.create_string_buffer(program)
filter = ctypes.create_string_buffer(
    struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(steps)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filter, 0, 0):
    sys.exit("cannot filter")
os.execv(sys.argv[2], sys.argv[2:])
"#;

#[test]
fn without_io_uring_auto_serves_on_epoll_and_says_why() {
    if is_child() {
        return serve_without_io_uring();
    }
    let body = "fallbacks::without_io_uring_auto_serves_on_epoll_and_says_why";
    // io_uring_setup, and a filter that only refuses io_uring_enter.
    for call in ["425", "426"] {
        let Some(child) = run_in_child(&["python3", "-c", REFUSING, call], body) else {
            return;
        };
        assert_success(&child);
    }
}

fn serve_without_io_uring() {
    let Err(error) = Reactor::new(&config(ReactorChoice::IoUring)) else {
        panic!("io_uring is there")
    };
    assert!(matches!(error, ReactorError::RingRefused { .. }));
    assert!(error.to_string().contains("seccomp"), "{error}");
    let mut reactor = Reactor::new(&config(ReactorChoice::Auto)).unwrap();
    assert_eq!(reactor.backend(), Backend::Epoll);
    assert_eq!(reactor.notes().len(), 1);
    assert!(
        reactor.notes()[0].contains("io_uring is not available"),
        "{:?}",
        reactor.notes()
    );
    assert!(
        reactor.notes()[0].contains("seccomp"),
        "{:?}",
        reactor.notes()
    );
    reactor.block_on(async {
        let listener = TcpListener::bind(loopback(), false).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        stream.send(vec!["hello".into()]).await.unwrap();
    });
}

#[test]
fn accept_waits_until_there_are_descriptors_again() {
    if is_child() {
        return BOTH.into_iter().for_each(accept_without_descriptors);
    }
    let body = "fallbacks::accept_waits_until_there_are_descriptors_again";
    let child = run_in_child(&[], body).unwrap();
    assert_success(&child);
}

fn accept_without_descriptors(choice: ReactorChoice) {
    let limit = Rlimit {
        current: Some(100),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut reactor = Reactor::new(&config(choice)).unwrap();
    let before = reactor.counters();
    let turns_waiting = reactor.block_on(async {
        let listener = TcpListener::bind(loopback(), false).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let hoard: Vec<_> = std::iter::from_fn(|| client.try_clone().ok()).collect();
        assert!(hoard.len() > 50);
        let accepting = spawn(async move { listener.accept().await.map(drop) });
        let began = Instant::now();
        sleep(Duration::from_millis(300)).await;
        drop(hoard);
        timeout(Duration::from_secs(10), accepting)
            .await
            .unwrap()
            .unwrap();
        began.elapsed()
    });
    let turns = reactor.counters().turns - before.turns;
    assert!(turns < 50, "{turns} turns in {turns_waiting:?}: it spins");
}
