//! Opening a store: bringing the index up to what the packs say.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File, OpenOptions},
    path::Path,
};

use crate::{
    Change, Error, Index, PackKind, RECORD_HEADER, Result, Score, TableEntry,
    appender::{OpenPack, sealed_by},
    ledger::Ledger,
    marks::Marks,
    pack::{self, Contents},
    pack_store::{PackInfo, PackState, read_catalogue, sync_directory},
    place::{Place, Tag, pack_of_key, score_of_key},
};

/// What the opening of a store found.
pub(crate) struct Recovered {
    pub(crate) catalogue: BTreeMap<u32, PackInfo>,
    pub(crate) open_blocks: Option<OpenPack>,
    pub(crate) open_copies: Option<OpenPack>,
    pub(crate) next_pack: u32,
    pub(crate) bytes: u64,
    pub(crate) quarantine: HashSet<Score>,
    pub(crate) missing: HashSet<u32>,
}

/// After a rebuild of an index with more entries it is put in order, which takes a part of the rebuild's own time.
const MANY: u64 = 100_000;

/// Most changes of one batch.
const BATCH: usize = 4096;

pub(crate) fn recover(
    packs: &Path,
    index: &dyn Index,
    ledger: &Ledger,
    (used, undrawn, kept): (&Marks, &Marks, &Marks),
) -> Result<Recovered> {
    let mut catalogue = read_catalogue(index)?;
    let mut files = list(packs)?;
    for number in dead(&catalogue) {
        if files.remove(&number).is_some() {
            let path = pack::path(packs, number);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        index.apply(&Tag::forget_pack(number))?;
        catalogue.remove(&number);
    }
    // Without any entry the index is new, or was thrown away: then a record with wrong bytes is damage
    // and not the torn end of a write.
    let rebuilding = catalogue.is_empty();
    let misplaced = misplaced(packs, &catalogue, &files)?;
    let mut roots = Vec::new();
    let mut sealed = Vec::new();
    let mut open: BTreeMap<PackKind, OpenPack> = BTreeMap::new();
    for (&number, length) in &mut files {
        let known = catalogue.get(&number).copied();
        if known.is_some_and(|info| info.state == PackState::Sealed) || misplaced.contains(&number) {
            continue;
        }
        let Some((info, found)) = recover_pack(packs, number, known, rebuilding, (index, ledger), &mut roots)? else {
            *length = 0;
            continue;
        };
        catalogue.insert(number, info);
        if info.state == PackState::Open {
            *length = info.end + sealed_by(u64::from(info.records));
        }
        if let Some(found) = found
            && let Some(older) = open.insert(info.kind, found)
        {
            let length = seal_older(&older, index, &mut catalogue)?;
            sealed.push((older.number, length));
        }
    }
    for (number, length) in sealed {
        files.insert(number, length);
    }
    load_marks(index, &catalogue, [(Tag::Used, used), (Tag::Undrawn, undrawn), (Tag::Kept, kept)])?;
    mark_roots(index, &roots, undrawn)?;
    ledger.make(index)?;
    if rebuilding && catalogue.values().map(|info| u64::from(info.records)).sum::<u64>() > MANY {
        index.settle();
    }
    let gone = |number: &&u32| !files.contains_key(number) || misplaced.contains(number);
    let missing = catalogue.keys().filter(gone).copied().collect();
    for number in &missing {
        tracing::error!(pack = number, "a pack file is missing");
    }
    let highest = files.keys().chain(catalogue.keys()).max();
    let mut quarantine = HashSet::new();
    scan(index, Tag::Quarantine, |key, _| {
        quarantine.insert(score_of_key(key)?);
        Ok(())
    })?;
    Ok(Recovered {
        next_pack: highest.map_or(1, |highest| highest + 1),
        bytes: files.values().sum(),
        open_blocks: open.remove(&PackKind::Blocks),
        open_copies: open.remove(&PackKind::Copies),
        catalogue,
        quarantine,
        missing,
    })
}

/// Calls `visit` for every index entry of a kind; its first error ends the scan.
pub(crate) fn scan(
    index: &dyn Index,
    tag: Tag,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), crate::IndexError>,
) -> Result<()> {
    let mut result = Ok(());
    index.scan(&[tag.byte()], &mut |key, value| {
        result = visit(key, value);
        if result.is_ok() { std::ops::ControlFlow::Continue(()) } else { std::ops::ControlFlow::Break(()) }
    })?;
    Ok(result?)
}

