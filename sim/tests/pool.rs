//! What a pool of peers keeps.
#![expect(clippy::print_stdout, reason = "the seed of a run is shown when it fails")]

use std::time::Duration;

use sim::Peers;

/// A hundred peers, three in ten of which leave for ever within half a day.
fn pool() -> Peers {
    let seed = std::env::var("OFFS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("OFFS_SEED={seed}");
    Peers {
        peers: 100,
        files: 60,
        sources: 100,
        replicas: 3,
        hours: 12,
        leaving: 0.3,
        newcomers: true,
        flapping: 0.1,
        divided: 0,
        writes: 2,
        failing: 0.02,
        pinned: false,
        seed,
    }
}

#[test]
fn no_file_is_lost_although_three_in_ten_peers_are() {
    let course = pool().run(&mut |_| ());
    println!("{course}");
    assert_eq!(course.lost(), 0);
    assert!(course.copies_lost > 5_000, "there was something to repair");
    assert!(course.pulled < 8 * course.copies_lost, "{} copies for {}", course.pulled, course.copies_lost);
    let last = course.moments.last().expect("moments");
    assert!(last.short * 20 < course.blocks, "{} of {} blocks are short of copies", last.short, course.blocks);
    assert!(course.found.len() as u64 * 1000 >= course.reads * 990, "{} of {}", course.found.len(), course.reads);
}

#[test]
fn halves_that_wrote_apart_agree_when_they_meet() {
    let course = Peers { divided: 2, leaving: 0.1, flapping: 0.0, pinned: true, writes: 10, ..pool() }.run(&mut |_| ());
    println!("{course}");
    assert_eq!(course.lost(), 0);
    let converged = course.converged.expect("it ends");
    assert!(converged < Duration::from_hours(1), "{converged:?}");
    let last = course.moments.last().expect("moments");
    assert_eq!(last.unreadable, 0);
}

#[test]
fn without_others_who_hold_it_a_file_goes_with_its_peer() {
    let course = Peers { replicas: 1, hours: 4, ..pool() }.run(&mut |_| ());
    assert!(course.lost() > 50, "a simulation in which nothing is lost would prove nothing: {}", course.lost());
}

#[test]
fn a_run_repeats_itself() {
    let small = Peers { peers: 70, files: 10, hours: 3, leaving: 0.2, divided: 1, ..pool() };
    assert_eq!(small.run(&mut |_| ()), small.run(&mut |_| ()));
}
