//! `offs verify`

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io,
};

use cas::{BlockStore, Damage, Score};
use gateway::Holder;
use offs::{FileReader, OffUrl, Reference};
use serde_json::json;

use crate::{
    arguments::Verify,
    command::{get, parse_alone},
    failure::Failure,
    home::Home,
    output,
    progress::Progress,
    report, saved_buckets,
};

/// What is wrong with a stored file.
struct Verdict {
    needed: Needed,
    reference: Reference,
    healed: u64,
    /// Blocks that are gone.
    gone: Vec<Score>,
    /// Stripes that parity cannot make up for.
    lost_stripes: u64,
    /// Why it cannot be followed.
    failure: Option<Failure>,
}

/// By whom a stored file is needed.
enum Needed {
    Url(OffUrl),
    /// Objects in buckets, which are asked for when something is wrong; each with what it says when it is read.
    Objects(Vec<(String, Option<Failure>)>),
}

impl Verdict {
    fn is_bad(&self) -> bool {
        self.failure.is_some() || !self.gone.is_empty()
    }

    /// What people call it.
    fn name(&self) -> String {
        match &self.needed {
            Needed::Url(url) => url.to_string(),
            Needed::Objects(objects) => match objects.as_slice() {
                [] => "an object".to_owned(),
                [(name, _)] => name.clone(),
                [(name, _), rest @ ..] => format!("{name} and {} more objects", rest.len()),
            },
        }
    }

    /// Adds what is wrong with another file of the same object.
    fn join(&mut self, other: Self) {
        self.healed += other.healed;
        self.gone.extend(other.gone);
        self.lost_stripes += other.lost_stripes;
        self.failure = self.failure.take().or(other.failure);
        if let (Needed::Objects(own), Needed::Objects(others)) = (&mut self.needed, other.needed) {
            for ((_, own), (_, other)) in own.iter_mut().zip(others) {
                *own = own.take().or(other);
            }
        }
    }

    fn url(&self) -> Option<&OffUrl> {
        match &self.needed {
            Needed::Url(url) => Some(url),
            Needed::Objects(_) => None,
        }
    }

    fn objects(&self) -> &[(String, Option<Failure>)] {
        match &self.needed {
            Needed::Url(_) => &[],
            Needed::Objects(objects) => objects,
        }
    }
}

