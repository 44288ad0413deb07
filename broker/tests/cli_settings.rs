//! The binary's settings and mistakes in them, as someone at a terminal meets them. No broker runs.

use std::process::{Command, Output};

fn spate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spate"));
    command.env_clear().args(arguments);
    command.output().expect("the binary runs")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn config_shows_every_setting_with_who_gave_it() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "[log.retention]\nms = 5000\n").expect("written");
    let path = file.path().to_str().expect("a plain path");
    let output = Command::new(env!("CARGO_BIN_EXE_spate"))
        .env_clear()
        .env("SPATE_NUM_PARTITIONS", "7")
        .args([
            "config", "--config", path, "--listen", "[::1]:9", "--set", "shards=3",
        ])
        .output()
        .expect("the binary runs");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", told(&output));
    for line in [
        "num.partitions = 7",
        "log.retention.ms = 5000",
        "listeners = \"[::1]:9\"",
        "shards = 3",
        "message.max.bytes = 1048588",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} is not in\n{shown}"
        );
    }
    assert!(shown.contains("given by environment variable SPATE_NUM_PARTITIONS"));
    assert!(shown.contains(&format!("given by {path}")));
}

#[test]
fn each_mistake_is_named_with_its_remedy() {
    for (arguments, expected) in [
        (
            &["serve", "--set", "num.partitons=3"][..],
            "did you mean num.partitions?",
        ),
        (
            &["serve", "--set", "num.partitions"],
            "write --set KEY=VALUE",
        ),
        (
            &["serve", "--shards", "many"],
            "--shards: shards = \"many\" is not a whole number",
        ),
        (
            &["serve", "--reactor", "kqueue"],
            "is not one of: auto, io_uring, epoll",
        ),
        (&["serve", "--listen", "9092"], "HOST:PORT"),
        (
            &["serve", "--config", "/nowhere.toml"],
            "cannot read the settings file /nowhere.toml",
        ),
        (
            &[
                "serve",
                "--set",
                "message.max.bytes=30000000",
                "--set",
                "memory.fetch.bytes=2000000",
            ],
            "above memory.fetch.bytes",
        ),
        (
            &["serve", "--set", "log.level=a=b=c"],
            "log.level = \"a=b=c\" is not understood",
        ),
        (
            &["config", "--set", "retention.ms=1"],
            "did you mean log.retention.ms?",
        ),
        (
            &["stats", "--data", "/nowhere"],
            "no broker runs on the data directory /nowhere",
        ),
    ] {
        let output = spate(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(
            told(&output).contains(expected),
            "{arguments:?}: {}",
            told(&output)
        );
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let script = format!("{} config | head -1", env!("CARGO_BIN_EXE_spate"));
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c", &script])
        .output();
    let output = output.expect("bash runs");
    assert!(
        output.status.success() && told(&output).is_empty(),
        "{}",
        told(&output)
    );
}
