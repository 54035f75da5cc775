//! Each type of state against plain collections, under any mix of operations, checkpoints and restarts at any parallelism.
#![allow(clippy::unit_arg)] // what gives nothing is seen to give nothing

use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::job::{Job, Store};
use crate::{
    id::WallTime,
    state::{self, Aggregate, AggregatingState, Lifetime, ListState, MapState, ReducingState, StateDescriptor, Ttl},
    state::{ttl::Forever, value_state::ValueState},
};

#[derive(Clone, Debug)]
enum Act {
    ValueGet,
    ValueSet(u64),
    ValueAdd(u64),
    ValueClear,
    ListPush(u64),
    ListPop,
    ListPopFront,
    ListAll,
    ListLen,
    ListClear,
    MapGet(u8),
    MapInsert(u8, u64),
    MapAdd(u8, u64),
    MapRemove(u8),
    MapAll,
    MapLen,
    MapClear,
    MostAdd(u64),
    MostGet,
    MostClear,
    MeanAdd(u64),
    MeanGet,
    MeanClear,
}

#[derive(Clone, Debug)]
enum Event {
    Act(u16, Act),
    Pass(u64),
    Snapshot(bool),
    Restart(u32),
}

fn act() -> impl Strategy<Value = Act> {
    use Act::*;
    let (n, k) = (0u64..100, 0u8..5);
    prop_oneof![
        Just(ValueGet),
        n.clone().prop_map(ValueSet),
        n.clone().prop_map(ValueAdd),
        Just(ValueClear),
        n.clone().prop_map(ListPush),
        n.clone().prop_map(ListPush),
        Just(ListPop),
        Just(ListPopFront),
        Just(ListAll),
        Just(ListLen),
        Just(ListClear),
        k.clone().prop_map(MapGet),
        (k.clone(), n.clone()).prop_map(|(k, n)| MapInsert(k, n)),
        (k.clone(), n.clone()).prop_map(|(k, n)| MapInsert(k, n)),
        (k.clone(), n.clone()).prop_map(|(k, n)| MapAdd(k, n)),
        k.prop_map(MapRemove),
        Just(MapAll),
        Just(MapLen),
        Just(MapClear),
        n.clone().prop_map(MostAdd),
        Just(MostGet),
        Just(MostClear),
        n.prop_map(MeanAdd),
        Just(MeanGet),
        Just(MeanClear),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (0u16..6, act()).prop_map(|(key, act)| Event::Act(key, act)),
        2 => (0u64..8).prop_map(Event::Pass),
        2 => any::<bool>().prop_map(Event::Snapshot),
        1 => (1u32..=4).prop_map(Event::Restart),
    ]
}

#[derive(Clone)]
struct Mean;

impl Aggregate for Mean {
    type In = u64;
    type Accumulator = (u64, u64);
    type Out = f64;

    fn create(&self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&self, (sum, count): &mut (u64, u64), value: u64) {
        *sum += value;
        *count += 1;
    }

    fn get(&self, (sum, count): &(u64, u64)) -> f64 {
        *sum as f64 / *count as f64
    }
}

fn text(what: impl Debug) -> String {
    format!("{what:?}")
}

type Views<'v, 'a, F, L> = (
    &'v mut ValueState<'a, u64>,
    &'v mut ListState<'a, u16, u64, L>,
    &'v mut MapState<'a, u16, u8, u64, L>,
    &'v mut ReducingState<'a, u64, F>,
    &'v mut AggregatingState<'a, Mean>,
);

