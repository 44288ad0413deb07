//! The simulated disk itself: it must be as bad as a disk may be and no worse, or the tests that
//! stand on it prove nothing.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{io, path::Path, time::Duration};

use spate_storage::disk::{
    Clock, Disk, Flush, OpenMode, PAGE,
    simulated::{Crash, Fault, Operation, SimulatedDisk, Simulation},
};

fn page(disk: &SimulatedDisk, fill: u8) -> <SimulatedDisk as Disk>::Buf {
    let mut buf = disk.buffer(PAGE);
    buf.fill(fill);
    buf
}

/// Creates `/d/f` of two pages, durable with its name, and writes `flushed` to page 0 with a flush
/// and `loose` to page 1 without.
async fn two_pages(disk: SimulatedDisk) -> io::Result<()> {
    disk.create_dir(Path::new("/d")).await?;
    let file = disk
        .open(
            Path::new("/d/f"),
            OpenMode::Create {
                len: 2 * PAGE as u64,
            },
        )
        .await?;
    disk.sync(&file).await?;
    disk.sync_dir(Path::new("/d")).await?;
    disk.write(&file, PAGE as u64, page(&disk, 2), Flush::No)
        .await
        .0?;
    disk.write(&file, 0, page(&disk, 1), Flush::Data).await.0
}

#[test]
fn flush_covers_its_own_write_only() {
    let mut lost = 0;
    for seed in 0..64 {
        let sim = Simulation::new(seed);
        sim.block_on(two_pages(sim.disk())).unwrap();
        let disk = sim.crash(Crash::Power).disk();
        assert_eq!(
            disk.peek(Path::new("/d/f"), 0, PAGE).unwrap(),
            vec![1; PAGE]
        );
        let loose = disk.peek(Path::new("/d/f"), PAGE as u64, PAGE).unwrap();
        lost += usize::from(loose != vec![2; PAGE]);
        assert!(
            loose.chunks(512).all(|s| s == [0; 512] || s == [2; 512]),
            "torn inside a sector"
        );
    }
    assert!(
        (10..60).contains(&lost),
        "{lost} of 64 unflushed pages were lost"
    );
}

#[test]
fn killed_process_loses_nothing_written() {
    for seed in 0..16 {
        let sim = Simulation::new(seed);
        sim.block_on(two_pages(sim.disk())).unwrap();
        let disk = sim.crash(Crash::Kill).disk();
        assert_eq!(
            disk.peek(Path::new("/d/f"), PAGE as u64, PAGE).unwrap(),
            vec![2; PAGE]
        );
    }
}

#[test]
fn s1_writes_under_way_at_a_kill_land_later() {
    let mut late = 0;
    for seed in 0..64 {
        let sim = Simulation::new(seed);
        sim.block_on(two_pages(sim.disk())).unwrap();
        let disk = sim.disk();
        let _running = sim.spawn(async move {
            let file = disk.open(Path::new("/d/f"), OpenMode::Write).await.unwrap();
            disk.write(&file, 0, page(&disk, 9), Flush::Data).await.0
        });
        sim.run_for(Duration::from_micros(1500));
        let after = sim.crash(Crash::Kill);
        let before = after.disk().peek(Path::new("/d/f"), 0, 1).unwrap();
        after.run_for(Duration::from_secs(4));
        let landed = after.disk().peek(Path::new("/d/f"), 0, 1).unwrap();
        late += usize::from(before == [1] && landed == [9]);
    }
    assert!(late > 3, "{late} writes of 64 landed after the death");
}

#[test]
fn name_without_directory_sync_may_be_lost_and_with_it_never() {
    let mut lost = 0;
    for seed in 0..64 {
        let sim = Simulation::new(seed);
        let disk = sim.disk();
        let run = async move {
            disk.create_dir(Path::new("/d")).await?;
            for (name, durable) in [("/d/a", true), ("/d/b", false)] {
                let file = disk
                    .open(Path::new(name), OpenMode::Create { len: 0 })
                    .await?;
                disk.sync(&file).await?;
                if durable {
                    disk.sync_dir(Path::new("/d")).await?;
                }
            }
            io::Result::Ok(())
        };
        sim.block_on(run).unwrap();
        let names = sim.crash(Crash::Power).disk().files();
        assert!(names.iter().any(|(path, _)| path == Path::new("/d/a")));
        lost += usize::from(names.len() == 1);
    }
    assert!((10..54).contains(&lost), "{lost} of 64 names were lost");
}

