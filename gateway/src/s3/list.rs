//! Lists of objects, versions and uploads, page by page.

use std::ops::ControlFlow;

use s3s::S3ErrorCode;

use crate::s3::{
    entry,
    fault::{Fault, Result, fault},
    object::{Upload, Version},
    shelf::Shelf,
};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) prefix: String,
    /// Names that go on after this behind the prefix are told together.
    pub(crate) delimiter: Option<String>,
    /// Only what comes after this name.
    pub(crate) after: Option<String>,
    /// Whether `after` is a common prefix, all of which was told.
    pub(crate) after_all_of: bool,
    pub(crate) most: usize,
}

/// An entry of a list.
#[derive(Clone, Debug)]
pub(crate) enum Entry<T> {
    One(String, T),
    Together(String),
}

impl<T> Entry<T> {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::One(name, _) | Self::Together(name) => name,
        }
    }
}

/// A page.
#[derive(Clone, Debug)]
pub(crate) struct Page<T> {
    pub(crate) entries: Vec<Entry<T>>,
    /// Whether there is more.
    pub(crate) more: bool,
}

/// Above every name that begins so: no UTF-8 has this byte.
fn beyond(prefix: &str) -> Vec<u8> {
    [prefix.as_bytes(), &[0xff]].concat()
}

/// What a name is told together with.
pub(crate) fn together<'a>(name: &'a str, asked: &Asked) -> Option<&'a str> {
    let delimiter = asked.delimiter.as_deref()?;
    let at = name.get(asked.prefix.len()..)?.find(delimiter)?;
    name.get(..asked.prefix.len() + at + delimiter.len())
}

impl Asked {
    /// What is asked for by a marker, which may be a common prefix that was told. What is empty is as if not said.
    pub(crate) fn marked(
        prefix: Option<&String>,
        delimiter: Option<&String>,
        marker: Option<&String>,
        most: usize,
    ) -> Self {
        let said = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
        let mut asked = Self {
            prefix: prefix.cloned().unwrap_or_default(),
            delimiter: said(delimiter),
            after: said(marker),
            after_all_of: false,
            most,
        };
        asked.after_all_of = asked.after.as_deref().is_some_and(|after| together(after, &asked) == Some(after));
        asked
    }

    /// Where the scan begins.
    fn start(&self) -> Vec<u8> {
        let start = match &self.after {
            None => return self.prefix.as_bytes().to_vec(),
            Some(after) if self.after_all_of => beyond(after),
            Some(after) => [after.as_bytes(), &[0]].concat(),
        };
        start.max(self.prefix.as_bytes().to_vec())
    }
}

/// What becomes of a name that the scan came to.
enum Step {
    On,
    /// It cannot be read.
    Failed(Fault),
    /// The page is full and there is more.
    Full,
}

impl Shelf {
    /// Current objects.
    pub(crate) fn list(&self, bucket: &str, asked: &Asked) -> Result<Page<Version>> {
        self.pages(bucket, asked, |_, version, page| {
            if !version.deleted {
                page.push(version);
            }
            Ok(())
        })
    }

    /// All versions, of each object the newest first; `true` for the current ones. `after_version` goes on in the
    /// middle of the object `after`.
    pub(crate) fn list_versions(
        &self,
        bucket: &str,
        asked: &Asked,
        after_version: Option<&str>,
    ) -> Result<Page<(Version, bool)>> {
        let mut begun = Vec::new();
        if let (Some(name), Some(id)) = (&asked.after, after_version)
            && name.starts_with(&asked.prefix)
            && together(name, asked).is_none()
        {
            let mut all = Vec::new();
            self.all_versions(bucket, name, self.current(bucket, name)?, &mut all)?;
            match (all.iter().position(|(version, _)| version.id() == id), u64::from_str_radix(id, 16)) {
                (Some(at), _) => begun = all.split_off(at + 1),
                // It was deleted meanwhile, as clients do who delete what they are told of.
                (None, Ok(seq)) => begun = all.into_iter().filter(|(version, _)| version.seq < seq).collect(),
                (None, Err(_)) => begun = all,
            }
        }
        let name = asked.after.clone().unwrap_or_default();
        let mut entries: Vec<_> = begun.into_iter().map(|version| Entry::One(name.clone(), version)).collect();
        if entries.len() > asked.most {
            entries.truncate(asked.most);
            return Ok(Page { entries, more: true });
        }
        let left = asked.most - entries.len();
        // When the page is full, whether there is more is still to be said.
        let rest = Asked { most: left.max(usize::from(asked.most > 0)), ..asked.clone() };
        let page =
            self.pages(bucket, &rest, |name, version, page| self.all_versions(bucket, name, Some(version), page))?;
        if left == 0 {
            return Ok(Page { entries, more: !page.entries.is_empty() });
        }
        entries.extend(page.entries);
        Ok(Page { entries, more: page.more })
    }