/// Does it with the states, and says what was seen.
fn done<F: FnMut(&mut u64, u64), L: Lifetime>(
    act: &Act,
    (value, list, map, most, mean): Views<'_, '_, F, L>,
) -> String {
    match *act {
        Act::ValueGet => text(value.get()),
        Act::ValueSet(n) => text(value.set(n)),
        Act::ValueAdd(n) => text(value.update(|| 0, |value| *value += n)),
        Act::ValueClear => text(value.clear()),
        Act::ListPush(n) => text(list.push(n)),
        Act::ListPop => text(list.pop()),
        Act::ListPopFront => text(list.pop_front()),
        Act::ListAll => text(list.iter().collect::<Vec<_>>()),
        Act::ListLen => text((list.len(), list.is_empty())),
        Act::ListClear => text(list.clear()),
        Act::MapGet(k) => text((map.get(&k).copied(), map.contains(&k))),
        Act::MapInsert(k, n) => text(map.insert(k, n)),
        Act::MapAdd(k, n) => text(map.update(k, || 0, |value| *value += n)),
        Act::MapRemove(k) => text(map.remove(&k)),
        Act::MapAll => {
            let pairs: Vec<_> = map.iter().map(|(k, n)| (*k, *n)).collect();
            text((pairs, map.keys().copied().collect::<Vec<_>>(), map.values().copied().collect::<Vec<_>>()))
        }
        Act::MapLen => text((map.len(), map.is_empty())),
        Act::MapClear => text(map.clear()),
        Act::MostAdd(n) => text(most.add(n)),
        Act::MostGet => text(most.get()),
        Act::MostClear => text(most.clear()),
        Act::MeanAdd(n) => text(mean.add(n)),
        Act::MeanGet => text(mean.get()),
        Act::MeanClear => text(mean.clear()),
    }
}

/// A value, and when it was last used.
type Dated<T> = (T, u64);

/// The states of one key as plain collections.
#[derive(Clone, Default)]
struct Plain {
    value: Option<Dated<u64>>,
    list: Vec<Dated<u64>>,
    map: BTreeMap<u8, Dated<u64>>,
    most: Option<Dated<u64>>,
    mean: Option<Dated<(u64, u64)>>,
}

/// A time to live in milliseconds, and whether reading refreshes.
type Life = Option<(u64, bool)>;

impl Plain {
    fn expire(&mut self, life: Life, now: u64) {
        let Some((after, _)) = life else { return };
        let is_alive = |used: u64| now < used + after;
        self.value = self.value.filter(|(_, used)| is_alive(*used));
        self.list.retain(|(_, used)| is_alive(*used));
        self.map.retain(|_, (_, used)| is_alive(*used));
        self.most = self.most.filter(|(_, used)| is_alive(*used));
        self.mean = self.mean.filter(|(_, used)| is_alive(*used));
    }

