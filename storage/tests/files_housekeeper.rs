//! The housekeeper: its jobs under crashes on the simulated disk, and its thread on the real one.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "files/mod.rs"]
mod files;

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use spate_storage::{
    disk::{
        Disk, OpenMode, PAGE,
        simulated::{Crash, Fault, Operation, SimulatedDisk, Simulation},
    },
    hash::Incarnation,
    housekeeper::{Backend, Chores, Done, Housekeeper, JOBS_MAX, Job, Keeper, WakeShard},
    pool::{FileHead, PreparedFile, SizeClass},
    space::Space,
    types::TopicId,
};

const DATA: &str = "/data";

fn keeper(sim: &Simulation) -> Rc<Keeper<SimulatedDisk>> {
    let next = Cell::new(sim.random_below(u64::MAX));
    let incarnations = Box::new(move || {
        next.set(next.get() + 1);
        Incarnation(next.get())
    });
    Rc::new(Keeper::new(sim.disk(), PathBuf::from(DATA), incarnations))
}

fn run(sim: &Simulation, keeper: &Rc<Keeper<SimulatedDisk>>, job: Job) -> Done {
    let keeper = Rc::clone(keeper);
    sim.block_on(async move { keeper.run(job).await })
}

fn segment_of(done: Done) -> PreparedFile {
    match done {
        Done::Segment(file) | Done::Journal(file) | Done::Placed(file) => file,
        other => panic!("{other:?}"),
    }
}

fn head(disk: &SimulatedDisk, path: &Path) -> Option<FileHead> {
    FileHead::decode(&disk.peek(path, 0, PAGE)?).ok()
}

/// Whether the file is there with the head and length it was handed out with.
fn is_whole(disk: &SimulatedDisk, file: &PreparedFile) -> bool {
    let len = disk
        .files()
        .into_iter()
        .find(|(path, _)| *path == file.path)
        .map(|(_, len)| len);
    len == Some(file.len)
        && head(disk, &file.path).is_some_and(|h| h.incarnation == file.incarnation)
}

#[test]
fn s7_file_is_handed_out_only_when_a_crash_cannot_take_it_back() {
    for seed in 0..60 {
        let sim = Simulation::new(seed);
        let keeper = keeper(&sim);
        let class = SizeClass::ALL[seed as usize % 2];
        let segment = segment_of(run(&sim, &keeper, Job::PrepareSegment { class }));
        let path = PathBuf::from("/data/journal/1/0/0");
        let len = 1 << 20;
        let journal = segment_of(run(&sim, &keeper, Job::PrepareJournal { path, len }));
        let target = PathBuf::from("/data/topics/t/0/0-0-0.seg");
        let disk = sim.crash(Crash::Power).disk();
        assert!(is_whole(&disk, &segment), "seed {seed}: {segment:?}");
        assert!(is_whole(&disk, &journal), "seed {seed}: {journal:?}");
        assert!(disk.peek(&target, 0, 1).is_none());
        let zeros = disk
            .peek(&journal.path, PAGE as u64, len as usize - PAGE)
            .unwrap();
        assert!(
            zeros.iter().all(|&byte| byte == 0),
            "journals are zero-filled"
        );
    }
}

#[test]
fn s7_placed_file_stays_placed_and_is_never_lost_on_the_way() {
    for seed in 0..100 {
        let sim = Simulation::new(seed);
        let keeper = keeper(&sim);
        let class = SizeClass::K64;
        let file = segment_of(run(&sim, &keeper, Job::PrepareSegment { class }));
        let target = PathBuf::from("/data/topics/t/0/0-0-0.seg");
        let place = Job::Place {
            file: file.clone(),
            target: target.clone(),
        };
        let placed = PreparedFile {
            path: target,
            ..file.clone()
        };
        if seed % 2 == 0 {
            assert_eq!(segment_of(run(&sim, &keeper, place)), placed);
            assert!(is_whole(&sim.crash(Crash::Power).disk(), &placed));
        } else {
            let keeper = Rc::clone(&keeper);
            let _running = sim.spawn(async move { keeper.run(place).await });
            sim.run_for(Duration::from_micros(seed * 80));
            let disk = sim.crash(Crash::Power).disk();
            assert!(
                is_whole(&disk, &placed) || is_whole(&disk, &file),
                "seed {seed}: lost"
            );
        }
    }
}