pub(crate) fn run(home: &Home, verify: &Verify) -> Result<(), Failure> {
    let url = verify.url.as_deref().map(|url| parse_alone(home, url)).transpose()?;
    let mut damages = Vec::new();
    let mut read = (0, 0);
    let needed = |url: OffUrl| (url.reference.clone(), Needed::Url(url));
    let mut followed = Vec::new();
    let mut buckets_lost = None;
    if let Some(url) = url {
        get::open(home.store.as_ref(), &url)?;
        read = hash_url(home, &url, &mut damages)?;
        followed.push(needed(url));
    } else {
        let bytes = home.store.statistics().bytes;
        let progress = Progress::new("verify", Some(bytes));
        let scrubbed = home.store.scrub(verify.heal, &mut |damage| damages.push(damage), &mut |at| progress.at(at))?;
        read = (read.0 + scrubbed.blocks, read.1 + scrubbed.bytes);
        // Before the URLs: a snapshot moves references from buckets to them.
        let objects = gateway::references(home.store.as_ref()).unwrap_or_else(|error| {
            buckets_lost = Some(Failure::Buckets(error));
            Vec::new()
        });
        followed.extend(home.urls().list().into_iter().filter(|listed| listed.pinned).map(|listed| needed(listed.url)));
        if saved_buckets::are_lost(&home.store, &home.url_database())? {
            buckets_lost = Some(Failure::BucketsLost);
        }
        followed.extend(objects.into_iter().map(|reference| (reference, Needed::Objects(Vec::new()))));
    }
    let mut verdicts = judge(home.store.as_ref(), followed, verify.heal)?;
    find_objects(home, &mut verdicts)?;
    home.store.sync()?;
    let lost = home.urls().lost();
    let forgotten = if verify.heal && verify.url.is_none() && !lost && buckets_lost.is_none() {
        forget_unneeded(home, &verdicts)?
    } else {
        0
    };
    let unhealed: Vec<_> = home.store.quarantined();
    if verify.json {
        let list = |scores: &[Score]| scores.iter().map(ToString::to_string).collect::<Vec<_>>();
        output::json(&json!({
            "blocks": read.0,
            "bytes": read.1,
            "damage": damages.iter().map(describe).collect::<Vec<_>>(),
            "quarantined": list(&unhealed),
            "forgotten": forgotten,
            "urls_lost_records": lost,
            "buckets_lost": buckets_lost.is_some(),
            "urls": verdicts.iter().filter_map(|verdict| Some(json!({
                "url": verdict.url()?.to_string(),
                "healed": verdict.healed,
                "missing": list(&verdict.gone),
                "stripes_lost": verdict.lost_stripes,
                "error": verdict.failure.as_ref().map(ToString::to_string),
            }))).collect::<Vec<_>>(),
            "objects": verdicts.iter().flat_map(|verdict| verdict.objects().iter().map(|(name, failure)| json!({
                "object": name,
                "healed": verdict.healed,
                "missing": list(&verdict.gone),
                "stripes_lost": verdict.lost_stripes,
                "error": failure.as_ref().map(ToString::to_string),
                "of_file": verdict.failure.as_ref().map(ToString::to_string),
            }))).collect::<Vec<_>>(),
        }))?;
    } else {
        print(&damages, &verdicts, read, forgotten)?;
    }
    if lost {
        report::tell(&Failure::UrlsLost { path: home.urls().path().to_owned() });
    }
    if let Some(failure) = &buckets_lost {
        report::tell(failure);
    }
    let bad = verdicts.iter().any(Verdict::is_bad);
    // What was healed is no damage any more; without --heal everything that was found is.
    let remains = bad
        || lost
        || buckets_lost.is_some()
        || if verify.heal { !unhealed.is_empty() } else { !damages.is_empty() || !unhealed.is_empty() };
    if remains { Err(Failure::DamageFound) } else { Ok(()) }
}

/// A damaged block that neither a pin nor a bucket needs is no longer of interest: it is as if it had been dropped.
fn forget_unneeded(home: &Home, verdicts: &[Verdict]) -> Result<usize, Failure> {
    if verdicts.iter().any(|verdict| verdict.failure.is_some()) {
        // What a URL needs is not known for certain.
        return Ok(0);
    }
    let mut unneeded: BTreeSet<_> = home.store.quarantined().into_iter().collect();
    for verdict in verdicts {
        for score in &verdict.gone {
            unneeded.remove(score);
        }
    }
    home.store.forget_quarantined(&unneeded.iter().copied().collect::<Vec<_>>())?;
    Ok(unneeded.len())
}

