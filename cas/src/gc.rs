//! Dropping what nobody needs, and rewriting packs that are mostly garbage.

use std::{
    collections::{BTreeMap, HashSet},
    error::Error as StdError,
    fs,
    sync::{MutexGuard, PoisonError, atomic::Ordering},
};

use crate::{
    Change, Error, PackKind, Result, Score, TableEntry,
    marks::Marks,
    pack,
    pack_store::{Horizon, PackInfo, PackState, PackStore, Reading, Shared, lock, sync_directory},
    place::{Place, Tag},
};

/// Knows which blocks are needed. The store itself knows of blocks only, not of what they make.
pub trait Reachable: Send + Sync {
    /// Calls `keep` with the score of every block that a pin needs.
    ///
    /// An error means that this could not be found out for certain; then nothing is dropped.
    fn visit(&self, keep: &mut dyn FnMut(&Score)) -> Result<(), Box<dyn StdError + Send + Sync>>;
}

/// How far a collection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Drop everything that is not needed.
    Unreachable,
    /// Drop what is not needed and was used least until the packs take at most so many bytes.
    AtMost(u64),
}

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Blocks that were dropped.
    pub dropped: u64,
    /// Blocks that are needed and were kept, as far as packs were looked at.
    pub kept: u64,
    /// Packs that were removed.
    pub packs_removed: u64,
    /// Bytes in packs before and after.
    pub bytes_before: u64,
    /// See `bytes_before`.
    pub bytes_after: u64,
}

/// A pack is rewritten when at least this share of its bytes, in percent, is garbage.
const GARBAGE_PERCENT: u64 = 20;

/// Whether a pack of which so many bytes stay is to be rewritten.
const fn is_worth_rewriting(info: PackInfo, live: u64) -> bool {
    info.end.saturating_sub(live) * 100 >= info.end * GARBAGE_PERCENT
}

impl PackStore {
    /// Drops blocks that `reachable` does not name, as far as `goal` asks, and gives their room back.
    ///
    /// Blocks that were put or read under a [`crate::Hold`] that is still alive stay.
    /// A kill at any moment loses nothing that is needed.
    pub fn collect(&self, reachable: &dyn Reachable, goal: Goal) -> Result<GcReport> {
        self.shared.collect(reachable, goal)
    }
}

struct Collection<'a> {
    shared: &'a Shared,
    needed: Marks,
    report: GcReport,
    /// How many blocks of a pack were kept when it was last looked at.
    kept: BTreeMap<u32, u64>,
    /// Packs whose file is to go once the index is durable.
    emptied: Vec<u32>,
    /// Whether a pack was not rewritten for want of room.
    postponed: bool,
}

/// While this lives, nothing is collected and nothing evicted.
pub struct NoCollection<'a>(#[expect(dead_code, reason = "held for its Drop")] MutexGuard<'a, ()>);

impl PackStore {
    /// Waits for a collection that is under way, and keeps others from beginning: for who is about to say that blocks are
    /// needed that nobody said of before. Nothing may be put by this thread meanwhile.
    pub fn no_collection(&self) -> NoCollection<'_> {
        NoCollection(lock(&self.shared.collecting))
    }
}

impl Shared {
    /// Evicts until the packs take at most `target` bytes, or nothing more can go.
    pub(crate) fn make_room(&self, reachable: &dyn Reachable, target: u64) -> Result<()> {
        self.collect(reachable, Goal::AtMost(target)).map(drop)
    }

    fn collect(&self, reachable: &dyn Reachable, goal: Goal) -> Result<GcReport> {
        let _one = lock(&self.collecting);
        let bytes = || self.used_bytes.load(Ordering::Relaxed);
        let mut report = GcReport { bytes_before: bytes(), bytes_after: bytes(), ..GcReport::default() };
        if let Goal::AtMost(target) = goal
            && bytes() <= target
        {
            return Ok(report);
        }
        self.blocks.seal()?;
        self.copies.seal()?;
        self.commit()?;
        // What is needed is asked for once. Whoever is writing now may have ended, and need what he wrote, before it is
        // looked at: what he wrote to stays, and so does what he read, as long as this hold keeps the marks of it.
        let _hold = self.hold();
        let horizon = self.horizon();
        let needed = Marks::default();
        let mut failure = None;
        let visiting = Visiting::of(self);
        reachable
            .visit(&mut |score| {
                for tag in [Tag::Block, Tag::Copy] {
                    match self.lookup(tag, score) {
                        Ok(place) => place.iter().for_each(|place| needed.set(place)),
                        Err(error) => failure = Some(error),
                    }
                }
            })
            .map_err(Error::Reachable)?;
        drop(visiting);
        if let Some(error) = failure {
            return Err(error);
        }
        // What was written to since is not known yet: there the marks of who writes stay.
        for (number, info) in self.catalogue.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if info.kind == PackKind::Blocks && *number < horizon.of(info.kind) {
                self.kept.copy(*number, &[&needed, &self.held]);
            }
        }
        let mut collection =
            Collection { shared: self, needed, report, kept: BTreeMap::new(), emptied: Vec::new(), postponed: false };
        collection.run(goal, horizon)?;
        collection.run_again(goal, horizon)?;
        if let Err(error) = self.save_hints() {
            // The next one writes them again, or the end of the store.
            tracing::warn!(%error, "what is likely to stay is not saved");
        }
        report = collection.report;
        report.kept = collection.kept.values().sum();
        report.bytes_after = bytes();
        Ok(report)
    }
}