#[test]
fn s1_what_a_killed_housekeeper_left_is_unlinked_and_late_writes_hit_nothing() {
    for seed in 0..40 {
        let sim = Simulation::new(seed);
        let keeper_before = keeper(&sim);
        let job = Job::PrepareSegment {
            class: SizeClass::M1,
        };
        let _running = sim.spawn(async move { keeper_before.run(job).await });
        sim.run_for(Duration::from_micros(seed * 100));
        let sim = sim.crash(Crash::Kill);
        let keeper = keeper(&sim);
        let started = Rc::clone(&keeper);
        sim.block_on(async move { started.start().await }).unwrap();
        assert_eq!(sim.disk().files(), []);
        let class = SizeClass::M1;
        let fresh = segment_of(run(&sim, &keeper, Job::PrepareSegment { class }));
        sim.run_for(Duration::from_secs(5));
        assert_eq!(sim.disk().files().len(), 1);
        assert!(is_whole(&sim.disk(), &fresh));
        let rest = sim
            .disk()
            .peek(&fresh.path, PAGE as u64, (1 << 20) - PAGE)
            .unwrap();
        assert!(
            rest.iter().all(|&byte| byte == 0),
            "a late write landed in a new file"
        );
    }
}

#[test]
fn s7_recycled_file_comes_back_under_another_incarnation() {
    let sim = Simulation::new(1);
    let keeper = keeper(&sim);
    let class = SizeClass::M8;
    let file = segment_of(run(&sim, &keeper, Job::PrepareSegment { class }));
    let target = PathBuf::from("/data/topics/t/0/0-0-0.seg");
    let place = Job::Place {
        file: file.clone(),
        target: target.clone(),
    };
    segment_of(run(&sim, &keeper, place));
    let done = run(
        &sim,
        &keeper,
        Job::Recycle {
            path: target.clone(),
            class,
        },
    );
    assert!(matches!(done, Done::Recycled(path) if path == target));
    assert!(sim.disk().peek(&target, 0, 1).is_none());
    let again = segment_of(run(&sim, &keeper, Job::PrepareSegment { class }));
    assert_ne!(again.incarnation, file.incarnation);
    assert_eq!(sim.disk().files().len(), 1, "the same file");
    assert!(is_whole(&sim.crash(Crash::Power).disk(), &again));
}

#[test]
fn file_that_went_with_its_topic_is_not_taken_back() {
    let sim = Simulation::new(1);
    let path = PathBuf::from("/data/topics/t/0/0-0-0.seg");
    let class = SizeClass::K64;
    let done = run(&sim, &keeper(&sim), Job::Recycle { path, class });
    assert!(matches!(done, Done::Recycled(_)), "{done:?}");
}

#[test]
fn s9_renewed_journal_has_another_incarnation_in_the_same_place() {
    let sim = Simulation::new(2);
    let keeper = keeper(&sim);
    let path = PathBuf::from("/data/journal/1/0/0");
    let job = Job::PrepareJournal {
        path: path.clone(),
        len: 1 << 20,
    };
    let first = segment_of(run(&sim, &keeper, job));
    let second = segment_of(run(&sim, &keeper, Job::RenewJournal { path }));
    assert_eq!(
        PreparedFile {
            incarnation: second.incarnation,
            ..first.clone()
        },
        second
    );
    assert_ne!(first.incarnation, second.incarnation);
    assert!(is_whole(&sim.crash(Crash::Power).disk(), &second));
}

#[test]
fn removed_topic_and_unlinked_file_stay_gone() {
    for seed in 0..20 {
        let sim = Simulation::new(seed);
        let keeper = keeper(&sim);
        let topic = TopicId([9; 16]);
        let dir = PathBuf::from(DATA).join("topics").join(topic.to_string());
        for target in [
            dir.join("0/0-0-0.seg"),
            dir.join("1/0-0-0.seg"),
            "/data/x/f".into(),
        ] {
            let class = SizeClass::K64;
            let file = segment_of(run(&sim, &keeper, Job::PrepareSegment { class }));
            segment_of(run(&sim, &keeper, Job::Place { file, target }));
        }
        assert!(matches!(
            run(&sim, &keeper, Job::RemoveTopic { topic }),
            Done::TopicRemoved(t) if t == topic
        ));
        let path = PathBuf::from("/data/x/f");
        let done = run(&sim, &keeper, Job::Unlink { path: path.clone() });
        assert!(matches!(done, Done::Unlinked(p) if p == path));
        let again = run(&sim, &keeper, Job::Unlink { path });
        assert!(
            matches!(again, Done::Unlinked(_)),
            "a file that is gone is unlinked"
        );
        assert_eq!(sim.crash(Crash::Power).disk().files(), []);
    }
}

