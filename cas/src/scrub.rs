//! Reading everything and comparing it with its hash.

use std::{
    collections::HashSet,
    fs,
    sync::{PoisonError, atomic::Ordering},
};

use crate::{
    BlockStore as _, Error, PackKind, Result, Score, TableEntry,
    appender::sealed_by,
    gc::{relocate, remove_packs},
    marks::Marks,
    pack,
    pack_store::{PackState, PackStore, Reading, Shared, lock},
    place::{Place, Tag, score_of_key},
    recovery::scan,
    verdict::{self, Verdict},
};

/// One thing that is wrong in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The bytes of a block are not those of its score, or its pack is gone. It is quarantined now.
    Block {
        /// The block.
        score: Score,
        /// Its pack.
        pack: u32,
    },
    /// The second copy of a root is damaged; it is forgotten now.
    Copy {
        /// The block.
        score: Score,
        /// Its pack.
        pack: u32,
    },
    /// A record's header is damaged; the block itself is whole.
    RecordHeader {
        /// The block.
        score: Score,
        /// Its pack.
        pack: u32,
    },
    /// A pack's header is damaged.
    PackHeader {
        /// The pack.
        pack: u32,
    },
    /// A sealed pack's table or trailer is damaged.
    Table {
        /// The pack.
        pack: u32,
    },
    /// A pack's file is gone.
    Pack {
        /// The pack.
        pack: u32,
    },
}

impl Damage {
    /// Whether a block was lost, and not only something that is made again from whole blocks.
    pub const fn loses_a_block(&self) -> bool {
        matches!(self, Self::Block { .. })
    }
}

/// What a scrub read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Records that were read.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that were written anew because their own bytes were damaged.
    pub packs_rewritten: u64,
}

impl PackStore {
    /// Reads every block and compares it with its score, pack after pack, and calls `report` for each damage.
    ///
    /// A damaged block is quarantined: from now on it counts as missing. A root with a good second copy is
    /// whole again at once. With `repair`, packs with damaged headers or tables are written anew.
    /// `progress` is told how many bytes were read.
    pub fn scrub(
        &self,
        repair: bool,
        report: &mut dyn FnMut(Damage),
        progress: &mut dyn FnMut(u64),
    ) -> Result<ScrubReport> {
        self.shared.commit()?;
        let mut scrub = Scrub { store: self, seen: Marks::default(), total: ScrubReport::default(), report, progress };
        let packs: Vec<_> = {
            let catalogue = self.shared.catalogue.read().unwrap_or_else(PoisonError::into_inner);
            catalogue.iter().map(|(number, info)| (*number, *info)).collect()
        };
        let mut rewrite = Vec::new();
        for (number, info) in packs {
            let sound = scrub.pack(number, info.kind, info.state == PackState::Sealed)?;
            if !sound {
                rewrite.push((number, info.kind));
            }
        }
        scrub.unseen()?;
        let mut total = scrub.total;
        if repair {
            for (number, kind) in rewrite {
                total.packs_rewritten += u64::from(self.rewrite(number, kind)?);
            }
            self.forget_missing()?;
        }
        self.shared.commit()?;
        Ok(total)
    }

    /// Reads one block and compares it with its score. Returns its length, or `None` when it is not here or
    /// was damaged; then it is in quarantine and `report` was told.
    pub fn check(&self, score: &Score, report: &mut dyn FnMut(Damage)) -> Result<Option<u64>> {
        let Some(place) = self.shared.lookup(Tag::Block, score)? else { return Ok(None) };
        let mut block = Vec::new();
        if matches!(self.shared.read_place(&place, &mut block)?, Reading::Good) && score.matches(&block) {
            return Ok(Some(u64::from(place.length)));
        }
        report(Damage::Block { score: *score, pack: place.pack });
        self.shared.quarantine(score, &place)?;
        Ok(None)
    }

    /// Scores of blocks that were found damaged and are not healed.
    pub fn quarantined(&self) -> Vec<Score> {
        let mut scores: Vec<_> =
            self.shared.quarantine.read().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        scores.sort_unstable();
        scores
    }

