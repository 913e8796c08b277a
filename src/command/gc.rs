//! `offs gc`

use cas::{BlockStore as _, GcReport, Goal};
use serde_json::json;

use crate::{
    arguments::Gc,
    failure::Failure,
    home::Home,
    output,
    progress::{remark, warn},
    size::Size,
    url_database::Operation,
};

/// A URL that is not pinned and whose root is gone cannot be opened here any more, so it is no longer listed.
fn forget_dropped(home: &Home) -> Result<(), Failure> {
    let mut dropped = Vec::new();
    for listed in home.urls().list().into_iter().filter(|listed| !listed.pinned) {
        if !home.store.contains(&listed.url.reference.root)? {
            dropped.push(listed.url);
        }
    }
    if dropped.is_empty() { Ok(()) } else { home.urls().append(Operation::Forget, &dropped) }
}

fn collect(home: &Home, goal: Goal) -> Result<GcReport, Failure> {
    let needed = match goal {
        Goal::Unreachable => home.pins_and_held()?,
        // Room was asked for, so what others trust us to keep may go, too: the least used first.
        Goal::AtMost(_) => home.pins(),
    };
    home.store.collect(&needed, goal).map_err(|error| match error {
        // What we said ourselves comes back inside the store's error: say it once.
        cas::Error::Reachable(source) => match source.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(source) => cas::Error::Reachable(source).into(),
        },
        other => other.into(),
    })
}

pub(crate) fn run(home: &Home, arguments: &Gc) -> Result<(), Failure> {
    if home.urls().lost() {
        if !arguments.accept_lost_urls {
            return Err(Failure::UrlsLost { path: home.urls().path().to_owned() });
        }
        home.urls().accept_lost()?;
    }
    let goal = arguments.to.map_or(Goal::Unreachable, |Size(bytes)| Goal::AtMost(bytes));
    let mut report = collect(home, goal)?;
    // What one collection moved, the next can drop.
    while let Goal::AtMost(most) = goal
        && report.bytes_after > most
    {
        let next = collect(home, goal)?;
        report.dropped += next.dropped;
        report.packs_removed += next.packs_removed;
        report.kept = next.kept;
        if next.bytes_after >= report.bytes_after {
            break;
        }
        report.bytes_after = next.bytes_after;
    }
    forget_dropped(home)?;
    if arguments.json {
        return output::json(&json!({
            "dropped": report.dropped,
            "kept": report.kept,
            "packs_removed": report.packs_removed,
            "bytes_before": report.bytes_before,
            "bytes_after": report.bytes_after,
        }));
    }
    output::line(format!(
        "dropped {} blocks, removed {} packs; the store had {} and has {} now",
        report.dropped,
        report.packs_removed,
        Size(report.bytes_before),
        Size(report.bytes_after)
    ))?;
    match goal {
        Goal::AtMost(most) if report.bytes_after > most => {
            warn("it has more than was asked for: what is left is pinned, or too little of each pack can go");
            Ok(())
        }
        Goal::Unreachable if home.has_pool() => {
            remark("what this peer holds for its pool is kept, pinned here or not; `offs gc --to SIZE` may drop it");
            Ok(())
        }
        _ => Ok(()),
    }
}
