//! The index on disk: a RocksDB database with bounded memory.

use std::path::Path;

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBCompressionType, DBRecoveryMode, Direction, ErrorKind,
    IteratorMode, LogLevel, Options, ReadOptions, WriteBatch,
};

use crate::{Change, Index, IndexError, index::Visit};

/// [`Index`] in RocksDB: point lookups behind Bloom filters, no compression (scores do not compress),
/// filters and index partitions inside one bounded cache, so that memory does not grow with the store.
pub struct RocksIndex {
    database: DB,
}

impl RocksIndex {
    /// Opens or creates the database in `path`; `cache` bounds its block cache, in bytes.
    pub fn open(path: &Path, cache: usize) -> Result<Self, IndexError> {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_hyper_clock_cache(cache, 0));
        table.set_bloom_filter(10.0, false);
        table.set_whole_key_filtering(true);
        table.set_block_size(4096);
        table.set_format_version(5);
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_cache_index_and_filter_blocks(true);
        table.set_metadata_block_size(64 << 10);
        table.set_pin_top_level_index_and_filter(true);

        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::None);
        options.set_write_buffer_size(8 << 20);
        options.set_max_write_buffer_number(3);
        options.set_max_background_jobs(2);
        options.set_max_open_files(256);
        // Each table that waits at level 0 is asked by every look-up.
        options.set_level_zero_file_num_compaction_trigger(2);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_max_total_wal_size(64 << 20);
        // The packs are the log. What the database's own log lost with the power is read from them again,
        // from the last consistent point on.
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(1 << 20);
        options.set_log_level(LogLevel::Warn);
        options.set_stats_dump_period_sec(0);
        let database = DB::open(&options, path).map_err(failure)?;
        Ok(Self { database })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn failure(error: rocksdb::Error) -> IndexError {
    let detail = error.to_string();
    if detail.contains("No space left") {
        return IndexError::Full { detail };
    }
    match error.kind() {
        ErrorKind::Corruption | ErrorKind::InvalidArgument | ErrorKind::NotSupported => IndexError::Damaged { detail },
        // A database file that is gone is reported as an I/O error.
        ErrorKind::IOError if detail.contains("No such file") => IndexError::Damaged { detail },
        _ => IndexError::Failed { detail },
    }
}

impl Index for RocksIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.database.get(key).map_err(failure)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), IndexError> {
        let mut batch = WriteBatch::default();
        for change in changes {
            match change {
                Change::Put(key, value) => batch.put(key, value),
                Change::Delete(key) => batch.delete(key),
            }
        }
        self.database.write(batch).map_err(failure)
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        let mut reading = ReadOptions::default();
        // A walk over everything must not push the lookups' blocks out of the cache.
        reading.fill_cache(false);
        let mode = IteratorMode::From(from, Direction::Forward);
        for entry in self.database.iterator_opt(mode, reading) {
            let (key, value) = entry.map_err(failure)?;
            if !key.starts_with(prefix) || visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), IndexError> {
        self.database.flush_wal(true).map_err(failure)
    }

    fn settle(&self) {
        // Else the tables of the last changes wait for their compaction, and every look-up asks each of them.
        self.database.compact_range::<&[u8], &[u8]>(None, None);
    }
}
