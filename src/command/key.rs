//! `offs key`: keys that sign mutable items, and access keys for S3 clients.

use gateway::{AccessKey, Keys, Rights};
use serde_json::{Value, json};

use crate::{
    arguments::Arguments,
    date,
    dht::{arguments::Key, key_file::KeyFile},
    failure::Failure,
    home, output,
    progress::remark,
};

pub(crate) fn run(arguments: &Arguments, key: &Key) -> Result<(), Failure> {
    let keys = || -> Result<Keys, Failure> {
        let path = home::locate(arguments)?;
        home::make_private(&path)?;
        Ok(Keys::new(path.join(home::KEYS)))
    };
    match key {
        Key::New { file } => output::line(hex::encode(KeyFile::create(file)?.key.public())),
        Key::Show { file } => output::line(hex::encode(KeyFile::read(file)?.key.public())),
        Key::Create { name, bucket, read, write, expires, json } => {
            let rights = match (read, write) {
                (true, true) => Rights::ReadWrite,
                (true, false) => Rights::Read,
                (false, true) => Rights::Write,
                (false, false) => Rights::All,
            };
            let key = keys()?.create(name, bucket.clone(), rights, *expires)?;
            if *json {
                let mut shown = shown(&key);
                shown["secret"] = key.secret.into();
                return output::json(&shown);
            }
            output::line(format!("{} {}", key.access, key.secret))?;
            remark("that is the access key and its secret, which is not shown again");
            Ok(())
        }
        Key::List { json } => {
            for key in keys()?.list()?.iter() {
                if *json {
                    output::json(&shown(key))?;
                } else {
                    let bucket = key.bucket.as_deref().unwrap_or("-");
                    let ends = match key.expires {
                        None => String::new(),
                        Some(_) if key.is_expired() => " expired".to_owned(),
                        Some(end) => format!(" until {}", date::in_words(end)),
                    };
                    output::line(format!("{} {} {} {bucket}{ends}", key.access, key.name, word(key.rights)))?;
                }
            }
            Ok(())
        }
        Key::Revoke { name } => {
            keys()?.revoke(name)?;
            Ok(())
        }
    }
}

const fn word(rights: Rights) -> &'static str {
    match rights {
        Rights::All => "all",
        Rights::Read => "read",
        Rights::Write => "write",
        Rights::ReadWrite => "read,write",
    }
}

fn shown(key: &AccessKey) -> Value {
    json!({
        "name": key.name,
        "access": key.access,
        "bucket": key.bucket,
        "rights": word(key.rights),
        "created": key.created,
        "expires": key.expires,
    })
}