/// While it lives, blocks that are put (because they were healed) ask for no collection of their own.
struct Visiting<'a>(&'a Shared);

impl<'a> Visiting<'a> {
    fn of(shared: &'a Shared) -> Self {
        shared.visiting.store(true, Ordering::Release);
        Self(shared)
    }
}

impl Drop for Visiting<'_> {
    fn drop(&mut self) {
        self.0.visiting.store(false, Ordering::Release);
    }
}

impl Collection<'_> {
    fn run(&mut self, goal: Goal, horizon: Horizon) -> Result<()> {
        // First what was not used lately gets dropped; what was, only if that is not enough. If it cannot be enough,
        // nothing is spared: what is spared is copied into new packs, of which nothing is dropped under the holds that
        // live now.
        let passes: &[bool] = match goal {
            Goal::AtMost(target) if self.has_unused(self.taken().saturating_sub(target), horizon)? => &[true, false],
            Goal::AtMost(_) | Goal::Unreachable => &[false],
        };
        for &spare_used in passes {
            for (number, info) in self.candidates(horizon) {
                if self.reached(goal) {
                    break;
                }
                self.visit_pack(number, info, spare_used)?;
                // Old packs go in small groups, so that a rewrite never needs much more room than one pack.
                if self.emptied.len() >= 4 {
                    self.remove_emptied()?;
                }
            }
            self.remove_emptied()?;
            if self.reached(goal) {
                break;
            }
        }
        Ok(())
    }

    /// Once more over what was postponed, now that other packs are gone.
    fn run_again(&mut self, goal: Goal, horizon: Horizon) -> Result<()> {
        while std::mem::take(&mut self.postponed) {
            let before = self.report.packs_removed;
            self.run(goal, horizon)?;
            if self.report.packs_removed == before {
                break;
            }
        }
        Ok(())
    }

    fn reached(&self, goal: Goal) -> bool {
        matches!(goal, Goal::AtMost(target) if self.taken() <= target)
    }

    /// Bytes that the packs take without those that are about to go.
    fn taken(&self) -> u64 {
        let pending: u64 = self.emptied.iter().map(|number| self.file_length(*number)).sum();
        self.shared.used_bytes.load(Ordering::Relaxed).saturating_sub(pending)
    }

    /// Whether so many bytes would come free if what was used lately is spared. Looks at no more packs than that takes.
    fn has_unused(&self, wanted: u64, horizon: Horizon) -> Result<bool> {
        let mut unused = 0;
        for (number, info) in self.candidates(horizon) {
            if unused >= wanted {
                break;
            }
            let entries = self.shared.whole_table(number)?.unwrap_or_default();
            let stays = |place: &Place| {
                self.needed.contains(place) || self.shared.used_bits.contains(place) || self.shared.held.contains(place)
            };
            let staying = entries.iter().filter(|entry| stays(&entry.place(number)));
            let live = staying.map(|entry| entry.end() - entry.offset).sum();
            if is_worth_rewriting(info, live) {
                unused += info.end.saturating_sub(live);
            }
        }
        Ok(unused >= wanted)
    }

    /// Sealed packs that nobody has written to since before what is needed was asked for, oldest first.
    fn candidates(&self, horizon: Horizon) -> Vec<(u32, PackInfo)> {
        let holds = lock(&self.shared.holds);
        let missing = self.shared.missing.read().unwrap_or_else(PoisonError::into_inner);
        let catalogue = self.shared.catalogue.read().unwrap_or_else(PoisonError::into_inner);
        catalogue
            .iter()
            .filter(|(number, info)| **number < horizon.of(info.kind))
            .filter(|(number, info)| info.state == PackState::Sealed && !missing.contains(number))
            .filter(|(number, info)| holds.values().all(|hold| **number < hold.of(info.kind)))
            .map(|(number, info)| (*number, *info))
            .collect()
    }

    fn file_length(&self, number: u32) -> u64 {
        fs::metadata(pack::path(&self.shared.directory, number)).map_or(0, |meta| meta.len())
    }

    fn visit_pack(&mut self, number: u32, info: PackInfo, spare_used: bool) -> Result<()> {
        let tag = Tag::of(info.kind);
        let Some(entries) = self.shared.whole_table(number)? else {
            // Its table is damaged. What is in it stays until verify has seen to it.
            return Ok(());
        };
        let mut keep = Vec::new();
        let mut drop = Vec::new();
        for entry in entries {
            let place = entry.place(number);
            match self.shared.lookup(tag, &entry.score)? {
                Some(now) if now == place => {
                    let spared = spare_used && self.shared.used_bits.contains(&place);
                    let list = if self.needed.contains(&place) || spared { &mut keep } else { &mut drop };
                    list.push(entry);
                }
                // A later record: a collection that did not come to its end has copied it, or two put it at once.
                Some(now) => _ = self.shared.moved(&place, &now),
                None => {}
            }
        }
        let kept_back = self.drop_blocks(number, tag, &drop)?;
        self.report.dropped += (drop.len() - kept_back.len()) as u64;
        keep.extend(kept_back);
        keep.sort_unstable_by_key(|entry| entry.offset);
        self.kept.insert(number, keep.len() as u64);
        if spare_used {
            self.shared.used_bits.clear(number);
        }
        let live: u64 = keep.iter().map(|entry| entry.end() - entry.offset).sum();
        if is_worth_rewriting(info, live) {
            if live > 0 && !self.shared.has_room_for(live) {
                // Copying would take the last room that the index needs. What was dropped counts as garbage
                // until there is room, here or in the next collection.
                self.postponed = true;
                return Ok(());
            }
            relocate(self.shared, number, info.kind, &keep)?;
            self.emptied.push(number);
        }
        Ok(())
    }

    /// Drops blocks from the index and returns those that somebody uses after all.
    fn drop_blocks(&self, number: u32, tag: Tag, entries: &[TableEntry]) -> Result<Vec<TableEntry>> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let _alone = self.shared.dropping.write().unwrap_or_else(PoisonError::into_inner);
        let (back, mut go): (Vec<TableEntry>, Vec<TableEntry>) =
            entries.iter().partition(|entry| self.shared.held.contains(&entry.place(number)));
        // Whoever was quicker may have put it anew, elsewhere.
        for at in (0..go.len()).rev() {
            if self.shared.lookup(tag, &go[at].score)? != Some(go[at].place(number)) {
                go.swap_remove(at);
            }
        }
        let mut changes: Vec<_> = go.iter().map(|entry| Change::Delete(tag.score(&entry.score))).collect();
        if tag == Tag::Block {
            for entry in &go {
                self.shared.undrawn.set(&entry.place(number));
            }
            changes.push(self.shared.undrawn_change(number));
        }
        self.shared.change_blocks(changes)?;
        Ok(back)
    }

    fn remove_emptied(&mut self) -> Result<()> {
        let emptied = std::mem::take(&mut self.emptied);
        self.report.packs_removed += emptied.len() as u64;
        remove_packs(self.shared, &emptied)
    }
}

