//! Who may use a data directory, whose it is, and its metadata: lock, `node`, the metadata log.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use spate_storage::{
    disk::{
        Disk, PAGE,
        simulated::{Crash, Fault, Operation, Simulation},
    },
    lock::{DataLock, LockError},
    metadata_log::{RecordLog, RecordLogError},
    node::{ClusterId, JournalSet, NodeError, NodeFile, NodeId, NodeState},
};
use uuid::Uuid;

const EIO: i32 = 5;

fn state() -> NodeState {
    NodeState {
        cluster: ClusterId(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)),
        node: NodeId::new(7).unwrap(),
        disk: Uuid::from_u128(42),
        journal_set: JournalSet(0),
    }
}

/// A simulation whose disk holds `/data/node` with journal set 1 in force.
fn node_with_set_1(seed: u64) -> Simulation {
    let sim = Simulation::new(seed);
    let disk = sim.disk();
    sim.block_on(async move {
        disk.create_dir(Path::new("/data")).await.unwrap();
        assert!(
            NodeFile::open(&disk, Path::new("/data"))
                .await
                .unwrap()
                .is_none()
        );
        let mut node = NodeFile::create(&disk, Path::new("/data"), state())
            .await
            .unwrap();
        node.commit(&disk, JournalSet(1)).await.unwrap();
    });
    sim
}

fn reopened(sim: &Simulation) -> Result<Option<NodeFile>, NodeError> {
    let disk = sim.disk();
    sim.block_on(async move { NodeFile::open(&disk, Path::new("/data")).await })
}

/// A start saw a file that was renamed and not synced, or a commit that was written and not
/// flushed, by a process that ended there; it went on from it, and a power cut took it back: `node`
/// was missing beside a whole journal, and no start got past that.
#[test]
fn what_a_start_has_seen_of_node_stays() {
    for seed in 0..60 {
        let sim = Simulation::new(seed);
        let disk = sim.disk();
        disk.inject(Fault::once(Operation::SyncDir, "/data", EIO));
        let created = sim.block_on(async move {
            disk.create_dir(Path::new("/data")).await.unwrap();
            NodeFile::create(&disk, Path::new("/data"), state()).await
        });
        assert!(created.is_err());
        assert!(reopened(&sim).unwrap().is_some());
        let sim = sim.crash(Crash::Power);
        assert!(reopened(&sim).unwrap().is_some(), "seed {seed}");

        let disk = sim.disk();
        let _commit = sim.spawn(async move {
            let node = NodeFile::open(&disk, Path::new("/data")).await;
            let mut node = node.unwrap().unwrap();
            node.commit(&disk, JournalSet(9)).await.unwrap();
        });
        sim.run_for(Duration::from_micros(seed * 100));
        let sim = sim.crash(Crash::Kill);
        sim.run_for(Duration::from_secs(4));
        let seen = *reopened(&sim).unwrap().unwrap().state();
        let kept = reopened(&sim.crash(Crash::Power)).unwrap().unwrap();
        assert_eq!(*kept.state(), seen, "seed {seed}");
    }
}

#[test]
fn s11_crash_during_the_commit_leaves_the_old_or_the_new_set() {
    let mut sets = Vec::new();
    for seed in 0..100 {
        let sim = node_with_set_1(seed);
        let disk = sim.disk();
        let _commit = sim.spawn(async move {
            let mut node = NodeFile::open(&disk, Path::new("/data"))
                .await
                .unwrap()
                .unwrap();
            node.commit(&disk, JournalSet(2)).await.unwrap();
        });
        sim.run_for(Duration::from_micros(seed * 60));
        let node = reopened(&sim.crash(Crash::Power)).unwrap().unwrap();
        assert_eq!(
            NodeState {
                journal_set: JournalSet(0),
                ..*node.state()
            },
            state()
        );
        sets.push(node.state().journal_set);
    }
    assert!(
        sets.iter()
            .all(|s| [JournalSet(1), JournalSet(2)].contains(s)),
        "{sets:?}"
    );
    assert!(sets.contains(&JournalSet(1)) && sets.contains(&JournalSet(2)));
}