/// Open packs of the catalogue in whose place another pack lies: it must not be appended to as if it were ours.
fn misplaced(packs: &Path, catalogue: &BTreeMap<u32, PackInfo>, files: &BTreeMap<u32, u64>) -> Result<HashSet<u32>> {
    let mut misplaced = HashSet::new();
    for (&number, info) in catalogue {
        if info.state == PackState::Open && files.contains_key(&number) {
            let path = pack::path(packs, number);
            let named = File::open(&path).and_then(|file| pack::number_in_header(&file));
            if named.map_err(Error::io("read", &path))?.is_some_and(|named| named != number) {
                misplaced.insert(number);
            }
        }
    }
    Ok(misplaced)
}

fn dead(catalogue: &BTreeMap<u32, PackInfo>) -> Vec<u32> {
    catalogue.iter().filter(|(_, info)| info.state == PackState::Dead).map(|(number, _)| *number).collect()
}

/// Numbers and lengths of the pack files.
fn list(packs: &Path) -> Result<BTreeMap<u32, u64>> {
    let failed = || Error::io("read", packs);
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(packs).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let name = entry.file_name();
        if let Some(number) = name.to_str().and_then(pack::number) {
            files.insert(number, entry.metadata().map_err(failed())?.len());
        } else {
            tracing::warn!(file = ?name, "not a pack, left alone");
        }
    }
    Ok(files)
}

/// Brings the index up to one pack. `None` when the pack held nothing and was removed.
fn recover_pack(
    packs: &Path,
    number: u32,
    known: Option<PackInfo>,
    rebuilding: bool,
    index: (&dyn Index, &Ledger),
    roots: &mut Vec<Score>,
) -> Result<Option<(PackInfo, Option<OpenPack>)>> {
    let path = pack::path(packs, number);
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(Error::io("open", &path))?;
    let Contents { kind, trailer, mut entries, mut end, searched } = pack::read(&path, &file)?;
    if known.is_none() && entries.is_empty() && trailer.is_none() {
        // The process died while it made the pack.
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        return Ok(None);
    }
    let kind = known.map(|info| info.kind).or(kind).unwrap_or(PackKind::Blocks);
    let committed = known.map_or(0, |info| info.end);
    let mut damaged = Vec::new();
    if trailer.is_none() {
        let mut good = Vec::with_capacity(entries.len());
        for entry in entries {
            let unsure = entry.offset >= committed || entry.offset >= searched;
            if !unsure || is_whole(&file, &entry, entry.offset >= searched).map_err(Error::io("read", &path))? {
                good.push(entry);
            } else if entry.offset >= searched {
                // Found by searching, and no block: it was never a record.
            } else if rebuilding {
                damaged.push(entry);
            } else {
                tracing::info!(pack = number, at = entry.offset, "cut off what was not acknowledged");
                end = entry.offset;
                break;
            }
        }
        entries = good;
        end = end.max(committed).max(RECORD_HEADER as u64);
        cut(&path, &file, end)?;
    }
    if trailer.is_some() && !rebuilding {
        // Sealed, but the end was not acknowledged: then the table may have reached the disk before a block did.
        let mut good = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.offset < committed || is_whole(&file, &entry, true).map_err(Error::io("read", &path))? {
                good.push(entry);
            }
        }
        entries = good;
    }
    let state = if trailer.is_some() { PackState::Sealed } else { PackState::Open };
    let records = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    let info = PackInfo { kind, state, records, end };
    let fresh = entries.partition_point(|entry| entry.offset < committed);
    if known != Some(info) {
        // From here on these count as committed, so they must be on stable storage: who wrote them may have died
        // before that.
        file.sync_data().map_err(Error::io("sync", &path))?;
        sync_directory(packs)?;
    }
    add_to_index(index, number, info, &entries[fresh..], &damaged)?;
    if kind == PackKind::Copies {
        roots.extend(entries[fresh..].iter().map(|entry| entry.score));
    }
    let open = (state == PackState::Open).then(|| OpenPack::new(&path, file, number, end, entries));
    Ok(Some((info, open)))
}