/// Copies records out of a pack of which the index names no others. After the next commit it names their new places.
pub(crate) fn relocate(shared: &Shared, number: u32, kind: PackKind, keep: &[TableEntry]) -> Result<()> {
    let tag = Tag::of(kind);
    let mut block = Vec::new();
    for entry in keep {
        let place = entry.place(number);
        match shared.lookup(tag, &entry.score)? {
            Some(now) if now == place => {}
            Some(now) => {
                shared.moved(&place, &now);
                continue;
            }
            None => continue,
        }
        match shared.read_place(&place, &mut block)? {
            Reading::Good => {
                let moved = shared.append_unchecked(kind, entry.score, &block)?;
                if shared.kept.contains(&place) {
                    shared.kept.set(&moved);
                }
                if shared.moved(&place, &moved) {
                    shared.do_not_draw(&moved);
                }
            }
            Reading::Damaged | Reading::Gone if kind == PackKind::Copies => shared.forget_copy(&entry.score, &place)?,
            Reading::Damaged | Reading::Gone => shared.quarantine(&entry.score, &place)?,
        }
    }
    Ok(())
}

/// Removes packs whose needed records were copied out.
///
/// Order matters for a crash: the copies and the index that names them are durable, and say that the packs
/// are dead, before a file goes.
pub(crate) fn remove_packs(shared: &Shared, numbers: &[u32]) -> Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    shared.commit()?;
    let mut changes = Vec::new();
    for number in numbers {
        let mut catalogue = shared.catalogue.write().unwrap_or_else(PoisonError::into_inner);
        let Some(info) = catalogue.remove(number) else { continue };
        let dead = PackInfo { state: PackState::Dead, ..info };
        changes.push(Change::Put(Tag::Pack.pack(*number), dead.to_value()));
    }
    shared.index.apply(&changes)?;
    shared.index.sync()?;
    let mut gone = HashSet::new();
    for number in numbers {
        let path = pack::path(&shared.directory, *number);
        let length = fs::metadata(&path).map_or(0, |meta| meta.len());
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        shared.forget_file(*number);
        shared.forget_marks(*number);
        shared.used_bytes.fetch_sub(length, Ordering::Relaxed);
        gone.insert(*number);
    }
    sync_directory(&shared.directory)?;
    let changes: Vec<_> = gone.iter().flat_map(|number| Tag::forget_pack(*number)).collect();
    Ok(shared.index.apply(&changes)?)
}
