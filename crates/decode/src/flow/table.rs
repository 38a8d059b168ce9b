//! The table of flows: found by key, ordered by when they were last active. Every operation costs the same, however many there are.
//! Does not decide when a flow ends; the engine does.

use hashbrown::HashTable;
use packet::flow::FlowKey;

const NONE: u32 = u32::MAX;
/// Places for flows that were found lately: what fits into the nearest cache.
const RECENT: usize = 1024;

/// The lists a flow can be in, each ordered by when it was put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    /// Packets come.
    Active,
    /// Silent, but a connection that may go on.
    Parked,
    /// Silent and both sides were done: kept so that what comes late is not taken for something new.
    Closed,
}

/// What knows its own key, so that the table need not keep it a second time.
pub(crate) trait Keyed {
    fn key(&self) -> FlowKey;
}

struct Entry<T> {
    hash: u64,
    generation: u32,
    list: List,
    older: u32,
    newer: u32,
    value: Option<T>,
}

/// Where a flow was found. The hash of its key stands beside, so that another flow need not be looked at.
#[derive(Clone, Copy)]
struct Found {
    hash: u64,
    slot: u32,
}

/// Flows by key and by age.
pub(crate) struct Table<T> {
    slots: HashTable<u32>,
    /// Where flows were found lately, by hash: most packets follow others of their flow, and the index is too large to be near.
    recent: Box<[Found; RECENT]>,
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    /// Oldest and newest of each list.
    ends: [(u32, u32); 3],
    seed: u64,
    length: usize,
}

/// Names an entry for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handle {
    pub(crate) slot: u32,
    generation: u32,
}

#[cfg(test)]
impl Handle {
    pub(crate) const fn of_slot(slot: u32) -> Self {
        Self { slot, generation: 0 }
    }
}

impl<T: Keyed> Table<T> {
    /// `seed` keeps others from choosing keys that collide.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            slots: HashTable::new(),
            recent: Box::new([Found { hash: 0, slot: NONE }; RECENT]),
            entries: Vec::new(),
            free: Vec::new(),
            ends: [(NONE, NONE); 3],
            seed: seed | 1,
            length: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    fn hash(&self, key: &FlowKey) -> u64 {
        let product = u128::from(key.hash64() ^ self.seed) * u128::from(self.seed.rotate_left(32) | 1);
        (product >> 64) as u64 ^ product as u64
    }

    #[inline]
    pub(crate) fn find(&mut self, key: &FlowKey) -> Option<Handle> {
        let hash = self.hash(key);
        let is_it = |slot: u32| {
            let entry = self.entries.get(slot as usize)?;
            let is_it = entry.hash == hash && entry.value.as_ref().is_some_and(|value| value.key() == *key);
            is_it.then_some(Handle { slot, generation: entry.generation })
        };
        let recent = &mut self.recent[hash as usize % RECENT];
        if recent.hash == hash
            && let Some(handle) = is_it(recent.slot)
        {
            return Some(handle);
        }
        let slot = *self.slots.find(hash, |slot| is_it(*slot).is_some())?;
        *recent = Found { hash, slot };
        Some(Handle { slot, generation: self.entries[slot as usize].generation })
    }

