//! Which blocks a file needs: for pins, for collection, for whoever copies a file.

use cas::{BlockStore, Score};

use crate::{DirectoryReader, FileReader, Kind, Reference, Result};

/// Calls `visit` with the score of every block that the file needs, and, when it is a directory, of every
/// block of the files in it. A block in several tuples is visited several times.
///
/// # Errors
/// When a part that names other blocks (a root, a descriptor, a directory object) cannot be read or rebuilt.
pub fn list(store: &dyn BlockStore, reference: &Reference, visit: &mut dyn FnMut(&Score)) -> Result<()> {
    let file = FileReader::open(store, reference)?;
    list_file(&file, visit)?;
    if file.root().kind != Kind::Directory {
        return Ok(());
    }
    let mut within: Result<()> = Ok(());
    DirectoryReader::read(&file, &mut |inner: &Reference| {
        if within.is_ok() {
            // What a directory names are files, so this goes no deeper.
            within = FileReader::open_kind(store, inner, Kind::File).and_then(|file| list_file(&file, visit));
        }
    })?;
    within
}

fn list_file(file: &FileReader<'_>, visit: &mut dyn FnMut(&Score)) -> Result<()> {
    visit(&file.reference().root);
    let algorithm = file.root().parameters.algorithm;
    file.walk(|_, tuples| {
        for digest in tuples?.as_chunks().0 {
            visit(&Score::from_digest(algorithm, *digest));
        }
        Ok(())
    })
}
