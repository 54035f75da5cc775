//! Entries of which each key has any number, each stored apart: what maps and lists are made of.

use std::ops::RangeBounds;

use crate::{
    error::{BoxError, Error},
    id::CheckpointId,
    key::Key,
    operator::{OpenContext, SnapshotBuilder},
    record::Record,
    state::{
        descriptor::StateDescriptor,
        entry_index::{EntryIndex, Users},
        entry_key::{EntryKey, EntryRef},
        keyed_states::{KeyedTables, TablePlace, restore_whole},
        keyed_table::{KeyedTable, Slot},
        ttl::{Lifetime, Sweep},
    },
};

/// A table of entries, and which of them each key has.
pub struct EntryTable<K, U, V: Record, L: Lifetime> {
    table: KeyedTable<EntryKey<K, U>, L::Stored<V>>,
    index: EntryIndex<K, U>,
    lifetime: L,
    sweep: Sweep,
}

impl<K: Key, U: Key + Ord, V: Record, L: Lifetime> EntryTable<K, U, V, L> {
    pub(crate) fn new<Kind>(descriptor: &StateDescriptor<Kind, V, L>, place: &TablePlace<'_>) -> Self {
        let format = L::format(descriptor.format.clone());
        Self {
            table: KeyedTable::new(place.address(&descriptor.name), format, place.range, place.max_parallelism),
            index: EntryIndex::new(place.range, place.max_parallelism),
            lifetime: descriptor.lifetime.clone(),
            sweep: Sweep::default(),
        }
    }
}

/// The entries come into the table as they are stored; the index is made of them.
impl<K: Key, U: Key + Ord, V: Record, L: Lifetime> KeyedTables<K> for EntryTable<K, U, V, L> {
    type Slot = ();

    #[inline]
    fn hint(&self, _: &K) {}

    #[inline]
    fn find(&self, (): (), _: &K) {}

    #[inline]
    fn batch_came(&mut self) {}

    #[inline]
    fn is_loaded(&self) -> bool {
        true
    }

    /// All of it is.
    fn load(&mut self, _: &mut dyn Iterator<Item = &K>) -> Result<(), BoxError> {
        Ok(())
    }

    fn heap_is_spent(&self) -> bool {
        false
    }

    fn restore(&mut self, context: &OpenContext) -> Result<(), Error> {
        restore_whole(&mut self.table, context)?;
        self.table.keys().for_each(|entry| self.index.add(&entry.key, entry.user.clone()));
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        let Self { table, index, lifetime, sweep } = self;
        let now = (snapshot.checkpoint, snapshot.time);
        sweep.over::<_, V, L>(table, lifetime, now, |entry| index.remove(&entry.key, &entry.user));
        KeyedTables::snapshot(table, snapshot)
    }

    fn completed(&mut self, checkpoint: CheckpointId) {
        self.table.completed(checkpoint);
    }
}

/// The entries of one key, at one moment.
pub(crate) struct EntriesOf<'a, K, U, V: Record, L: Lifetime> {
    pub(crate) entries: &'a mut EntryTable<K, U, V, L>,
    pub(crate) key: &'a K,
    pub(crate) now: L::Now,
}

