//! Data objects that somebody reads at leisure: they stay, whatever is retained.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use super::{manifest::Catalog, name::DataId};

/// What is pinned in an open store.
#[derive(Clone, Default)]
pub(super) struct Pins(Arc<Mutex<Pinned>>);

#[derive(Default)]
struct Pinned {
    /// How many pins each object has.
    counts: BTreeMap<DataId, usize>,
    /// Objects that lost their last pin since they were asked for.
    released: Vec<DataId>,
}

/// Keeps a checkpoint's objects for as long as it lives.
pub(super) struct Pin {
    objects: Vec<DataId>,
    pins: Pins,
}

impl Pins {
    /// Pins every object that `catalog` needs.
    pub(super) fn add(&self, catalog: &Catalog) -> Pin {
        let objects: Vec<_> = catalog.objects.keys().copied().collect();
        let mut pinned = self.0.lock();
        objects.iter().for_each(|object| *pinned.counts.entry(*object).or_default() += 1);
        Pin { objects, pins: self.clone() }
    }

    /// Objects with a pin, and those that had one.
    pub(super) fn look(&self) -> (Vec<DataId>, Vec<DataId>) {
        let mut pinned = self.0.lock();
        (pinned.counts.keys().copied().collect(), std::mem::take(&mut pinned.released))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let Pinned { counts, released } = &mut *self.pins.0.lock();
        for object in &self.objects {
            let count = counts.entry(*object).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(object);
                released.push(*object);
            }
        }
    }
}
