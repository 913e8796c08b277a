//! `offs key`: keys that sign mutable items.

use crate::{
    dht::{arguments::Key, key_file::KeyFile},
    failure::Failure,
    output,
};

pub(crate) fn run(key: &Key) -> Result<(), Failure> {
    let key = match key {
        Key::New { file } => KeyFile::create(file)?,
        Key::Show { file } => KeyFile::read(file)?,
    };
    output::line(hex::encode(key.key.public()))
}
