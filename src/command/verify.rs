//! `offs verify`

use std::collections::BTreeSet;

use cas::{BlockStore as _, Damage, Score};
use offs::OffUrl;
use serde_json::json;

use crate::{
    arguments::Verify,
    command::{get, parse_url},
    failure::Failure,
    home::Home,
    output,
    progress::{Progress, remark},
    report,
};

/// What is wrong with a URL.
struct Verdict {
    url: OffUrl,
    healed: u64,
    /// Blocks that are gone although the file can be read.
    gone: Vec<Score>,
    /// Stripes that parity cannot make up for.
    lost_stripes: u64,
    /// Why it cannot be followed.
    failure: Option<Failure>,
}

pub(crate) fn run(home: &Home, verify: &Verify) -> Result<(), Failure> {
    let url = verify.url.as_deref().map(parse_url).transpose()?;
    let mut damages = Vec::new();
    let mut read = (0, 0);
    let urls = if let Some(url) = url {
        let url = url.without_path();
        get::open(home.store.as_ref(), &url)?;
        read = hash_url(home, &url, &mut damages)?;
        vec![url]
    } else {
        let bytes = home.store.statistics().bytes;
        let progress = Progress::new("verify", Some(bytes));
        let scrubbed = home.store.scrub(verify.heal, &mut |damage| damages.push(damage), &mut |at| progress.at(at))?;
        read = (read.0 + scrubbed.blocks, read.1 + scrubbed.bytes);
        home.urls().list().into_iter().filter(|listed| listed.pinned).map(|listed| listed.url).collect()
    };
    let verdicts = judge(home, urls, verify.heal)?;
    home.store.sync()?;
    if verify.heal && verify.url.is_none() && !home.urls().lost() {
        forget_unneeded(home, &verdicts)?;
    }
    let unhealed: Vec<_> = home.store.quarantined();
    if verify.json {
        let list = |scores: &[Score]| scores.iter().map(ToString::to_string).collect::<Vec<_>>();
        output::json(&json!({
            "blocks": read.0,
            "bytes": read.1,
            "damage": damages.iter().map(describe).collect::<Vec<_>>(),
            "quarantined": list(&unhealed),
            "urls_lost_records": home.urls().lost(),
            "urls": verdicts.iter().map(|verdict| json!({
                "url": verdict.url.to_string(),
                "healed": verdict.healed,
                "missing": list(&verdict.gone),
                "stripes_lost": verdict.lost_stripes,
                "error": verdict.failure.as_ref().map(ToString::to_string),
            })).collect::<Vec<_>>(),
        }))?;
    } else {
        print(&damages, &verdicts, read)?;
    }
    let lost = home.urls().lost();
    if lost {
        report::tell(&Failure::UrlsLost { path: home.urls().path().to_owned() });
    }
    let bad = verdicts.iter().any(|verdict| verdict.failure.is_some() || !verdict.gone.is_empty());
    // What was healed is no damage any more; without --heal everything that was found is.
    let remains =
        bad || lost || if verify.heal { !unhealed.is_empty() } else { !damages.is_empty() || !unhealed.is_empty() };
    if remains { Err(Failure::DamageFound) } else { Ok(()) }
}

/// A damaged block that no pin needs is no longer of interest: it is as if it had been dropped.
fn forget_unneeded(home: &Home, verdicts: &[Verdict]) -> Result<(), Failure> {
    if verdicts.iter().any(|verdict| verdict.failure.is_some()) {
        // What a URL needs is not known for certain.
        return Ok(());
    }
    let mut unneeded: BTreeSet<_> = home.store.quarantined().into_iter().collect();
    for verdict in verdicts {
        for score in &verdict.gone {
            unneeded.remove(score);
        }
    }
    if !unneeded.is_empty() {
        remark(&format!("forgot {} damaged blocks that no pin needs", unneeded.len()));
    }
    Ok(home.store.forget_quarantined(&unneeded.into_iter().collect::<Vec<_>>())?)
}

