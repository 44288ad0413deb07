//! Data directories that a release has written, opened by this one: what is on people's disks must
//! stay readable. `scripts/golden` made them; `golden/*.tar.gz` are never made anew once released.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{path::Path, process::Command};

use running::Broker;

mod running;

const SPATE: &str = env!("CARGO_BIN_EXE_spate");

fn unpacked(name: &str) -> tempfile::TempDir {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.tar.gz"));
    let folder = tempfile::tempdir().unwrap();
    let tar = Command::new("tar")
        .arg("-xzf")
        .arg(&packed)
        .arg("-C")
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(tar.success(), "{}", packed.display());
    folder
}

/// What `scripts/golden` has written to a topic, as `spate consume` prints it.
fn expected(topic: &str) -> String {
    let (count, padding) = match topic {
        "golden-large" => (8, format!(" {}", "z".repeat(100_000))),
        _ => (300, String::new()),
    };
    (0..count)
        .map(|n| format!("key-{}={topic} record {n}{padding}\n", n % 7))
        .collect()
}

fn opens(name: &str) {
    let folder = unpacked(name);
    let verified = Command::new(SPATE)
        .args(["inspect", "--verify", "--data"])
        .arg(folder.path().join("spate-data"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success(), "{name}: {said}");
    let broker = Broker::start_in(folder, &[]);
    for topic in ["none", "gzip", "snappy", "lz4", "zstd", "large"] {
        let topic = format!("golden-{topic}");
        let read = Command::new(SPATE)
            .args([
                "consume",
                &topic,
                "--from",
                "beginning",
                "-e",
                "-f",
                "%k=%s\\n",
            ])
            .args(["--broker", &broker.address.to_string()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&read.stderr).into_owned();
        assert!(read.status.success(), "{name}, {topic}: {said}");
        let found = String::from_utf8(read.stdout).unwrap();
        assert!(found == expected(&topic), "{name}, {topic}: {:.300}", found);
    }
    let log = broker.log.lock().unwrap().clone();
    assert!(!log.contains("ERROR"), "{name}: {log}");
}

#[test]
fn a_data_directory_of_a_clean_stop_is_opened() {
    opens("clean");
}

#[test]
fn a_data_directory_of_a_killed_broker_is_opened() {
    opens("killed");
}
