//! From a run against the floor to its results file, its interval log, limits, a saturation and the
//! page: everything that one command writes is read by the next.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

mod fixture;

use fixture::{Floor, PROGRAM};

/// A directory that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("results-{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a fresh directory");
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("it is text").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The next run has another number: litter only.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a subcommand against a floor.
fn bench_at(floor: &Floor, flags: &str, more: &[&str]) -> Output {
    let (subcommand, flags) = flags.split_once(' ').expect("a subcommand and flags");
    bench(
        &[
            &[subcommand, "--broker", &floor.address],
            &words(flags)[..],
            more,
        ]
        .concat(),
    )
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn bench(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What the driver can do at most is measured against this: it must answer everything, and write
/// nothing.
#[test]
fn an_acceptor_that_discards_answers_all_the_same() {
    let floor = Floor::with(&["--discard"]);
    let pid = floor.process.id().to_string();
    for batch in ["--batch-records 128", "--batch-records 1"] {
        let flags = format!(
            "run --json --rate max --producers 2 --in-flight 8 --idempotent {batch} --warm-up 0s \
             --duration 500ms --broker-pid"
        );
        let ran = bench_at(&floor, &flags, &[&pid]);
        assert!(ran.status.success(), "{}", stderr(&ran));
        let result: Value = serde_json::from_slice(&ran.stdout).expect("it is JSON");
        let produced = &result["produced"];
        assert!(produced["records"].as_u64() > Some(1_000), "{produced}");
        assert_eq!(
            (&produced["refused"], &produced["unanswered"]),
            (&0.into(), &0.into())
        );
        assert_eq!(result["broker_usage"]["written_bytes"], 0, "{result}");
    }
}

#[test]
fn a_run_is_kept_whole_and_becomes_a_page() {
    let (floor, folder) = (Floor::start(), Folder::new("page"));
    let flags = "run --rate 1000 --producers 4 --warm-up 200ms --duration 2s --label tiny --out";
    let ran = bench_at(&floor, flags, &[&folder.path("")]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(
        !stderr(&ran).contains("records/s"),
        "no terminal, no live line: {}",
        stderr(&ran)
    );

    let result: Value = serde_json::from_str(&read(&folder.path("tiny.json"))).expect("JSON");
    assert_eq!(result["format"], "spate-bench result 1");
    assert_eq!(result["streams"]["produce"]["summary"]["count"], 2_000);
    assert_eq!(result["scenario"]["producers"], 4);
    let seconds = result["per_second"].as_array().expect("a list");
    let records = |second: &Value| second["produced_records"].as_u64().expect("a number");
    let sum: u64 = seconds.iter().map(records).sum();
    assert_eq!(Some(sum), result["produced"]["records"].as_u64());
    assert!(read(&folder.path("tiny.hlog")).contains("Tag=produce,"));

    // The log alone, and twice the result, as if from two machines.
    let page = folder.path("merged.html");
    let inputs = [folder.path("tiny.json"), folder.path("tiny.hlog")];
    let reported = bench(&["report", "--merge", &inputs[0], &inputs[1], "-o", &page]);
    assert!(reported.status.success(), "{}", stderr(&reported));
    let html = read(&page);
    assert!(
        html.contains("<svg") && html.contains("2 load machines"),
        "{}",
        &html[..400]
    );
    // Both were measured for two seconds: half of their sum a second.
    let each_second = sum.to_string();
    let (thousands, rest) = each_second.split_at(each_second.len().saturating_sub(3));
    let cell = match thousands {
        "" => format!("<td>{rest}</td>"),
        _ => format!("<td>{thousands},{rest}</td>"),
    };
    assert!(html.contains(&cell), "no {cell}: rates do not add up");
}

#[test]
fn limits_have_an_exit_code_of_their_own() {
    let floor = Floor::start();
    let flags = "run --rate 500 --warm-up 100ms --duration 500ms --fail-if";
    let fine = bench_at(&floor, flags, &["errors > 0", "--fail-if", "rate < 1"]);
    assert_eq!(fine.status.code(), Some(0), "{}", stderr(&fine));
    let broken = bench_at(&floor, flags, &["p50 > 1ns"]);
    assert_eq!(broken.status.code(), Some(3), "{}", stderr(&broken));
    assert!(
        stderr(&broken).contains("--fail-if 'p50 > 1ns': it is"),
        "{}",
        stderr(&broken)
    );
    let missing = bench_at(&floor, flags, &["e2e p99 > 1s"]);
    assert_eq!(
        missing.status.code(),
        Some(3),
        "a number that is not there is no pass"
    );
    let nonsense = bench_at(&floor, flags, &["fast"]);
    assert_eq!(nonsense.status.code(), Some(2), "{}", stderr(&nonsense));
}

#[test]
fn a_saturation_ends_with_a_verdict_and_becomes_a_page() {
    let (floor, folder) = (Floor::start(), Folder::new("saturate"));
    let (json, page) = (folder.path("found.json"), folder.path("page.html"));
    let flags = "saturate --bound 30s --from-rate 200 --to-rate 400 --repeats 2 --warm-up 100ms \
                 --duration 500ms --producers 4 --out";
    let found = bench_at(&floor, flags, &[&json]);
    assert!(found.status.success(), "{}", stderr(&found));
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    // No machine misses 30 s: both searches end at the highest rate that was allowed.
    assert!(
        said.contains("up to 400 records/s (searches: 400, 400)"),
        "{said}"
    );
    let reported = bench(&["report", &json, "-o", &page]);
    assert!(reported.status.success(), "{}", stderr(&reported));
    assert!(read(&page).contains("Latency over rate"));
    let foreign = bench(&["report", &folder.path("page.html"), "-o", &page]);
    assert!(stderr(&foreign).contains("give files that spate-bench wrote"));
}

#[test]
fn settings_of_one_broker_are_compared_with_a_verdict() {
    let (floor, folder) = (Floor::start(), Folder::new("compare"));
    let (json, page) = (folder.path("compared.json"), folder.path("page.html"));
    let brokers =
        ["one", "two"].map(|name| format!("{name}={},max.message.bytes=1", floor.address));
    let mut arguments = words(
        "compare --only 1 --rounds 3 --duration 300ms --warm-up 100ms --prime 100ms --settle 0s",
    );
    for broker in &brokers {
        arguments.extend(["--broker", broker]);
    }
    arguments.extend(["--out", &json]);
    let compared = bench(&arguments);
    assert!(compared.status.success(), "{}", stderr(&compared));
    let said = String::from_utf8_lossy(&compared.stdout).into_owned();
    assert!(said.contains("verdict one : two   records/s "), "{said}");
    let value: Value = serde_json::from_str(&read(&json)).expect("JSON");
    assert_eq!(value["rounds"].as_array().map(Vec::len), Some(6));
    let reported = bench(&["report", &json, "-o", &page]);
    assert!(reported.status.success(), "{}", stderr(&reported));
    assert!(read(&page).contains("one beside two"));
}

#[test]
fn brokers_are_compared_on_scenarios_of_files() {
    let (floor, folder) = (Floor::start(), Folder::new("scenarios"));
    let brokers = ["one", "two"].map(|name| format!("{name}={}", floor.address));
    let mut arguments = words("compare --rounds 1 --warm-up 100ms --prime 100ms --settle 0s");
    for broker in &brokers {
        arguments.extend(["--broker", broker]);
    }
    let paths = ["steady", "keyed"].map(|name| folder.path(&format!("{name}.toml")));
    let steady = "question = 'How long?'\nproducers = 2\nrate = 2000\nduration = '300ms'\n";
    std::fs::write(&paths[0], steady).expect("the folder is ours");
    let keyed = "producers = 2\npartitions = 4\nkeys = 'zipf'\ncodec = 'lz4'\nduration = '200ms'\n";
    std::fs::write(&paths[1], keyed).expect("the folder is ours");
    for path in &paths {
        arguments.extend(["--scenario", path]);
    }
    let compared = bench(&arguments);
    assert!(compared.status.success(), "{}", stderr(&compared));
    let said = String::from_utf8_lossy(&compared.stdout).into_owned();
    assert!(said.contains("1. steady: How long?"), "{said}");
    assert!(said.contains("open loop; 0.3 s after 0.1 s"), "{said}");
    assert!(said.contains("2. keyed\n"), "{said}");
    assert!(said.contains("zipf keys, lz4; 0.2 s after 0.1 s"), "{said}");
    assert!(
        said.contains("CPU us/record") && said.contains("CPU s/GB"),
        "{said}"
    );

    std::fs::write(&paths[0], "rats = 5").expect("the folder is ours");
    let refused = bench(&arguments);
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("--rats"), "{}", stderr(&refused));
}
