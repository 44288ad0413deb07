//! The probe on whatever disk the tests run on: every part gives numbers and leaves no file.

use std::process::Command;

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_spate-bench");

#[test]
fn every_part_gives_numbers_and_the_file_goes() {
    let dir = format!(
        "{}/probe-{}",
        env!("CARGO_TARGET_TMPDIR"),
        std::process::id()
    );
    std::fs::create_dir_all(&dir).expect("a fresh directory");
    let flags = "probe --json --file-mib 8 --duration 300ms --sizes-kib 4,64 --depths 1 --dir";
    let output = Command::new(PROGRAM)
        .args(flags.split(' '))
        .arg(&dir)
        .output()
        .expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let found: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let points = found["disk"].as_array().expect("a list");
    assert_eq!(points.len(), 2);
    for point in points {
        let rate = point["writes_per_s"].as_f64().expect("a number");
        let bytes = point["bytes_per_s"].as_f64().expect("a number");
        let size = point["write_bytes"].as_f64().expect("a number");
        assert!((bytes - rate * size).abs() <= 1.0, "{point}");
    }
    for part in ["loopback", "jitter", "reach"] {
        assert!(found[part].is_object(), "{part} is missing: {found}");
    }
    let left = std::fs::read_dir(&dir).expect("it is there").count();
    assert_eq!(left, 0, "files are left in {dir}");
    std::fs::remove_dir(&dir).expect("it is empty");
}