#[test]
fn s11_one_damaged_slot_leaves_the_other_and_two_are_corruption() {
    let sim = node_with_set_1(3);
    sim.disk()
        .flip_bit(Path::new("/data/node"), PAGE as u64 + 30, 1);
    let mut node = reopened(&sim).unwrap().unwrap();
    assert_eq!(
        node.state().journal_set,
        JournalSet(0),
        "slot 0 is what is left"
    );
    let disk = sim.disk();
    let node = sim.block_on(async move {
        node.commit(&disk, JournalSet(5)).await.unwrap();
        node
    });
    assert_eq!(reopened(&sim).unwrap().unwrap().state(), node.state());
    for slot in [0, PAGE as u64] {
        sim.disk().flip_bit(Path::new("/data/node"), slot + 58, 0);
    }
    let error = reopened(&sim).unwrap_err();
    assert!(matches!(error, NodeError::Corrupt { .. }));
    assert!(error.to_string().contains("checksum: expected"), "{error}");
}

#[test]
fn s11_missing_node_file_beside_data_is_refused() {
    let sim = node_with_set_1(4);
    let disk = sim.disk();
    sim.block_on(async move {
        disk.create_dir(Path::new("/data/topics/x")).await.unwrap();
        disk.remove(Path::new("/data/node")).await.unwrap();
    });
    let error = reopened(&sim).unwrap_err();
    assert!(
        error.to_string().contains("restore the file from a backup"),
        "{error}"
    );
}

#[test]
fn failed_commit_is_an_error() {
    let sim = node_with_set_1(5);
    sim.disk().inject(Fault::once(Operation::Write, "node", 5));
    let disk = sim.disk();
    let failed = sim.block_on(async move {
        let mut node = NodeFile::open(&disk, Path::new("/data"))
            .await
            .unwrap()
            .unwrap();
        node.commit(&disk, JournalSet(2)).await
    });
    assert!(failed.is_err());
}

#[test]
fn cluster_id_looks_as_kafka_shows_it() {
    // java.util.Base64.getUrlEncoder().withoutPadding() of the same 16 bytes.
    assert_eq!(state().cluster.to_string(), "ASNFZ4mrze8BI0VniavN7w");
    assert_eq!(
        ClusterId(Uuid::from_u128(u128::MAX)).to_string(),
        "_____________________w"
    );
}

#[test]
fn s1_second_start_is_refused_with_the_pid_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = DataLock::acquire(dir.path(), Duration::from_secs(1)).unwrap();
    let second = DataLock::acquire(dir.path(), Duration::from_secs(1)).unwrap_err();
    assert!(
        second.to_string().contains(&std::process::id().to_string()),
        "{second}"
    );
    assert!(matches!(second, LockError::Running { .. }));
    drop(first);
    DataLock::acquire(dir.path(), Duration::ZERO).unwrap();
}

/// The lock of a dead process outlives it as long as anyone has its descriptor: here a child that
/// inherited it, as a ring would.
#[test]
fn s1_start_waits_for_the_writes_of_a_dead_holder() {
    let dir = tempfile::tempdir().unwrap();
    let mut dead = Command::new("true").stdout(Stdio::null()).spawn().unwrap();
    let pid = dead.id();
    dead.wait().unwrap();
    let path = dir.path().join("lock");
    fs::write(&path, format!("{pid} 1\n")).unwrap();
    let hold = |seconds: &str| {
        let mut child = Command::new("flock")
            .arg(&path)
            .args(["sleep", seconds])
            .spawn()
            .unwrap();
        while DataLock::acquire(dir.path(), Duration::ZERO).is_ok() {
            fs::write(&path, format!("{pid} 1\n")).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "flock(1) ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        child
    };
    let mut holder = hold("0.6");
    let start = Instant::now();
    let refused = DataLock::acquire(dir.path(), Duration::from_millis(50)).unwrap_err();
    assert!(
        matches!(refused, LockError::StillWriting { pid: p, .. } if p == pid),
        "{refused}"
    );
    let lock = DataLock::acquire(dir.path(), Duration::from_secs(20)).unwrap();
    assert!(start.elapsed() > Duration::from_millis(200));
    holder.wait().unwrap();
    drop(lock);
}

#[test]
fn metadata_survives_reopening_with_and_without_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, empty) = RecordLog::open(dir.path()).unwrap();
    assert_eq!(empty, Default::default());
    for record in ["a", "b", "c"] {
        log.append(record.as_bytes()).unwrap();
    }
    drop(log);
    let (mut log, contents) = RecordLog::open(dir.path()).unwrap();
    assert_eq!(contents.records, [b"a", b"b", b"c"]);
    log.snapshot(b"abc").unwrap();
    log.snapshot(b"abc").unwrap();
    assert_eq!(log.log_bytes(), 0);
    log.append(b"d").unwrap();
    drop(log);
    let (log, contents) = RecordLog::open(dir.path()).unwrap();
    assert_eq!(contents.snapshot.as_deref(), Some(&b"abc"[..]));
    assert_eq!(contents.records, [b"d"]);
    assert_eq!(log.last().0, 4);
}

