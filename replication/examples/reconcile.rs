//! Prints what comparing two peers costs: `cargo run --release --example reconcile -- [scores in common] [differences]...`
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::{error::Error, sync::Arc};

use cas::{Algorithm, Score};
use replication::{PeerId, Placement, RangeQuery, RangeReply, Reconciliation, Salt, ScoreSet, Selection, Step, answer};

/// Bytes of the envelope around a dictionary of arguments or results.
const ENVELOPE: usize = 60;

fn main() -> Result<(), Box<dyn Error>> {
    let numbers = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<Vec<u64>, _>>()?;
    let (common, differences) = match &numbers[..] {
        [] => (1_000_000, &[0, 1, 10, 1000, 100_000][..]),
        [common] => (*common, &[0, 1, 10, 1000, 100_000][..]),
        [common, differences @ ..] => (*common, differences),
    };
    let peers = [1, 2].map(|n| PeerId::from_bytes([n; 32]));
    let selection = Selection::shared(&Placement::new(peers.to_vec(), 2), &peers[0], &peers[1]);
    let selection = Arc::new(selection);
    println!("| in common | differences | round trips | asked, bytes | replied, bytes | sum | per difference |");
    println!("|---|---|---|---|---|---|---|");
    for differences in differences {
        let ours = scores(0, common).chain(scores(1 << 40, differences / 2)).collect();
        let theirs = scores(0, common).chain(scores(1 << 41, differences.div_ceil(2))).collect();
        compare(&selection, &ours, &theirs, (common, *differences))?;
    }
    Ok(())
}

fn scores(from: u64, count: u64) -> impl Iterator<Item = Score> {
    (from..from + count).map(|n| Score::of(Algorithm::Sha256, &n.to_be_bytes()))
}

fn compare(
    selection: &Arc<Selection>,
    ours: &ScoreSet,
    theirs: &ScoreSet,
    (common, differences): (u64, u64),
) -> Result<(), Box<dyn Error>> {
    let (mut trips, mut asked, mut replied, mut found) = (0, 0, 0, 0);
    let mut run = Reconciliation::new(Arc::clone(selection), Salt(*b"any salt"));
    while let Some(step) = run.next_step(ours)? {
        let query = match step {
            Step::Ask(query) => query.to_bytes(),
            Step::Lacks(scores) => {
                found += scores.len();
                continue;
            }
        };
        let reply = answer(&RangeQuery::from_bytes(&query)?, selection, theirs)?.to_bytes();
        let told = run.take(RangeReply::from_bytes(&reply)?, ours)??;
        found += told.ours.len() + told.theirs.len();
        trips += 1;
        asked += query.len() + ENVELOPE;
        replied += reply.len() + ENVELOPE;
    }
    assert_eq!(found as u64, differences, "all that differs is found");
    let sum = asked + replied;
    let each = sum as u64 / differences.max(1);
    println!("| {common} | {differences} | {trips} | {asked} | {replied} | {sum} | {each} |");
    Ok(())
}
