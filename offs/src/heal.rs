//! Healing: recomputing blocks that are missing or damaged, from tuples and parity.

use cas::{BlockStore, Score};

use crate::{Descrambler, DirectoryReader, Error, FileReader, Kind, Reference, Result, file_reader::drive};

/// What a healing came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealReport {
    /// Blocks that were recomputed and put back.
    pub healed: u64,
    /// Blocks that stay away, although everything can still be read: their tuples lost more than one block.
    pub unhealed: Vec<Score>,
    /// Stripes that cannot be read.
    pub lost_stripes: u64,
    /// Blocks that are gone from those stripes.
    pub lost: Vec<Score>,
}

impl HealReport {
    fn add(&mut self, other: Self) {
        self.healed += other.healed;
        self.unhealed.extend(other.unhealed);
        self.lost_stripes += other.lost_stripes;
        self.lost.extend(other.lost);
    }
}

/// Heals a file, and when it is a directory, every file in it.
pub fn heal(store: &dyn BlockStore, reference: &Reference) -> Result<HealReport> {
    let mut report = heal_file(store, reference)?;
    let file = FileReader::open(store, reference)?;
    if file.root().kind == Kind::Directory && report.lost_stripes == 0 {
        let mut within = Ok(());
        DirectoryReader::read(&file, &mut |inner: &Reference| {
            if within.is_ok() {
                within = heal_file(store, inner).map(|inner| report.add(inner));
            }
        })?;
        within?;
    }
    Ok(report)
}

/// Heals one file. A block that one stripe gives back may be what another stripe lacks, so it is gone over
/// until nothing more comes back.
pub(crate) fn heal_file(store: &dyn BlockStore, reference: &Reference) -> Result<HealReport> {
    let mut healed = 0;
    loop {
        let mut report = heal_once(store, reference)?;
        healed += report.healed;
        if report.healed == 0 || (report.lost.is_empty() && report.unhealed.is_empty()) {
            report.healed = healed;
            return Ok(report);
        }
    }
}

fn heal_once(store: &dyn BlockStore, reference: &Reference) -> Result<HealReport> {
    let file = FileReader::open(store, reference)?.without_healing();
    let mut report = HealReport::default();
    file.walk(|stripe, tuples| {
        let mended = tuples.and_then(|tuples| {
            let key = reference.key.clone();
            let mut mending = Descrambler::mend(file.root().parameters, key, *stripe, tuples);
            let healed = drive(store, &mut mending)?;
            Ok((healed, mending.unhealed()))
        });
        match mended {
            Ok((healed, unhealed)) => {
                report.healed += healed;
                report.unhealed.extend(unhealed);
            }
            Err(Error::Lost { missing, damaged }) => {
                report.lost_stripes += 1;
                report.lost.extend(missing.into_iter().chain(damaged));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    })?;
    Ok(report)
}