/// Names the objects that files of buckets belong to, where something was or is wrong with them, and asks which of
/// them can be read. What no object needs any more is not wrong.
fn find_objects(home: &Home, verdicts: &mut Vec<Verdict>) -> Result<(), Failure> {
    let store = home.store.as_ref();
    let of_buckets = |verdict: &Verdict| verdict.url().is_none();
    let hurt = |verdict: &&Verdict| of_buckets(verdict) && (verdict.is_bad() || verdict.healed > 0);
    let roots: BTreeSet<_> = verdicts.iter().filter(hurt).map(|verdict| verdict.reference.root).collect();
    if !roots.is_empty() {
        let mut holders = gateway::holders(store, &roots)?;
        for verdict in verdicts.iter_mut().filter(|verdict| roots.contains(&verdict.reference.root)) {
            let Needed::Objects(objects) = &mut verdict.needed else { continue };
            // Reading heals, which nobody has asked for, so only what may be lost is read.
            let doubtful = verdict.failure.is_some() || verdict.lost_stripes > 0;
            for Holder { name, range } in holders.remove(&verdict.reference.root).unwrap_or_default() {
                let read = || FileReader::open(store, &verdict.reference)?.copy_range(range, &mut io::sink(), &|_| {});
                let failure = if doubtful { read().err().map(Failure::from) } else { None };
                // Parts of an object come one after the other.
                match objects.last_mut().filter(|(known, _)| *known == name) {
                    Some((_, known)) => *known = known.take().or(failure),
                    None => objects.push((name, failure)),
                }
            }
        }
    }
    verdicts.retain(|verdict| !of_buckets(verdict) || !verdict.is_bad() || !verdict.objects().is_empty());
    // An object that was put in parts has several files.
    let mut known: BTreeMap<String, Verdict> = BTreeMap::new();
    let mut others = Vec::new();
    for verdict in std::mem::take(verdicts) {
        match verdict.objects() {
            [(name, _)] => match known.entry(name.clone()) {
                Entry::Vacant(entry) => drop(entry.insert(verdict)),
                Entry::Occupied(mut entry) => entry.get_mut().join(verdict),
            },
            _ => others.push(verdict),
        }
    }
    verdicts.extend(others.into_iter().chain(known.into_values()));
    Ok(())
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

/// Follows files and finds out what is gone; with `heal`, brings back what can be brought back.
fn judge(store: &dyn BlockStore, files: Vec<(Reference, Needed)>, heal: bool) -> Result<Vec<Verdict>, Failure> {
    let fresh = |(reference, needed)| Verdict {
        needed,
        reference,
        healed: 0,
        gone: Vec::new(),
        lost_stripes: 0,
        failure: None,
    };
    let mut verdicts: Vec<_> = files.into_iter().map(fresh).collect();
    // What one file gives back may be what another lacks, so they are gone over until nothing more comes back.
    let mut again = heal;
    while std::mem::take(&mut again) {
        for verdict in &mut verdicts {
            match offs::heal(store, &verdict.reference) {
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
        match offs::survey(store, &verdict.reference) {
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

fn print(
    damages: &[Damage],
    verdicts: &[Verdict],
    (blocks, bytes): (u64, u64),
    forgotten: usize,
) -> Result<(), Failure> {
    for damage in damages {
        output::line(describe(damage))?;
    }
    for verdict in verdicts {
        let name = output::plain(&verdict.name());
        if verdict.healed > 0 {
            output::line(format!("healed {} of {name}", blocks_text(verdict.healed)))?;
        }
        if verdict.is_bad() {
            print_bad(verdict, &name)?;
        }
    }
    if forgotten > 0 {
        output::line(format!("forgot {} that nothing here needs", blocks_text(forgotten as u64)))?;
    }
    let urls = verdicts.iter().filter(|verdict| verdict.url().is_some()).count();
    let files = match verdicts.len() - urls {
        0 => String::new(),
        files => format!(" and {files} files of buckets"),
    };
    output::line(format!("{blocks} blocks, {bytes} bytes read, {} damages, {urls} URLs{files} followed", damages.len()))
}

fn print_bad(verdict: &Verdict, name: &str) -> Result<(), Failure> {
    for score in verdict.gone.iter().take(NAMED) {
        output::line(format!("missing {score}"))?;
    }
    if let Some(more) = verdict.gone.len().checked_sub(NAMED + 1) {
        output::line(format!("missing {} more, see --json", more + 1))?;
    }
    let unreadable: Vec<_> =
        verdict.objects().iter().filter_map(|(name, failure)| Some((name, failure.as_ref()?))).collect();
    for (name, failure) in unreadable.iter().take(NAMED) {
        output::line(format!("cannot be read: {}: {failure}", output::plain(name)))?;
    }
    if let Some(more) = unreadable.len().checked_sub(NAMED + 1) {
        output::line(format!("cannot be read: {} more, see --json", more + 1))?;
    }
    match (&verdict.failure, verdict.url()) {
        (Some(_), _) if !unreadable.is_empty() => Ok(()),
        (Some(failure), _) => output::line(format!("cannot be read as a whole: {name}: {failure}")),
        (None, _) => {
            let state = if verdict.lost_stripes == 0 {
                "can still be read, thanks to parity"
            } else if verdict.url().is_some() || unreadable.len() == verdict.objects().len() {
                "cannot be read"
            } else {
                "cannot be read as a whole"
            };
            output::line(format!("missing {} in all, {state}: {name}", blocks_text(verdict.gone.len() as u64)))
        }
    }
}