/// Hashes every block that a URL needs.
fn hash_url(home: &Home, url: &OffUrl, damages: &mut Vec<Damage>) -> Result<(u64, u64), Failure> {
    let mut scores = BTreeSet::new();
    offs::list(home.store.as_ref(), &url.reference, &mut |score| {
        scores.insert(*score);
    })?;
    let progress = Progress::new("verify", None);
    let (mut blocks, mut bytes) = (0, 0);
    for score in scores {
        if let Some(length) = home.store.check(&score, &mut |damage| damages.push(damage))? {
            blocks += 1;
            bytes += length;
            progress.at(bytes);
        }
    }
    Ok((blocks, bytes))
}

/// Follows URLs and finds out what is gone; with `heal`, brings back what can be brought back.
fn judge(home: &Home, urls: Vec<OffUrl>, heal: bool) -> Result<Vec<Verdict>, Failure> {
    let store = home.store.as_ref();
    let fresh = |url| Verdict { url, healed: 0, gone: Vec::new(), lost_stripes: 0, failure: None };
    let mut verdicts: Vec<_> = urls.into_iter().map(fresh).collect();
    // What one file gives back may be what another lacks, so they are gone over until nothing more comes back.
    let mut again = heal;
    while std::mem::take(&mut again) {
        for verdict in &mut verdicts {
            match offs::heal(store, &verdict.url.reference) {
                Ok(report) => {
                    verdict.failure = None;
                    verdict.healed += report.healed;
                    again |= report.healed > 0;
                }
                Err(offs::Error::Store(error)) if !matches!(error, cas::Error::Damaged { .. }) => {
                    return Err(error.into());
                }
                Err(error) => verdict.failure = Some(error.into()),
            }
        }
    }
    for verdict in &mut verdicts {
        if verdict.failure.is_some() {
            continue;
        }
        match offs::survey(store, &verdict.url.reference) {
            Ok(survey) => {
                verdict.gone = survey.missing.into_iter().collect();
                verdict.lost_stripes = survey.lost;
            }
            Err(offs::Error::Store(error)) if !matches!(error, cas::Error::Damaged { .. }) => return Err(error.into()),
            Err(error) => verdict.failure = Some(error.into()),
        }
    }
    Ok(verdicts)
}

/// Most missing blocks of a URL that are named to people.
const NAMED: usize = 20;

fn blocks_text(count: u64) -> String {
    if count == 1 { "1 block".to_owned() } else { format!("{count} blocks") }
}

fn describe(damage: &Damage) -> String {
    match damage {
        Damage::Block { score, pack } => format!("block {score} in pack {pack:08x} is damaged or gone"),
        Damage::Copy { score, pack } => format!("second copy of {score} in pack {pack:08x} is damaged or gone"),
        Damage::RecordHeader { score, pack } => format!("record header of {score} in pack {pack:08x} is damaged"),
        Damage::PackHeader { pack } => format!("header of pack {pack:08x} is damaged"),
        Damage::Table { pack } => format!("table of pack {pack:08x} is damaged"),
        Damage::Pack { pack } => format!("pack {pack:08x} is gone"),
    }
}

fn print(damages: &[Damage], verdicts: &[Verdict], (blocks, bytes): (u64, u64)) -> Result<(), Failure> {
    for damage in damages {
        output::line(describe(damage))?;
    }
    for verdict in verdicts {
        let url = &verdict.url;
        if verdict.healed > 0 {
            output::line(format!("healed {} of {url}", blocks_text(verdict.healed)))?;
        }
        if let Some(failure) = &verdict.failure {
            output::line(format!("cannot be read: {url}: {failure}"))?;
        } else if !verdict.gone.is_empty() {
            for score in verdict.gone.iter().take(NAMED) {
                output::line(format!("missing {score}"))?;
            }
            if let Some(more) = verdict.gone.len().checked_sub(NAMED + 1) {
                output::line(format!("missing {} more, see --json", more + 1))?;
            }
            let state = if verdict.lost_stripes > 0 { "cannot be read" } else { "can still be read, thanks to parity" };
            output::line(format!("missing {} in all, {state}: {url}", blocks_text(verdict.gone.len() as u64)))?;
        }
    }
    output::line(format!(
        "{blocks} blocks, {bytes} bytes read, {} damages, {} URLs followed",
        damages.len(),
        verdicts.len()
    ))
}