    /// The oracle of [`done`].
    fn done(&mut self, act: &Act, life: Life, now: u64) -> String {
        self.expire(life, now);
        let read = |used: &mut u64| {
            if life.is_some_and(|(_, on_read)| on_read) {
                *used = now;
            }
        };
        let Self { value, list, map, most, mean } = self;
        match *act {
            Act::ValueGet => {
                value.iter_mut().for_each(|(_, used)| read(used));
                text(value.as_ref().map(|(n, _)| n))
            }
            Act::ValueSet(n) => text(*value = Some((n, now))),
            Act::ValueAdd(n) => text(*value = Some((value.map_or(0, |(n, _)| n) + n, now))),
            Act::ValueClear => text(*value = None),
            Act::ListPush(n) => text(list.push((n, now))),
            Act::ListPop => text(list.pop().map(|(n, _)| n)),
            Act::ListPopFront => text((!list.is_empty()).then(|| list.remove(0).0)),
            Act::ListAll => {
                list.iter_mut().for_each(|(_, used)| read(used));
                text(list.iter().map(|(n, _)| n).collect::<Vec<_>>())
            }
            Act::ListLen => text((list.len(), list.is_empty())),
            Act::ListClear => text(list.clear()),
            Act::MapGet(k) => {
                map.get_mut(&k).into_iter().for_each(|(_, used)| read(used));
                text((map.get(&k).map(|(n, _)| *n), map.contains_key(&k)))
            }
            Act::MapInsert(k, n) => text(map.insert(k, (n, now)).map(|(n, _)| n)),
            Act::MapAdd(k, n) => {
                let before = map.get(&k).map_or(0, |(n, _)| *n);
                map.insert(k, (before + n, now));
                text(())
            }
            Act::MapRemove(k) => text(map.remove(&k).map(|(n, _)| n)),
            Act::MapAll => {
                map.values_mut().for_each(|(_, used)| read(used));
                let pairs: Vec<_> = map.iter().map(|(k, (n, _))| (*k, *n)).collect();
                text((&pairs, map.keys().collect::<Vec<_>>(), pairs.iter().map(|(_, n)| n).collect::<Vec<_>>()))
            }
            Act::MapLen => text((map.len(), map.is_empty())),
            Act::MapClear => text(map.clear()),
            Act::MostAdd(n) => text(*most = Some((most.map_or(n, |(most, _)| most.max(n)), now))),
            Act::MostGet => {
                most.iter_mut().for_each(|(_, used)| read(used));
                text(most.as_ref().map(|(n, _)| n))
            }
            Act::MostClear => text(*most = None),
            Act::MeanAdd(n) => {
                let (sum, count) = mean.map_or((0, 0), |(mean, _)| mean);
                text(*mean = Some(((sum + n, count + 1), now)))
            }
            Act::MeanGet => {
                mean.iter_mut().for_each(|(_, used)| read(used));
                text(mean.map(|((sum, count), _)| sum as f64 / count as f64))
            }
            Act::MeanClear => text(*mean = None),
        }
    }
}

fn living<Kind, V, L>(state: StateDescriptor<Kind, V>, lifetime: L) -> StateDescriptor<Kind, V, L> {
    StateDescriptor { name: state.name, kind: state.kind, format: state.format, lifetime }
}

fn check<L: Lifetime + Copy>(lifetime: L, life: Life, events: &[Event]) -> Result<(), TestCaseError> {
    let most = |most: &mut u64, n: u64| *most = n.max(*most);
    let states = (
        living(state::value::<u64>("value"), lifetime),
        living(state::list::<u64>("list"), lifetime),
        living(state::map::<u8, u64>("map"), lifetime),
        living(state::reducing("most", most), lifetime),
        living(state::aggregating("mean", Mean), lifetime),
    );
    let mut job = Job::<u16, _>::open(&states, Arc::new(Store::default()), 2, WallTime(1_000)).unwrap();
    let mut plain: BTreeMap<u16, Plain> = BTreeMap::new();
    let mut stored = plain.clone();
    for event in events {
        match event {
            Event::Act(key, act) => {
                let expected = plain.entry(*key).or_default().done(act, life, job.time.0);
                let seen = job.with(key, |(value, list, map, most, mean)| done(act, (value, list, map, most, mean)));
                prop_assert_eq!(seen, expected, "key {}, {:?}", key, act);
            }
            Event::Pass(time) => job.time.0 += time,
            Event::Snapshot(completes) => {
                job.snapshot(*completes);
                if *completes {
                    stored = plain.clone();
                }
            }
            Event::Restart(parallelism) => {
                let (store, time) = (job.store.clone(), job.time);
                drop(job);
                job = Job::open(&states, store, *parallelism, time).unwrap();
                plain = stored.clone();
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn states_are_what_plain_collections_are(events in prop::collection::vec(event(), 0..120)) {
        check(Forever, None, &events)?;
    }

    #[test]
    fn states_that_expire_are_what_collections_without_the_expired_are(events in prop::collection::vec(event(), 0..120)) {
        check(Ttl::after(Duration::from_millis(10)), Some((10, false)), &events)?;
    }

    #[test]
    fn states_refreshed_on_read_are_what_collections_without_the_unread_are(events in prop::collection::vec(event(), 0..120)) {
        check(Ttl::after(Duration::from_millis(10)).refreshed_on_read(), Some((10, true)), &events)?;
    }
}