/// The one log file of a directory.
fn log_file(dir: &Path) -> std::path::PathBuf {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == "log"))
        .unwrap()
}

#[test]
fn s17_torn_tail_is_cut_at_every_length() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = RecordLog::open(dir.path()).unwrap();
    log.append(b"kept").unwrap();
    let kept = fs::metadata(log_file(dir.path())).unwrap().len();
    log.append(b"torn record").unwrap();
    drop(log);
    let whole = fs::read(log_file(dir.path())).unwrap();
    for len in kept as usize..whole.len() {
        fs::write(log_file(dir.path()), &whole[..len]).unwrap();
        let (mut log, contents) = RecordLog::open(dir.path()).unwrap();
        assert_eq!(contents.records, [b"kept"], "cut at {len}");
        assert_eq!(contents.cut_bytes, len as u64 - kept);
        log.append(b"next").unwrap();
        drop(log);
        let (_, contents) = RecordLog::open(dir.path()).unwrap();
        assert_eq!(contents.records, [&b"kept"[..], b"next"]);
    }
}

#[test]
fn damage_before_a_good_record_is_corruption_with_file_and_position() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = RecordLog::open(dir.path()).unwrap();
    log.append(b"first").unwrap();
    log.append(b"second").unwrap();
    drop(log);
    let path = log_file(dir.path());
    let whole = fs::read(&path).unwrap();
    for position in 0..(32 + 24 + 5) {
        let mut bytes = whole.clone();
        bytes[position] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        let error = RecordLog::open(dir.path()).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, RecordLogError::Corrupt { .. }),
            "{position}: {text}"
        );
        assert!(
            text.contains(".log: at byte") && text.contains("restore"),
            "{text}"
        );
    }
}

#[test]
fn damaged_snapshot_is_corruption() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = RecordLog::open(dir.path()).unwrap();
    log.append(b"x").unwrap();
    log.snapshot(b"state").unwrap();
    drop(log);
    let path = dir.path().join("snapshot");
    let len = fs::metadata(&path).unwrap().len();
    for position in (0..len).filter(|p| !(12..16).contains(p)) {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, position).unwrap();
        file.write_all_at(&[byte[0] ^ 1], position).unwrap();
        assert!(RecordLog::open(dir.path()).is_err(), "byte {position}");
        file.write_all_at(&byte, position).unwrap();
    }
    RecordLog::open(dir.path()).unwrap();
}

/// Crashes between the steps of a snapshot: the snapshot is in place and the old log still is the
/// only one; both logs are there; unfinished files are left over.
#[test]
fn crash_in_the_middle_of_a_snapshot_loses_and_repeats_nothing() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut log, _) = RecordLog::open(old.path()).unwrap();
    log.append(b"a").unwrap();
    log.append(b"b").unwrap();
    let old_log = log_file(old.path());
    let old_bytes = fs::read(&old_log).unwrap();
    log.snapshot(b"ab").unwrap();
    drop(log);

    fs::copy(old.path().join("snapshot"), new.path().join("snapshot")).unwrap();
    fs::write(new.path().join(old_log.file_name().unwrap()), &old_bytes).unwrap();
    fs::write(new.path().join("00000000000000000003.new"), b"half").unwrap();
    let (mut log, contents) = RecordLog::open(new.path()).unwrap();
    assert_eq!(
        (contents.snapshot.unwrap(), contents.records.len()),
        (b"ab".to_vec(), 0)
    );
    assert_eq!(log.append(b"c").unwrap().0, 3);

    fs::write(&old_log, &old_bytes).unwrap();
    let (log, contents) = RecordLog::open(old.path()).unwrap();
    assert_eq!((log.last().0, contents.records.len()), (2, 0));
    assert!(
        !old_log.exists(),
        "the log that the snapshot covers is removed"
    );

    fs::remove_file(log_file(old.path())).unwrap();
    let error = RecordLog::open(old.path()).unwrap_err();
    assert!(
        matches!(error, RecordLogError::Missing { sequence: 2, .. }),
        "{error}"
    );
}
