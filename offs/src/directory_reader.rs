//! Reading stored directories.

use std::io::{self, Write};

use crate::{
    DirectoryError, Entry, Error, FileReader, Head, Node, Reference, Result,
    directory::{DirectoryParser, Parsed},
};

/// Reads a directory object entry by entry, in bounded memory.
pub struct DirectoryReader;

impl DirectoryReader {
    /// Calls `head` once and then `entry` for every entry, each checked against the rules of the format.
    ///
    /// The object's own hash is known only at the end: act on entries where the acts can be undone.
    pub fn entries<E: From<Error>>(
        file: &FileReader<'_>,
        head: &mut dyn FnMut(Head) -> Result<(), E>,
        entry: &mut dyn FnMut(Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut parsing = Parsing { parser: DirectoryParser::default(), head, entry, failure: None };
        let copied = file.copy(&mut parsing, &|_| {});
        if let Some(failure) = parsing.failure {
            return Err(failure);
        }
        copied?;
        Ok(parsing.parser.finish().map_err(Error::from)?)
    }

    /// Calls `visit` with every reference in a directory: the packed file's, and those of files of their own.
    pub fn read(file: &FileReader<'_>, visit: &mut dyn FnMut(&Reference)) -> Result<()> {
        let all = std::cell::RefCell::new(Vec::new());
        Self::entries::<Error>(
            file,
            &mut |head| {
                all.borrow_mut().extend(head.packed.map(|(reference, _)| reference));
                Ok(())
            },
            &mut |entry| {
                if let Node::File { reference, .. } = entry.node {
                    all.borrow_mut().push(reference);
                }
                Ok(())
            },
        )?;
        // Only now is the object known to be what its writer wrote.
        all.take().iter().for_each(visit);
        Ok(())
    }
}

struct Parsing<'a, E> {
    parser: DirectoryParser,
    head: &'a mut dyn FnMut(Head) -> Result<(), E>,
    entry: &'a mut dyn FnMut(Entry) -> Result<(), E>,
    failure: Option<E>,
}

/// Either side's failure, on its way through the parser.
enum Failure<E> {
    Parser(DirectoryError),
    Visitor(E),
}

impl<E> From<DirectoryError> for Failure<E> {
    fn from(error: DirectoryError) -> Self {
        Self::Parser(error)
    }
}

impl<E: From<Error>> Write for Parsing<'_, E> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (head, entry) = (&mut self.head, &mut self.entry);
        let fed = self.parser.feed::<Failure<E>>(bytes, &mut |parsed| match parsed {
            Parsed::Head(is) => head(is).map_err(Failure::Visitor),
            Parsed::Entry(is) => entry(is).map_err(Failure::Visitor),
        });
        match fed {
            Ok(()) => Ok(bytes.len()),
            Err(failure) => {
                self.failure = Some(match failure {
                    Failure::Parser(error) => Error::from(error).into(),
                    Failure::Visitor(error) => error,
                });
                Err(io::Error::other("the directory object was refused"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
