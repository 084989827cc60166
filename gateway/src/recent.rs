//! Between steps 3 and 4 of the walk, and again behind step 5: what was acknowledged a short while
//! ago (`gateway.recent_ids`).
//!
//! In: a submission's records, judged; later the log's answers to those that went on. Out: the
//! records that the log has acknowledged before, as [`Known`], which go no further. Promises: a
//! record is known only if the log acknowledged one with the same id, content and destinations
//! before this one came in, and it is answered with the place of that one; everything else goes on,
//! and whether it is a duplicate or a conflict is for the consumers to say. So the gateway may
//! forget at any time, and does when it ends: what it forgets costs a place in the log and no more.
//!
//! `table` is what is remembered. It is locked twice a submission, for as long as its ids take;
//! hashes are made before.

mod table;

pub(crate) use table::Effect;

use crate::ack::request_id_of;
use crate::batch::Batch;
use crate::settings::MissingId;
use crate::validate::{Judged, Record};
use cloudsync_kafka::Produced;
use parking_lot::Mutex;
use table::Table;

/// What the log has acknowledged of late.
#[derive(Debug)]
pub(crate) struct RecentIds {
    /// Whether ids that the gateway made are left out: each is new, and comes again only where
    /// somebody sends under it.
    skips_made: bool,
    /// `None`: nothing is remembered.
    table: Option<Mutex<Table>>,
}

/// A record that the log has acknowledged before, and that is not written again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its place in the submission.
    pub(crate) index: u32,
    /// The id under which it stands.
    pub(crate) request_id: String,
    /// Whether the gateway made that id.
    pub(crate) assigned: bool,
    /// Where it lies.
    pub(crate) partition: i32,
    /// And where there, if the log said so.
    pub(crate) offset: Option<i64>,
}

// === impl RecentIds ===

impl RecentIds {
    /// Remembers the last `limit` ids; 0: none.
    pub(crate) fn new(limit: usize, missing_id: MissingId) -> Self {
        Self {
            skips_made: missing_id == MissingId::Generate,
            table: (limit > 0).then(|| Mutex::new(Table::new(limit))),
        }
    }

    /// Number of ids that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.table.as_ref().map_or(0, |table| table.lock().len())
    }

    /// Whether `record` is one of those that are remembered.
    fn keeps(&self, record: &Record) -> bool {
        !(self.skips_made && record.assigned_id.is_some())
    }

    /// Takes those records out of `judged` that the log has acknowledged before.
    pub(crate) fn recognise(&self, judged: &mut Judged) {
        let found = self.find(judged);
        if found.is_empty() {
            return;
        }
        let mut found = found.into_iter().peekable();
        let Judged {
            bytes,
            records,
            known,
            ..
        } = judged;
        records.retain(|record| {
            let Some((_, offset)) = found.next_if(|(at, _)| *at == record.index) else {
                return true;
            };
            known.push(Known::of(record, offset, bytes));
            false
        });
    }

    /// Place in the submission, and offset, of each record that is known; in the order of the
    /// submission.
    fn find(&self, judged: &Judged) -> Vec<(u32, Option<i64>)> {
        let Some(table) = &self.table else {
            return Vec::new();
        };
        let table = table.lock();
        if table.len() == 0 {
            return Vec::new();
        }
        let kept = judged.records.iter().filter(|record| self.keeps(record));
        let effects = kept.filter_map(|record| {
            let effect = judged.effects.get(record.index as usize)?.as_ref()?;
            Some((record.index, effect))
        });
        table.touch(effects.clone().map(|(_, effect)| effect));
        let found = effects.filter_map(|(index, effect)| Some((index, table.find(effect)?)));
        found.collect()
    }

    /// Remembers the records of `batch` that the log has acknowledged, and no others.
    pub(crate) fn remember(&self, batch: &Batch, results: &[Produced]) {
        let Some(table) = self.table.as_ref().filter(|_| !results.is_empty()) else {
            return;
        };
        let acked = batch
            .records
            .iter()
            .zip(results)
            .filter_map(|(record, result)| {
                let effect = batch.effects.get(record.index as usize)?.as_ref()?;
                let offset = result.as_ref().ok()?;
                self.keeps(record).then_some((*effect, *offset))
            });
        // Made before anything is locked.
        let acked: Vec<_> = acked.collect();
        let mut table = table.lock();
        table.touch_for(acked.iter().map(|(effect, _)| effect));
        for (effect, offset) in acked {
            table.remember(effect, offset);
        }
    }
}

// === impl Known ===

impl Known {
    /// `record`, whose parts lie in `bytes`.
    fn of(record: &Record, offset: Option<i64>, bytes: &[u8]) -> Self {
        let assigned = record.assigned_id.clone();
        let value = || bytes.get(record.value.clone()).unwrap_or_default();
        Self {
            index: record.index,
            assigned: assigned.is_some(),
            request_id: assigned.unwrap_or_else(|| request_id_of(value())),
            partition: record.partition,
            offset,
        }
    }
}