    /// Forgets that blocks were damaged: from now on they are simply not there.
    pub fn forget_quarantined(&self, scores: &[Score]) -> Result<()> {
        let changes: Vec<_> = scores.iter().map(|score| crate::Change::Delete(Tag::Quarantine.score(score))).collect();
        self.shared.index.apply(&changes)?;
        let mut quarantine = self.shared.quarantine.write().unwrap_or_else(PoisonError::into_inner);
        for score in scores {
            quarantine.remove(score);
        }
        Ok(())
    }

    /// Copies what is whole in a pack elsewhere and removes it.
    fn rewrite(&self, number: u32, kind: PackKind) -> Result<bool> {
        let shared = &self.shared;
        let _one = lock(&shared.collecting);
        // The open pack must not be appended to while it is copied.
        shared.blocks.seal()?;
        shared.copies.seal()?;
        shared.commit()?;
        let Some(open) = shared.file(number)? else { return Ok(false) };
        let file = &open.file;
        // What the pack itself names may lie elsewhere by now; what the index names it may not name.
        let mut entries = shared.whole_table(number)?.unwrap_or_default();
        entries.extend(indexed(shared, number, kind)?);
        relocate(shared, number, kind, &entries)?;
        let path = pack::path(&shared.directory, number);
        if pack::number_in_header(file).map_err(Error::io("read", &path))?.is_some_and(|named| named != number) {
            rescue(shared, number, &pack::read(&path, file)?)?;
        }
        remove_packs(shared, &[number])?;
        Ok(true)
    }

    /// Takes packs whose file is gone out of the catalogue, once their blocks are quarantined.
    fn forget_missing(&self) -> Result<()> {
        let missing: Vec<_> =
            self.shared.missing.read().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        for number in missing {
            self.shared.index.apply(&Tag::forget_pack(number))?;
            self.shared.forget_marks(number);
            self.shared.catalogue.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
            self.shared.missing.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        }
        Ok(())
    }
}

/// Takes what is whole out of a pack that lies under another's name: the index looks for its blocks elsewhere,
/// in vain.
fn rescue(shared: &Shared, number: u32, contents: &pack::Contents) -> Result<()> {
    let is_copy = contents.kind == Some(PackKind::Copies);
    let mut block = Vec::new();
    for entry in &contents.entries {
        let whole = matches!(shared.read_place(&entry.place(number), &mut block)?, Reading::Good);
        if !whole || !entry.score.matches(&block) {
            continue;
        }
        if shared.lookup(Tag::Block, &entry.score)?.is_none() {
            let place = shared.append_unchecked(PackKind::Blocks, entry.score, &block)?;
            if is_copy {
                // Only roots have copies, and no root is drawn.
                shared.do_not_draw(&place);
            }
        }
        if is_copy && shared.lookup(Tag::Copy, &entry.score)?.is_none() {
            shared.append_unchecked(PackKind::Copies, entry.score, &block)?;
        }
    }
    Ok(())
}

/// What the index says is in a pack. Reads the whole index: only for packs whose own table cannot be trusted.
fn indexed(shared: &Shared, number: u32, kind: PackKind) -> Result<Vec<TableEntry>> {
    let tag = Tag::of(kind);
    let mut entries = Vec::new();
    scan(shared.index.as_ref(), tag, |key, value| {
        let Place { pack, offset, length, checksum } = Place::from_value(key, value)?;
        if pack == number {
            entries.push(TableEntry { offset, length, checksum, score: score_of_key(key)? });
        }
        Ok(())
    })?;
    entries.sort_unstable_by_key(|entry| entry.offset);
    Ok(entries)
}

struct Scrub<'a> {
    store: &'a PackStore,
    /// Places that the walk over the packs has read.
    seen: Marks,
    total: ScrubReport,
    report: &'a mut dyn FnMut(Damage),
    progress: &'a mut dyn FnMut(u64),
}

