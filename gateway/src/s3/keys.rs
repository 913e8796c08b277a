//! Access keys: who may do what at the door for S3 (docs/s3.md, section 2).

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// What a key gives the right to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rights {
    /// Everything, settings of buckets included.
    All,
    /// Reading and listing.
    Read,
    /// Putting and deleting.
    Write,
    /// Both, but no settings.
    ReadWrite,
}

/// An access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// What its owner calls it.
    pub name: String,
    /// Its public half.
    pub access: String,
    /// Its secret half, by which requests are signed.
    pub secret: String,
    /// The only bucket that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// What it gives the right to.
    pub rights: Rights,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// From when on it is no longer taken, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

impl AccessKey {
    /// Whether it is no longer taken.
    pub fn is_expired(&self) -> bool {
        self.expires.is_some_and(|end| now() >= end)
    }
}

/// Why keys cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file system says no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others may read it.
    #[error("{} holds secrets and can be read by others; take that right from them: chmod 600", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
    },
    /// It is not what was written.
    #[error("{} cannot be understood: {source}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A name that lists and policies could not have.
    #[error("{name:?} cannot be the name of a key: letters, digits and _+=,.@- can, at most 64 of them")]
    Name {
        /// The name.
        name: String,
    },
    /// A bucket that cannot be.
    #[error("{bucket:?} cannot be a bucket: its name has 3 to 63 small letters, digits, dots and hyphens")]
    Bucket {
        /// Its name.
        bucket: String,
    },
    /// There is a key with that name.
    #[error("there is a key {name} already")]
    Taken {
        /// The name.
        name: String,
    },
    /// There is no key with that name.
    #[error("there is no key {name}")]
    Unknown {
        /// The name.
        name: String,
    },
}

/// The file of keys, which is read again when it has changed.
pub struct Keys {
    path: PathBuf,
    cached: Mutex<Cached>,
}

/// What tells one writing of a file from another: length, inode, seconds and nanoseconds.
type Stamp = (u64, u64, i64, i64);

#[derive(Default)]
struct Cached {
    stamp: Option<Stamp>,
    keys: Arc<Vec<AccessKey>>,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Letters and digits that are drawn at random.
fn drawn(letters: &[u8], length: usize) -> String {
    (0..length).map(|_| char::from(letters[rand::random_range(0..letters.len())])).collect()
}

/// Whether a key can be called so.
pub(crate) fn is_key_name(name: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(is_name)
}

impl Keys {
    /// The keys in a file, which need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, cached: Mutex::default() }
    }

    /// All keys.
    pub fn list(&self) -> Result<Arc<Vec<AccessKey>>, KeysError> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |action, source| KeysError::Io { action, path: self.path.clone(), source };
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
            Err(error) => return Err(failed("read", error)),
        };
        let stamp = (metadata.len(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
        if metadata.mode() & 0o077 != 0 {
            return Err(KeysError::Exposed { path: self.path.clone() });
        }
        if cached.stamp != Some(stamp) {
            let text = fs::read(&self.path).map_err(|error| failed("read", error))?;
            let keys = serde_json::from_slice(&text)
                .map_err(|source| KeysError::Damaged { path: self.path.clone(), source })?;
            *cached = Cached { stamp: Some(stamp), keys: Arc::new(keys) };
        }
        Ok(Arc::clone(&cached.keys))
    }

    /// The key with a public half; it may have expired.
    pub(crate) fn find(&self, access: &str) -> Result<Option<AccessKey>, KeysError> {
        Ok(self.list()?.iter().find(|key| key.access == access).cloned())
    }

    /// Makes a key. `days` is how long it is good.
    pub fn create(
        &self,
        name: &str,
        bucket: Option<String>,
        rights: Rights,
        days: Option<u32>,
    ) -> Result<AccessKey, KeysError> {
        if !is_key_name(name) {
            return Err(KeysError::Name { name: name.to_owned() });
        }
        if let Some(bucket) = &bucket
            && !s3s::path::check_bucket_name(bucket)
        {
            return Err(KeysError::Bucket { bucket: bucket.clone() });
        }
        let _alone = self.lock()?;
        let mut keys = Vec::clone(&*self.list()?);
        if keys.iter().any(|key| key.name == name) {
            return Err(KeysError::Taken { name: name.to_owned() });
        }
        let key = AccessKey {
            name: name.to_owned(),
            access: format!("OFFS{}", drawn(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)),
            secret: drawn(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 40),
            bucket,
            rights,
            created: now(),
            expires: days.map(|days| now() + 86_400 * u64::from(days)),
        };
        keys.push(key.clone());
        self.write(&keys)?;
        Ok(key)
    }

    /// Takes a key back, by its name or its public half.
    pub fn revoke(&self, name: &str) -> Result<AccessKey, KeysError> {
        let _alone = self.lock()?;
        let mut keys = Vec::clone(&*self.list()?);
        let at = keys.iter().position(|key| key.name == name || key.access == name);
        let gone = at.map(|at| keys.remove(at)).ok_or_else(|| KeysError::Unknown { name: name.to_owned() })?;
        self.write(&keys)?;
        Ok(gone)
    }

    /// While this lives, no other process changes the file.
    fn lock(&self) -> Result<File, KeysError> {
        let path = self.path.with_extension("lock");
        let lock = || {
            let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|source| KeysError::Io { action: "lock", path: path.clone(), source })
    }

    fn write(&self, keys: &[AccessKey]) -> Result<(), KeysError> {
        let text =
            serde_json::to_vec_pretty(keys).map_err(|source| KeysError::Damaged { path: self.path.clone(), source })?;
        let fresh = self.path.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)?;
            self.path.parent().map_or(Ok(()), |folder: &Path| File::open(folder)?.sync_all())
        };
        write().map_err(|source| KeysError::Io { action: "write", path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_and_go() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let path = folder.path().join("keys.json");
        let (keys, other) = (Keys::new(path.clone()), Keys::new(path.clone()));
        assert!(keys.list().expect("list").is_empty());
        let one = keys.create("one", None, Rights::All, None).expect("create");
        let two = keys.create("two", Some("bucket".into()), Rights::Read, Some(0)).expect("create");
        assert!(matches!(keys.create("one", None, Rights::All, None), Err(KeysError::Taken { .. })));
        assert_eq!(other.find(&one.access).expect("find"), Some(one.clone()), "another process sees it");
        assert!(two.is_expired() && !one.is_expired());
        for wrong in ["", "a b", "a\n", "\u{e9}", &*"x".repeat(65)] {
            assert!(matches!(keys.create(wrong, None, Rights::All, None), Err(KeysError::Name { .. })), "{wrong:?}");
        }
        for wrong in ["", "b", "A-bucket", "a/b", "..."] {
            let made = keys.create("three", Some(wrong.to_owned()), Rights::All, None);
            assert!(matches!(made, Err(KeysError::Bucket { .. })), "{wrong:?}");
        }
        assert_eq!((one.access.len(), one.secret.len()), (20, 40));
        keys.revoke("one").expect("revoke");
        assert_eq!(other.find(&one.access).expect("find"), None);
        assert!(matches!(keys.revoke("one"), Err(KeysError::Unknown { .. })));
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("chmod");
        assert!(matches!(Keys::new(path).list(), Err(KeysError::Exposed { .. })));
    }
}