#[test]
fn s10_failure_is_answered_and_hands_nothing_out() {
    let sim = Simulation::new(3);
    let keeper = keeper(&sim);
    let job = Job::PrepareSegment {
        class: SizeClass::M1,
    };
    for operation in [
        Operation::Open,
        Operation::Write,
        Operation::Sync,
        Operation::SyncDir,
    ] {
        sim.disk().inject(Fault::once(operation, "pool", 5));
        let done = run(&sim, &keeper, job.clone());
        let Done::Failed { job: failed, error } = done else {
            panic!("{operation:?}: {done:?}")
        };
        assert_eq!((failed, error.raw_os_error()), (job.clone(), Some(5)));
        assert_eq!(
            sim.disk().files(),
            [],
            "{operation:?} left a half-made file"
        );
    }
    sim.disk().limit_space(PAGE as u64);
    let job = Job::PrepareSegment {
        class: SizeClass::M32,
    };
    let Done::Failed { error, .. } = run(&sim, &keeper, job) else {
        panic!("no space")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn stock_grows_with_demand_and_idle_makes_none() {
    let sim = Simulation::new(4);
    let keeper = keeper(&sim);
    let restock = |class| {
        let keeper = Rc::clone(&keeper);
        sim.block_on(async move {
            let mut made = 0;
            while keeper.restock(class).await {
                made += 1;
            }
            made
        })
    };
    let take = |times| {
        for _ in 0..times {
            segment_of(run(
                &sim,
                &keeper,
                Job::PrepareSegment {
                    class: SizeClass::K64,
                },
            ));
        }
    };
    assert_eq!(restock(SizeClass::K64), 0, "nobody asked");
    take(3);
    assert_eq!(restock(SizeClass::K64), 4, "three found none: 1, 2, 4");
    take(4);
    assert_eq!(restock(SizeClass::K64), 4, "four were enough");
    take(20);
    assert_eq!(restock(SizeClass::K64), 64, "the limit");
    assert_eq!(restock(SizeClass::M32), 0);
}

/// A shard's park: counts the wakes.
#[derive(Default)]
struct Doorbell(Mutex<usize>, Condvar);

impl Doorbell {
    fn wake(self: &Arc<Self>) -> WakeShard {
        let bell = Arc::clone(self);
        Arc::new(move || {
            *bell.0.lock().unwrap() += 1;
            bell.1.notify_all();
        })
    }

    fn wait(&self) {
        let rung = self.0.lock().unwrap();
        let timeout = Duration::from_secs(20);
        let (mut rung, late) = self
            .1
            .wait_timeout_while(rung, timeout, |r| *r == 0)
            .unwrap();
        assert!(!late.timed_out(), "no answer");
        *rung -= 1;
    }
}

/// CPU of this process' housekeeper threads, in the kernel's ticks of 10 ms.
fn housekeeper_ticks() -> u64 {
    let mut ticks = 0;
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
        if let Some((name, rest)) = stat.rsplit_once(')')
            && name.contains("(housekeeper")
        {
            let fields: Vec<&str> = rest.split_whitespace().collect();
            ticks += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
    }
    ticks
}

/// Both ways of running in one test: the threads' CPU is told by their name.
#[test]
fn thread_does_every_job_for_every_shard_and_idles_at_no_cost() {
    for uring in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_path_buf();
        fs::create_dir_all(data.join("pool/1m")).unwrap();
        fs::write(data.join("pool/1m/leftover"), b"unfinished").unwrap();
        let bells = [Arc::<Doorbell>::default(), Arc::default()];
        let wakes = bells.iter().map(Doorbell::wake).collect();
        let (housekeeper, mut ends) =
            Housekeeper::start(data.clone(), Space::default(), wakes, uring).unwrap();
        println!(
            "runs on {}: {:?}",
            housekeeper.backend(),
            housekeeper.note()
        );
        assert!(uring || housekeeper.backend() == Backend::Thread);
        assert!(!data.join("pool/1m").exists(), "S1: leftovers are unlinked");
        for (shard, (sender, receiver)) in ends.iter_mut().enumerate() {
            let mut ask = |job: Job| {
                sender.send(job).unwrap();
                bells[shard].wait();
                receiver.receive().unwrap()
            };
            for class in SizeClass::ALL {
                let file = segment_of(ask(Job::PrepareSegment { class }));
                assert_eq!(fs::metadata(&file.path).unwrap().len(), class.bytes());
                let target = data.join(format!("topics/t/{shard}/0-0-{class}.seg"));
                let placed = segment_of(ask(Job::Place {
                    file,
                    target: target.clone(),
                }));
                let head = FileHead::decode(&fs::read(&target).unwrap()).unwrap();
                assert_eq!(head.incarnation, placed.incarnation);
                assert!(matches!(
                    ask(Job::Recycle {
                        path: target,
                        class
                    }),
                    Done::Recycled(_)
                ));
            }
            let path = data.join(format!("journal/1/{shard}/0"));
            let len = 2 << 20;
            segment_of(ask(Job::PrepareJournal {
                path: path.clone(),
                len,
            }));
            assert_eq!(fs::metadata(&path).unwrap().len(), len);
            segment_of(ask(Job::RenewJournal { path: path.clone() }));
            assert!(matches!(ask(Job::Unlink { path }), Done::Unlinked(_)));
            let topic = TopicId([shard as u8; 16]);
            assert!(matches!(
                ask(Job::RemoveTopic { topic }),
                Done::TopicRemoved(_)
            ));
            let missing = ask(Job::RenewJournal {
                path: data.join("nothing"),
            });
            assert!(matches!(missing, Done::Failed { .. }), "{missing:?}");
        }
        std::thread::sleep(Duration::from_millis(300));
        let before = housekeeper_ticks();
        std::thread::sleep(Duration::from_millis(700));
        let spent = housekeeper_ticks() - before;
        assert!(spent <= 1, "{spent} ticks in 0.7 s of idling");
        assert!(housekeeper.is_running());
        housekeeper.shutdown();
    }
}

#[test]
fn job_without_a_credit_comes_back_and_goes_through_later() {
    let dir = tempfile::tempdir().unwrap();
    let bell = Arc::<Doorbell>::default();
    let wakes = vec![bell.wake()];
    let (_housekeeper, mut ends) =
        Housekeeper::start(dir.path().to_path_buf(), Space::default(), wakes, false).unwrap();
    let (sender, receiver) = &mut ends[0];
    let job = || Job::Unlink {
        path: dir.path().join("nothing"),
    };
    for _ in 0..JOBS_MAX {
        sender.send(job()).unwrap();
    }
    assert_eq!(
        sender.send(job()),
        Err(job()),
        "answers were not taken: no room for another"
    );
    bell.wait();
    assert!(receiver.has_answer());
    receiver.receive().unwrap();
    sender.send(job()).unwrap();
}

#[test]
fn open_modes_of_the_plain_disk_hold_what_they_promise() {
    use futures_util::FutureExt as _;
    use spate_storage::disk::{Flush, standard::StandardDisk};
    let dir = tempfile::tempdir().unwrap();
    let (disk, path) = (StandardDisk::new(), dir.path().join("a/b/f"));
    let test = async {
        disk.create_dir(path.parent().unwrap()).await.unwrap();
        let file = disk
            .open(&path, OpenMode::Create { len: 8192 })
            .await
            .unwrap();
        assert_eq!(disk.len(&file).unwrap(), 8192);
        assert!(
            disk.open(&path, OpenMode::Create { len: 8192 })
                .await
                .is_err()
        );
        let mut page = disk.buffer(PAGE);
        page.fill(7);
        disk.write(&file, PAGE as u64, page, Flush::Data)
            .await
            .0
            .unwrap();
        let (read, both) = disk.read(&file, 0, disk.buffer(2 * PAGE)).await;
        read.unwrap();
        assert_eq!((both[0], both[PAGE], both[2 * PAGE - 1]), (0, 7, 7));
        let (beyond, _) = disk.read(&file, PAGE as u64, disk.buffer(2 * PAGE)).await;
        assert_eq!(
            beyond.unwrap_err().kind(),
            std::io::ErrorKind::UnexpectedEof
        );
        assert!(
            disk.list(&dir.path().join("none"))
                .await
                .unwrap()
                .is_empty()
        );
        disk.remove(dir.path()).await.unwrap();
        disk.remove(dir.path()).await.unwrap();
    };
    test.now_or_never().unwrap();
}
