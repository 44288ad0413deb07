//! The housekeeper where hardly any memory may be locked, as in many containers. A test binary of
//! its own: the limit is the whole process'.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, setrlimit};
use spate_storage::housekeeper::{Backend, Chores, Housekeeper, Job};
use spate_storage::space::Space;

#[test]
fn too_little_locked_memory_runs_on_a_plain_thread_and_says_why() {
    let limit = Rlimit {
        current: Some(64 << 10),
        maximum: Some(64 << 10),
    };
    setrlimit(Resource::Memlock, limit).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (sender, answers) = std::sync::mpsc::channel();
    let wake = Arc::new(move || sender.send(()).unwrap());
    let started = Housekeeper::start(dir.path().to_path_buf(), Space::default(), vec![wake], true);
    let (housekeeper, ends) = started.unwrap();
    assert_eq!(housekeeper.backend(), Backend::Thread);
    let note = housekeeper.note().unwrap();
    assert!(
        note.contains("65536") && note.contains("ulimit -l"),
        "{note}"
    );
    ends[0]
        .0
        .send(Job::Unlink {
            path: dir.path().join("x"),
        })
        .unwrap();
    answers.recv().unwrap();
    assert!(ends[0].1.has_answer());
}