#[test]
fn rename_never_loses_the_file_whatever_was_synced() {
    for seed in 0..200 {
        let sim = Simulation::new(seed);
        let disk = sim.disk();
        let run = async move {
            disk.create_dir(Path::new("/a")).await?;
            disk.create_dir(Path::new("/b")).await?;
            disk.open(Path::new("/a/f"), OpenMode::Create { len: 0 })
                .await?;
            disk.sync_dir(Path::new("/a")).await?;
            disk.rename(Path::new("/a/f"), Path::new("/b/f")).await?;
            match seed % 3 {
                0 => disk.sync_dir(Path::new("/a")).await,
                1 => disk.sync_dir(Path::new("/b")).await,
                _ => Ok(()),
            }
        };
        sim.block_on(run).unwrap();
        let names = sim.crash(Crash::Power).disk().files();
        let there = |name: &str| names.iter().any(|(path, _)| path == Path::new(name));
        assert!(there("/a/f") || there("/b/f"), "seed {seed}: lost");
        assert!(
            seed % 3 != 1 || there("/b/f"),
            "seed {seed}: a synced target is gone"
        );
    }
}

#[test]
fn faults_hit_what_they_name() {
    let sim = Simulation::new(1);
    let disk = sim.disk();
    disk.inject(Fault {
        skip: 1,
        ..Fault::once(Operation::Write, "/d/f", 5)
    });
    let failed = sim.block_on(two_pages(sim.disk())).unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(5));

    disk.inject(Fault::flipped_read("/d/f"));
    let reads = async move {
        let file = disk.open(Path::new("/d/f"), OpenMode::Read).await.unwrap();
        let (first, flipped) = disk.read(&file, PAGE as u64, disk.buffer(PAGE)).await;
        let (second, good) = disk.read(&file, PAGE as u64, disk.buffer(PAGE)).await;
        first.and(second).unwrap();
        let bits = flipped
            .iter()
            .zip(good.iter())
            .map(|(a, b)| (a ^ b).count_ones());
        bits.sum::<u32>()
    };
    assert_eq!(sim.block_on(reads), 1);

    let disk = sim.disk();
    disk.limit_space(3 * PAGE as u64);
    let full = async move {
        disk.open(
            Path::new("/d/g"),
            OpenMode::Create {
                len: 2 * PAGE as u64,
            },
        )
        .await
        .unwrap_err()
    };
    assert_eq!(sim.block_on(full).kind(), io::ErrorKind::StorageFull);
}

#[test]
fn same_seed_gives_the_same_history() {
    let history = |seed: u64| {
        let sim = Simulation::new(seed);
        sim.block_on(two_pages(sim.disk())).unwrap();
        let (disk, clock) = (sim.disk(), sim.clock());
        let writers: Vec<_> = (0..8u8)
            .map(|i| {
                let (disk, clock) = (disk.clone(), clock.clone());
                sim.spawn(async move {
                    clock.sleep(Duration::from_micros(u64::from(i) * 100)).await;
                    let file = disk.open(Path::new("/d/f"), OpenMode::Write).await.unwrap();
                    disk.write(&file, 0, page(&disk, i), Flush::Data).await.0
                })
            })
            .collect();
        sim.block_on(async move {
            for writer in writers {
                writer.await.unwrap();
            }
        });
        let sim = sim.crash(Crash::Power);
        (
            sim.trace(),
            sim.disk().peek(Path::new("/d/f"), 0, 1),
            sim.clock().elapsed(),
        )
    };
    assert_eq!(history(7), history(7));
    let winners: std::collections::BTreeSet<_> = (0..32).map(|s| history(s).1).collect();
    assert!(
        winners.len() > 2,
        "writes complete in one order only: {winners:?}"
    );
}