impl Scrub<'_> {
    /// Reads one pack; `false` when its own bytes are damaged, so that it should be written anew.
    fn pack(&mut self, number: u32, kind: PackKind, sealed: bool) -> Result<bool> {
        let shared = &self.store.shared;
        let path = pack::path(&shared.directory, number);
        // What is cached may be an old handle of a file that is gone.
        shared.forget_file(number);
        let Some(open) = shared.file(number)? else {
            (self.report)(Damage::Pack { pack: number });
            let is_news = shared.missing.write().unwrap_or_else(PoisonError::into_inner).insert(number);
            let info = shared.catalogue.read().unwrap_or_else(PoisonError::into_inner).get(&number).copied();
            if let Some(info) = info.filter(|_| is_news) {
                let table = if info.state == PackState::Sealed { sealed_by(u64::from(info.records)) } else { 0 };
                shared.used_bytes.fetch_sub(info.end + table, Ordering::Relaxed);
            }
            return Ok(true);
        };
        let length = fs::metadata(&path).map_err(Error::io("read", &path))?.len();
        let file = &open.file;
        let contents = pack::read(&path, file)?;
        let mut sound = true;
        let named = pack::number_in_header(file).map_err(Error::io("read", &path))?;
        if contents.kind != Some(kind) || named != Some(number) {
            (self.report)(Damage::PackHeader { pack: number });
            sound = false;
        }
        if sealed && contents.trailer.is_none_or(|trailer| trailer.number != number) {
            (self.report)(Damage::Table { pack: number });
            sound = false;
        }
        let entries: Vec<_> = contents.entries.into_iter().filter(|entry| entry.end() <= length).collect();
        let tag = Tag::of(kind);
        let mut wrong = Vec::new();
        let (seen, total, progress) = (&self.seen, &mut self.total, &mut self.progress);
        verdict::read_all(shared, (tag, number, file), &entries, &mut |verdict| {
            seen.set(&verdict.entry.place(number));
            total.blocks += 1;
            total.bytes += u64::from(verdict.entry.length);
            progress(total.bytes);
            if !verdict.whole || !verdict.is_named {
                wrong.push(verdict);
            }
        })?;
        wrong.sort_unstable_by_key(|verdict| verdict.entry.offset);
        for Verdict { entry, whole, is_named } in wrong {
            if !whole {
                self.damaged(tag, &entry.score, &entry.place(number))?;
            }
            if !is_named {
                (self.report)(Damage::RecordHeader { score: entry.score, pack: number });
                sound = false;
            }
        }
        Ok(sound)
    }

    /// Tells of a block that is not what its score says, and sees to what can be seen to at once.
    fn damaged(&mut self, tag: Tag, score: &Score, place: &Place) -> Result<()> {
        let shared = &self.store.shared;
        let now = shared.lookup(tag, score)?;
        if now.is_none() && !shared.is_quarantined(score) {
            // It was given up meanwhile.
            return Ok(());
        }
        let pack = place.pack;
        (self.report)(match tag {
            Tag::Copy => Damage::Copy { score: *score, pack },
            _ => Damage::Block { score: *score, pack },
        });
        if now != Some(*place) {
            // Somebody who read it has found the same, and seen to it.
            return Ok(());
        }
        if tag == Tag::Copy {
            shared.forget_copy(score, place)?;
            // If the first copy is whole, a second one is made of it.
            if let Ok(Some(block)) = self.store.get(score) {
                self.store.put_twice(score.algorithm(), &block)?;
            }
        } else {
            shared.quarantine(score, place)?;
            // A root is taken from its second copy at once.
            let mut copy = Vec::new();
            if let Err(error) = self.store.get_into(score, &mut copy) {
                tracing::debug!(%error, "no second copy");
            }
        }
        Ok(())
    }

    /// Checks what the index has and no pack named: blocks of packs that are gone or cut, or whose header
    /// and table are damaged. (Small blocks share marks with neighbours, so of these some may be missed
    /// here; a read still finds them.)
    fn unseen(&mut self) -> Result<()> {
        for tag in [Tag::Block, Tag::Copy] {
            let mut unseen = HashSet::new();
            let seen = &self.seen;
            scan(self.store.shared.index.as_ref(), tag, |key, value| {
                let place = Place::from_value(key, value)?;
                if !seen.contains(&place) {
                    unseen.insert(score_of_key(key)?);
                }
                Ok(())
            })?;
            let mut unseen: Vec<_> = unseen.into_iter().collect();
            unseen.sort_unstable();
            let mut block = Vec::new();
            for score in unseen {
                let Some(place) = self.store.shared.lookup(tag, &score)? else { continue };
                let read = self.store.shared.read_place(&place, &mut block)?;
                self.total.blocks += 1;
                self.total.bytes += u64::from(place.length);
                (self.progress)(self.total.bytes);
                if !matches!(read, Reading::Good) || !score.matches(&block) {
                    self.damaged(tag, &score, &place)?;
                }
            }
        }
        Ok(())
    }
}
