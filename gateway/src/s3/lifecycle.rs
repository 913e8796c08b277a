//! Life cycles: objects, old versions and uploads end when a rule of their bucket says so.

use std::ops::ControlFlow;

use crate::s3::{
    fault::{Fault, Result},
    list::{Asked, Entry},
    object::{LifecycleRule, Version},
    shelf::{Shelf, Wish, now},
};

const DAY: u64 = 86_400_000;

/// Whether something of a time, in milliseconds, is so many days old.
fn is_old(time: u64, days: u32) -> bool {
    // As AWS does, from the next midnight on.
    now() >= (time / DAY + 1 + u64::from(days)) * DAY
}

impl LifecycleRule {
    fn covers(&self, version: &Version) -> bool {
        self.tags.iter().all(|tag| version.about.tags.contains(tag))
            && self.larger_than.is_none_or(|size| version.length > size)
            && self.smaller_than.is_none_or(|size| version.length < size)
    }

    fn ends(&self, version: &Version) -> bool {
        self.days.is_some_and(|days| is_old(version.modified, days))
            || self.date.is_some_and(|date| now() / 1000 >= date)
    }
}

impl Shelf {
    /// Does what the rules of all buckets say.
    pub(crate) fn follow_life_cycles(&self) -> Result<()> {
        for (bucket, settings) in self.buckets() {
            for rule in settings.lifecycle.iter().filter(|rule| rule.enabled) {
                match self.follow(&bucket, rule) {
                    // It was removed meanwhile.
                    Err(Fault::Code { .. }) => break,
                    done => done?,
                }
            }
        }
        Ok(())
    }

    fn follow(&self, bucket: &str, rule: &LifecycleRule) -> Result<()> {
        if let Some(days) = rule.abort_days {
            let before = now().saturating_sub(DAY * u64::from(days));
            for (name, id) in self.uploads_before(bucket, &rule.prefix, before)? {
                match self.abort_upload(bucket, &name, &id) {
                    Err(Fault::Code { .. }) => {}
                    done => done?,
                }
            }
        }
        let mut asked = Asked { prefix: rule.prefix.clone(), most: 1000, ..Asked::default() };
        loop {
            let page = self.list_versions(bucket, &asked, None)?;
            let Some(last) = page.entries.last() else { return Ok(()) };
            asked.after = Some(last.name().to_owned());
            let mut names: Vec<_> = page.entries.iter().map(Entry::name).collect();
            names.dedup();
            for name in names {
                self.follow_object(bucket, name, rule)?;
            }
            if !page.more {
                return Ok(());
            }
        }
    }

    fn follow_object(&self, bucket: &str, name: &str, rule: &LifecycleRule) -> Result<()> {
        let Some(current) = self.current(bucket, name)? else { return Ok(()) };
        let mut older = Vec::new();
        self.each_older(bucket, name, &mut |version| {
            older.push(version);
            ControlFlow::Continue(())
        })?;
        if let Some(days) = rule.noncurrent_days {
            // A version is no longer current since the next one came.
            let mut since = current.modified;
            for version in &older {
                if is_old(since, days) && rule.covers(version) {
                    self.end(bucket, name, Some(&version.id()), version.seq)?;
                }
                since = version.modified;
            }
        }
        if current.deleted {
            if rule.marks && older.is_empty() {
                self.end(bucket, name, Some(&current.id()), current.seq)?;
            }
        } else if rule.covers(&current) && rule.ends(&current) {
            self.end(bucket, name, None, current.seq)?;
        }
        Ok(())
    }

    /// Deletes what was looked at; what was put over it meanwhile stays.
    fn end(&self, bucket: &str, name: &str, id: Option<&str>, seq: u64) -> Result<()> {
        let wish = Wish { seq: Some(seq), ..Wish::default() };
        match self.delete(bucket, name, id, &wish) {
            Err(Fault::Code { .. }) => Ok(()),
            done => done.map(drop),
        }
    }
}