fn is_whole(file: &File, entry: &TableEntry, hash: bool) -> std::io::Result<bool> {
    let mut block = Vec::new();
    let read = match pack::read_record(file, entry.offset, entry.length, &mut block) {
        Err(error) if pack::is_unreadable(&error) => None,
        read => read?,
    };
    Ok(read.is_some() && crc32fast::hash(&block) == entry.checksum && (!hash || entry.score.matches(&block)))
}

fn cut(path: &Path, file: &File, end: u64) -> Result<()> {
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    if length > end {
        tracing::info!(pack = %path.display(), bytes = length - end, "cut off a torn end");
        file.set_len(end).map_err(Error::io("cut", path))?;
    } else {
        pack::give_room_back(file).map_err(Error::io("cut", path))?;
    }
    Ok(())
}

fn add_to_index(
    (index, ledger): (&dyn Index, &Ledger),
    number: u32,
    info: PackInfo,
    entries: &[TableEntry],
    damaged: &[TableEntry],
) -> Result<()> {
    let tag = Tag::of(info.kind);
    for entries in entries.chunks(BATCH) {
        let mut changes = Vec::with_capacity(entries.len());
        for entry in entries {
            changes.push(Change::Put(tag.score(&entry.score), entry.place(number).to_value()));
            if tag == Tag::Block && index.get(&Tag::Quarantine.score(&entry.score))?.is_some() {
                changes.push(Change::Delete(Tag::Quarantine.score(&entry.score)));
            }
        }
        ledger.apply(index, changes)?;
    }
    // A block that was healed has a good record too, here or in another pack: then it is not damaged.
    for entry in damaged.iter().filter(|_| tag == Tag::Block) {
        if index.get(&Tag::Block.score(&entry.score))?.is_none() {
            let place = entry.place(number).to_value();
            index.apply(&[Change::Put(Tag::Quarantine.score(&entry.score), place)])?;
        }
    }
    Ok(index.apply(&[Change::Put(Tag::Pack.pack(number), info.to_value())])?)
}

/// Takes the marks of packs out of the index, and throws those away whose pack is gone: the next one of its number is
/// another.
fn load_marks(index: &dyn Index, catalogue: &BTreeMap<u32, PackInfo>, kinds: [(Tag, &Marks); 3]) -> Result<()> {
    let mut stale = Vec::new();
    for (tag, marks) in kinds {
        scan(index, tag, |key, value| {
            let pack = pack_of_key(key)?;
            if catalogue.contains_key(&pack) {
                marks.load(pack, value);
            } else {
                stale.push(Change::Delete(key.to_vec()));
            }
            Ok(())
        })?;
    }
    Ok(index.apply(&stale)?)
}

/// A block with a second copy is a root, and no root is drawn as a randomizer.
fn mark_roots(index: &dyn Index, roots: &[Score], undrawn: &Marks) -> Result<()> {
    let mut changed = HashSet::new();
    for root in roots {
        let key = Tag::Block.score(root);
        if let Some(value) = index.get(&key)? {
            let place = Place::from_value(&key, &value)?;
            undrawn.set(&place);
            changed.insert(place.pack);
        }
    }
    let changes: Vec<_> =
        changed.into_iter().map(|pack| Change::Put(Tag::Undrawn.pack(pack), undrawn.to_value(pack))).collect();
    Ok(index.apply(&changes)?)
}

/// Only the newest pack of a kind goes on; an older one gets its table now.
///
/// Returns the length of its file.
fn seal_older(older: &OpenPack, index: &dyn Index, catalogue: &mut BTreeMap<u32, PackInfo>) -> Result<u64> {
    let length = match older.seal_in_place() {
        Ok(length) => length,
        // It can be read without a table; the next opening tries again.
        Err(Error::DiskFull { .. }) => return Ok(older.end),
        Err(error) => return Err(error),
    };
    if let Some(info) = catalogue.get_mut(&older.number) {
        info.state = PackState::Sealed;
        index.apply(&[Change::Put(Tag::Pack.pack(older.number), info.to_value())])?;
    }
    Ok(length)
}
