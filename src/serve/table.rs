//! A table of the children by process ID, in memory that children do not inherit: with thousands of children, fork
//! would copy more pages of this table than of everything else.

use nix::errno::Errno;

use crate::ffi::Unforked;

/// A map with process IDs as keys.
pub struct Table<T> {
    entries: Unforked<(i32, T)>,
    /// A hash table with linear probing. A slot holds the index of an entry plus one, or 0 if it is free. The hash of a
    /// process ID is the ID itself: the kernel gives IDs in sequence, so they spread well.
    slots: Unforked<u32>,
}

impl<T: Copy> Table<T> {
    /// A table with space for `capacity` entries.
    pub fn with_capacity(capacity: usize) -> Result<Table<T>, Errno> {
        // at least half of the slots stay free, so that probing is short
        let size = (2 * capacity).next_power_of_two();
        Ok(Table { entries: Unforked::with_capacity(capacity)?, slots: Unforked::zeros(size)? })
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The slot of a process ID, or the free slot where it would be inserted.
    fn slot(&self, pid: i32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = pid as usize & mask;
        while let Some(entry) = self.entry(slot)
            && entry.0 != pid
        {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn entry(&self, slot: usize) -> Option<&(i32, T)> {
        self.entries.get((self.slots[slot] as usize).checked_sub(1)?)
    }

    /// Insert a process ID that is not in the table yet; `false` if there is no space.
    pub fn insert(&mut self, pid: i32, value: T) -> bool {
        let fits = self.entries.push((pid, value));
        if fits {
            let slot = self.slot(pid);
            self.slots[slot] = self.entries.len() as u32;
        }
        fits
    }

    /// Remove a process ID.
    pub fn remove(&mut self, pid: i32) -> Option<T> {
        let slot = self.slot(pid);
        let index = (self.slots[slot] as usize).checked_sub(1)?;
        // the last entry moves to the index of the removed one
        let last = self.slot(self.entries.last()?.0);
        self.slots[last] = self.slots[slot];
        self.slots[slot] = 0;
        let (_, value) = self.entries.swap_remove(index);
        self.close_gap(slot);
        Some(value)
    }

    /// Fill a slot that has become free: move up the entries behind it that probing would no longer find.
    fn close_gap(&mut self, mut free: usize) {
        let mask = self.slots.len() - 1;
        let mut slot = (free + 1) & mask;
        while let Some((pid, _)) = self.entry(slot) {
            let home = *pid as usize;
            if slot.wrapping_sub(home) & mask >= slot.wrapping_sub(free) & mask {
                self.slots[free] = self.slots[slot];
                self.slots[slot] = 0;
                free = slot;
            }
            slot = (slot + 1) & mask;
        }
    }

    /// The value of a process ID.
    pub fn get(&self, pid: i32) -> Option<&T> {
        self.entry(self.slot(pid)).map(|(_, value)| value)
    }

    /// The value of a process ID, to change it.
    pub fn get_mut(&mut self, pid: i32) -> Option<&mut T> {
        let index = (self.slots[self.slot(pid)] as usize).checked_sub(1)?;
        self.entries.get_mut(index).map(|(_, value)| value)
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &T)> {
        self.entries.iter().map(|(pid, value)| (*pid, value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_behaves_as_a_map_with_a_limited_capacity(steps in prop::collection::vec((0..2, 1..50), 0..400)) {
            let (mut table, mut model) = (Table::with_capacity(8).unwrap(), BTreeMap::new());
            for (n, (step, pid)) in steps.into_iter().enumerate() {
                if step == 0 && !model.contains_key(&pid) {
                    prop_assert_eq!(table.insert(pid, n), model.len() < 8);
                    if model.len() < 8 {
                        model.insert(pid, n);
                    }
                } else if step == 1 {
                    prop_assert_eq!(table.remove(pid), model.remove(&pid));
                }
                for pid in 1..50 {
                    prop_assert_eq!(table.get(pid), model.get(&pid));
                }
                prop_assert_eq!(table.get_mut(pid), model.get_mut(&pid));
                prop_assert_eq!(table.len(), model.len());
                let entries: BTreeMap<_, _> = table.iter().map(|(pid, value)| (pid, *value)).collect();
                prop_assert_eq!(&entries, &model);
            }
        }
    }
}
