//! How much of a file is here, without reading more than its descriptor.

use std::collections::BTreeSet;

use cas::{BlockStore, Score};

use crate::{DirectoryReader, Error, FileReader, Kind, Reference, Result};

/// What is here of a file and, when it is a directory, of the files in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Places for blocks in tuples, and roots; a block in several tuples counts several times.
    pub blocks: u64,
    /// Blocks that are not here, or are damaged.
    pub missing: BTreeSet<Score>,
    /// Stripes of all levels.
    pub stripes: u64,
    /// Stripes with something missing that parity makes up for.
    pub rebuildable: u64,
    /// Stripes that cannot be read. When the descriptors of many are lost, the rest is not looked at.
    pub lost: u64,
    /// Files in a directory that are stored on their own, and the packed one.
    pub files: u64,
}

/// Looks up every block that a file needs.
///
/// # Errors
/// When the root, or the object of a directory, cannot be read.
pub fn survey(store: &dyn BlockStore, reference: &Reference) -> Result<Survey> {
    let mut survey = Survey::default();
    let file = FileReader::open(store, reference)?;
    survey.add(store, &file)?;
    if file.root().kind == Kind::Directory && survey.lost == 0 {
        let mut inner = Ok(());
        DirectoryReader::read(&file, &mut |reference: &Reference| {
            if inner.is_ok() {
                inner = survey.add_inner(store, reference);
            }
        })?;
        inner?;
    }
    Ok(survey)
}

impl Survey {
    fn add_inner(&mut self, store: &dyn BlockStore, reference: &Reference) -> Result<()> {
        self.files += 1;
        match FileReader::open_kind(store, reference, Kind::File) {
            Ok(file) => self.add(store, &file),
            Err(Error::NoRoot { root } | Error::Store(cas::Error::Damaged { score: root })) => {
                self.blocks += 1;
                self.missing.insert(root);
                self.stripes += 1;
                self.lost += 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn add(&mut self, store: &dyn BlockStore, file: &FileReader<'_>) -> Result<()> {
        self.blocks += 1;
        file.walk(|stripe, tuples| {
            self.stripes += 1;
            let tuples = match tuples {
                Err(Error::Lost { .. }) => {
                    self.lost += 1;
                    return Ok(());
                }
                tuples => tuples?,
            };
            let broken = self.count_broken(store, file, &tuples)?;
            self.lost += u64::from(broken > stripe.parity);
            self.rebuildable += u64::from((1..=stripe.parity).contains(&broken));
            Ok(())
        })
    }

    /// Number of tuples with a block missing.
    fn count_broken(&mut self, store: &dyn BlockStore, file: &FileReader<'_>, tuples: &[u8]) -> Result<usize> {
        let parameters = file.root().parameters;
        let mut broken = 0;
        for tuple in tuples.chunks(32 * usize::from(parameters.tuple)) {
            let mut whole = true;
            for digest in tuple.as_chunks().0 {
                self.blocks += 1;
                let score = Score::from_digest(parameters.algorithm, *digest);
                if !store.contains(&score)? {
                    self.missing.insert(score);
                    whole = false;
                }
            }
            broken += usize::from(!whole);
        }
        Ok(broken)
    }
}