    fn all_versions(
        &self,
        bucket: &str,
        name: &str,
        current: Option<Version>,
        all: &mut Vec<(Version, bool)>,
    ) -> Result<()> {
        let Some(current) = current else { return Ok(()) };
        all.push((current, true));
        self.each_older(bucket, name, &mut |version| {
            all.push((version, false));
            ControlFlow::Continue(())
        })
    }

    /// Goes over the names; `expand` says what of each is told.
    fn pages<T>(
        &self,
        bucket: &str,
        asked: &Asked,
        mut expand: impl FnMut(&str, Version, &mut Vec<T>) -> Result<()>,
    ) -> Result<Page<T>> {
        self.bucket(bucket)?;
        let mut page = Page { entries: Vec::new(), more: false };
        if asked.most == 0 {
            return Ok(page);
        }
        let prefix = entry::object(bucket, asked.prefix.as_bytes());
        let mut from = asked.start();
        let mut told = Vec::new();
        loop {
            let mut skip = None;
            let mut step = Step::On;
            self.catalogue.scan_from(&prefix, &entry::object(bucket, &from), &mut |key, value| {
                let Ok(name) = std::str::from_utf8(entry::object_name(bucket, key)) else {
                    step = Step::Failed(Fault::Lost("a name that is text"));
                    return ControlFlow::Break(());
                };
                told.clear();
                let expanded = serde_json::from_slice(value)
                    .map_err(Fault::from)
                    .and_then(|version| expand(name, version, &mut told));
                if let Err(error) = expanded {
                    step = Step::Failed(error);
                    return ControlFlow::Break(());
                }
                if told.is_empty() {
                    return ControlFlow::Continue(());
                }
                if let Some(all) = together(name, asked) {
                    if page.entries.len() >= asked.most {
                        step = Step::Full;
                    } else {
                        page.entries.push(Entry::Together(all.to_owned()));
                        skip = Some(beyond(all));
                    }
                    return ControlFlow::Break(());
                }
                for one in told.drain(..) {
                    if page.entries.len() >= asked.most {
                        step = Step::Full;
                        return ControlFlow::Break(());
                    }
                    page.entries.push(Entry::One(name.to_owned(), one));
                }
                ControlFlow::Continue(())
            })?;
            match (step, skip) {
                (Step::Failed(error), _) => return Err(error),
                (Step::Full, _) => {
                    page.more = true;
                    return Ok(page);
                }
                (Step::On, Some(skip)) => from = skip,
                (Step::On, None) => return Ok(page),
            }
        }
    }

    /// Uploads that were begun and not ended, with their ids.
    pub(crate) fn list_uploads(
        &self,
        bucket: &str,
        asked: &Asked,
        after_id: Option<&str>,
    ) -> Result<Page<(String, Upload)>> {
        self.bucket(bucket)?;
        let mut page: Page<(String, Upload)> = Page { entries: Vec::new(), more: false };
        let prefix = entry::uploads(bucket, asked.prefix.as_bytes());
        let mut failed = Ok(());
        self.catalogue.scan_from(&prefix, &prefix, &mut |key, value| {
            let Some((name, id)) = upload_of(bucket, key) else {
                failed = Err(Fault::Lost("the name of an upload"));
                return ControlFlow::Break(());
            };
            let seen = asked.after.as_deref().is_some_and(|after| match after_id {
                Some(after_id) if after == name => id <= after_id,
                _ => name <= after,
            });
            let all = together(name, asked);
            let seen = seen || all.is_some() && all == asked.after.as_deref();
            let told = |page: &Page<_>| page.entries.last().is_some_and(|last: &Entry<_>| Some(last.name()) == all);
            if seen || told(&page) {
                return ControlFlow::Continue(());
            }
            if page.entries.len() >= asked.most {
                page.more = asked.most > 0;
                return ControlFlow::Break(());
            }
            match (all, serde_json::from_slice(value)) {
                (Some(all), _) => page.entries.push(Entry::Together(all.to_owned())),
                (None, Ok(upload)) => page.entries.push(Entry::One(name.to_owned(), (id.to_owned(), upload))),
                (None, Err(error)) => {
                    failed = Err(error.into());
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        failed?;
        Ok(page)
    }
}

/// Name and id in the key of an upload.
pub(crate) fn upload_of<'a>(bucket: &str, key: &'a [u8]) -> Option<(&'a str, &'a str)> {
    let rest = std::str::from_utf8(key.get(bucket.len() + 2..)?).ok()?;
    rest.rsplit_once('\0')
}

/// A number of entries that a client asks for.
pub(crate) fn most(asked: Option<i32>) -> Result<usize> {
    let asked = asked.unwrap_or(1000);
    let asked = usize::try_from(asked)
        .map_err(|_| fault(S3ErrorCode::InvalidArgument, "the number of entries cannot be negative"))?;
    Ok(asked.min(1000))
}