    pub(crate) fn insert(&mut self, value: T) -> Handle {
        let hash = self.hash(&value.key());
        let mut entry = Entry { hash, generation: 0, list: List::Active, older: NONE, newer: NONE, value: Some(value) };
        let slot = match self.free.pop() {
            Some(slot) => {
                let place = &mut self.entries[slot as usize];
                entry.generation = place.generation;
                *place = entry;
                slot
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        let generation = self.entries[slot as usize].generation;
        self.recent[hash as usize % RECENT] = Found { hash, slot };
        let entries = &self.entries;
        self.slots.insert_unique(hash, slot, |slot| entries[*slot as usize].hash);
        self.append(slot, List::Active);
        self.length += 1;
        Handle { slot, generation }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let entry = self.entries.get_mut(handle.slot as usize)?;
        if entry.generation == handle.generation { entry.value.as_mut() } else { None }
    }

    pub(crate) fn list(&self, handle: Handle) -> List {
        self.entries.get(handle.slot as usize).map_or(List::Active, |entry| entry.list)
    }

    /// An entry and the list that it is in.
    #[inline]
    pub(crate) fn get_with_list(&self, handle: Handle) -> Option<(&T, List)> {
        let entry = self.entries.get(handle.slot as usize)?;
        if entry.generation == handle.generation { Some((entry.value.as_ref()?, entry.list)) } else { None }
    }

    pub(crate) fn remove(&mut self, handle: Handle) -> Option<T> {
        let entry = self.entries.get_mut(handle.slot as usize)?;
        if entry.generation != handle.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        let hash = entry.hash;
        if let Ok(found) = self.slots.find_entry(hash, |slot| *slot == handle.slot) {
            found.remove();
        }
        self.unlink(handle.slot);
        self.free.push(handle.slot);
        self.length -= 1;
        Some(value)
    }

    /// Puts an entry at the newest end of a list; gives it, and the list that it was in.
    #[inline]
    pub(crate) fn touch(&mut self, handle: Handle, list: List) -> Option<(&mut T, List)> {
        let entry = self.entries.get(handle.slot as usize).filter(|entry| entry.generation == handle.generation)?;
        let before = entry.list;
        if before != list || entry.newer != NONE {
            self.unlink(handle.slot);
            self.append(handle.slot, list);
        }
        Some((self.entries.get_mut(handle.slot as usize)?.value.as_mut()?, before))
    }

    /// The oldest entry of a list.
    pub(crate) fn oldest(&self, list: List) -> Option<Handle> {
        let slot = self.ends[list as usize].0;
        let entry = self.entries.get(slot as usize)?;
        Some(Handle { slot, generation: entry.generation })
    }

    /// The entry behind this one in its list.
    pub(crate) fn newer(&self, handle: Handle) -> Option<Handle> {
        let slot = self.entries.get(handle.slot as usize)?.newer;
        Some(Handle { slot, generation: self.entries.get(slot as usize)?.generation })
    }

    /// Forgets all entries; no handle is good any more.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.seed);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.entries.iter().enumerate().filter_map(|(slot, entry)| {
            Some((Handle { slot: slot as u32, generation: entry.generation }, entry.value.as_ref()?))
        })
    }

    fn append(&mut self, slot: u32, list: List) {
        let newest = self.ends[list as usize].1;
        let entry = &mut self.entries[slot as usize];
        (entry.list, entry.older, entry.newer) = (list, newest, NONE);
        match self.entries.get_mut(newest as usize) {
            Some(before) => before.newer = slot,
            None => self.ends[list as usize].0 = slot,
        }
        self.ends[list as usize].1 = slot;
    }

    fn unlink(&mut self, slot: u32) {
        let (list, older, newer) = {
            let entry = &self.entries[slot as usize];
            (entry.list, entry.older, entry.newer)
        };
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = newer,
            None => self.ends[list as usize].0 = newer,
        }
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = older,
            None => self.ends[list as usize].1 = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::flow::Endpoint;

    impl Keyed for u16 {
        fn key(&self) -> FlowKey {
            key(*self)
        }
    }

    fn key(port: u16) -> FlowKey {
        let address = std::net::IpAddr::from([10, 0, 0, 1]);
        FlowKey::new(Endpoint::new(address, port), Endpoint::new(address, 1), 17).0
    }

    #[test]
    fn entries_are_found_by_key_and_leave_by_age() {
        let mut table = Table::new(7);
        let handles: Vec<_> = (10..20).map(|port| table.insert(port)).collect();
        assert_eq!(table.find(&key(13)), Some(handles[3]));
        table.touch(handles[0], List::Active);
        table.touch(handles[1], List::Parked);
        let mut order = Vec::new();
        while let Some(oldest) = table.oldest(List::Active) {
            order.extend(table.remove(oldest));
        }
        assert_eq!(order, [12, 13, 14, 15, 16, 17, 18, 19, 10]);
        assert_eq!(table.len(), 1);
        assert_eq!(table.get_mut(handles[3]), None, "its place may be somebody else's by now");
        assert_eq!(table.find(&key(13)), None);
        let again = table.insert(13);
        assert_eq!(table.find(&key(13)), Some(again));
        assert_eq!((table.oldest(List::Parked), table.newer(handles[1])), (Some(handles[1]), None));
        assert_eq!(table.oldest(List::Active), Some(again));
        table.insert(14);
        assert_eq!(table.newer(again).and_then(|next| table.get_mut(next).copied()), Some(14));
        table.clear();
        assert_eq!((table.len(), table.oldest(List::Active), table.find(&key(14))), (0, None, None));
    }
}
