//! The proof that the storm finds bugs: each deliberate one is put in, and seeds are run until one
//! of them complains. A bug that stays hidden means that the histories do not go where it is.

use super::{Sabotage, choose, driver::judge, history::history};
use std::{env, panic, time::Instant};

/// A bug that so many seeds do not show is not found.
const SEEDS_MAX: u64 = 400;

/// The first seed, from 1 on, that shows the bug, and what it said.
fn seeds_to_find(bug: Sabotage) -> Option<(u64, String)> {
    choose(Some(bug));
    let found = (1..=SEEDS_MAX).find_map(|seed| Some((seed, judge(|| history(seed)).err()?)));
    choose(None);
    // A seed that complains without the bug has found another one.
    if let Some((seed, _)) = &found
        && let Err(text) = judge(|| history(*seed))
    {
        panic!("seed {seed} fails by itself: {text}");
    }
    found
}

/// What this thread runs into on purpose is not printed.
fn hush() {
    let usual = panic::take_hook();
    let here = std::thread::current().id();
    panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != here {
            usual(info);
        }
    }));
}

fn find_all(bugs: impl Iterator<Item = Sabotage>) {
    hush();
    let began = Instant::now();
    let mut hidden = Vec::new();
    for bug in bugs {
        match seeds_to_find(bug) {
            Some((seeds, said)) => {
                let said: String = said.chars().take(110).collect();
                println!("{:<24} {seeds:>4} seeds  {said}", format!("{bug:?}"));
            }
            None => hidden.push(bug),
        }
    }
    println!("in {:.0} s", began.elapsed().as_secs_f64());
    assert!(
        hidden.is_empty(),
        "not found in {SEEDS_MAX} seeds each: {hidden:?}"
    );
}

#[test]
#[ignore = "minutes without optimisation: scripts/storm --faults runs it"]
fn every_deliberate_bug_is_found() {
    let only = env::var("SPATE_STORM_FAULT").ok();
    let is_wanted = |bug: &Sabotage| only.as_ref().is_none_or(|name| *name == format!("{bug:?}"));
    let wanted: Vec<Sabotage> = Sabotage::ALL.into_iter().filter(is_wanted).collect();
    assert!(
        !wanted.is_empty(),
        "{only:?}: expected one of {:?}",
        Sabotage::ALL
    );
    find_all(wanted.into_iter());
}