impl<K: Key, U: Key + Ord, V: Record, L: Lifetime> EntriesOf<'_, K, U, V, L> {
    /// Where the entry is, whether it has expired or not.
    #[inline]
    fn locate(&self, user: &U) -> Slot {
        self.entries.table.locate(&EntryRef { key: self.key, user })
    }

    /// The value at `slot`, if it is seen.
    #[inline]
    fn seen(&mut self, slot: Slot) -> Option<&mut L::Stored<V>> {
        let (lifetime, now) = (&self.entries.lifetime, self.now);
        self.entries.table.value_mut(slot).filter(|stored| lifetime.is_seen::<V>(stored, now))
    }

    /// Notes that the entry at `slot` is read.
    #[inline]
    fn read(&mut self, slot: Slot) {
        let lifetime = self.entries.lifetime.clone();
        let now = self.now;
        if lifetime.is_refreshed_on_read() && self.seen(slot).is_some_and(|stored| lifetime.read::<V>(stored, now)) {
            self.entries.table.mark_changed(slot);
        }
    }

    #[inline]
    pub(crate) fn get(&mut self, user: &U) -> Option<&V> {
        let slot = self.locate(user);
        self.read(slot);
        self.seen(slot).map(|stored| L::get(stored))
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, user: &U) -> Option<&mut V> {
        let slot = self.locate(user);
        self.seen(slot)?;
        self.entries.table.mark_changed(slot);
        let now = self.now;
        let stored = self.seen(slot)?;
        L::written::<V>(stored, now);
        Some(L::get_mut(stored))
    }

    /// Puts a value in; gives back the one that was there.
    pub(crate) fn insert(&mut self, user: U, value: V) -> Option<V> {
        let slot = self.locate(&user);
        let value = L::store(value, self.now);
        let EntryTable { table, index, lifetime, .. } = &mut *self.entries;
        let Some(stored) = table.value_mut(slot) else {
            index.add(self.key, user.clone());
            table.insert(slot, EntryKey { key: self.key.clone(), user }, value);
            return None;
        };
        let before = std::mem::replace(stored, value);
        table.mark_changed(slot);
        lifetime.is_seen::<V>(&before, self.now).then(|| L::take(before))
    }

    pub(crate) fn remove(&mut self, user: &U) -> Option<V> {
        let slot = self.locate(user);
        slot.bucket()?;
        let EntryTable { table, index, lifetime, .. } = &mut *self.entries;
        index.remove(self.key, user);
        let before = table.remove(slot, &EntryRef { key: self.key, user })?;
        lifetime.is_seen::<V>(&before, self.now).then(|| L::take(before))
    }

    pub(crate) fn clear(&mut self) {
        for user in self.entries.index.take(self.key) {
            let slot = self.locate(&user);
            self.entries.table.remove(slot, &EntryRef { key: self.key, user: &user });
        }
    }

    /// Every user key, expired ones among them, in order.
    pub(crate) fn users(&self) -> impl DoubleEndedIterator<Item = &U> {
        self.entries.index.of(self.key).into_iter().flat_map(Users::iter)
    }

    /// Every entry that is seen, in the order of the user keys; reads nothing.
    fn all(&self) -> impl Iterator<Item = (&U, &V)> {
        self.users().filter_map(move |user| self.entry(user))
    }

    fn entry<'u>(&self, user: &'u U) -> Option<(&'u U, &V)> {
        let EntryTable { table, lifetime, .. } = &*self.entries;
        let stored = table.value(self.locate(user))?;
        lifetime.is_seen::<V>(stored, self.now).then(|| (user, L::get(stored)))
    }

    /// Those of [`all`](Self::all) whose user keys lie in a range.
    pub(crate) fn range(&self, users: impl RangeBounds<U>) -> impl DoubleEndedIterator<Item = (&U, &V)> {
        let own = self.entries.index.of(self.key);
        let users = own.map(|own| own.range(users));
        users.into_iter().flatten().filter_map(move |user| self.entry(user))
    }

    pub(crate) fn iter(&mut self) -> impl Iterator<Item = (&U, &V)> {
        if self.entries.lifetime.is_refreshed_on_read() {
            let slots: Vec<_> = self.users().map(|user| self.locate(user)).collect();
            slots.into_iter().for_each(|slot| self.read(slot));
        }
        self.all()
    }

    pub(crate) fn len(&self) -> usize {
        if L::ENDS { self.all().count() } else { self.entries.index.of(self.key).map_or(0, |users| users.len()) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        if L::ENDS { self.all().next().is_none() } else { self.entries.index.of(self.key).is_none() }
    }
}
