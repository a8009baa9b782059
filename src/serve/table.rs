//! What is known of each child, by its number, in memory that children do not have: with thousands of them
//! fork would copy more of that than of all else.

use nix::errno::Errno;

use crate::ffi::Unforked;

/// A map from a child's number to what is known of it.
pub struct Table<T> {
    entries: Unforked<(i32, T)>,
    /// Where each entry is, plus one: a hash table in which a number stands at the first free place from its own.
    /// Numbers of processes follow one another, and so are spread well as they are.
    places: Unforked<u32>,
}

impl<T: Copy> Table<T> {
    /// For so many at most.
    pub fn with_room(room: usize) -> Result<Table<T>, Errno> {
        // half of it at least stays free, so that none is far from its own
        let size = (2 * room).next_power_of_two();
        Ok(Table { entries: Unforked::with_room(room)?, places: Unforked::zeros(size)? })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The slot of a number, or the free one where it would stand.
    fn slot(&self, pid: i32) -> usize {
        let mask = self.places.len() - 1;
        let mut slot = pid as usize & mask;
        while let Some(entry) = self.entry(slot)
            && entry.0 != pid
        {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn entry(&self, slot: usize) -> Option<&(i32, T)> {
        self.entries.get((self.places[slot] as usize).checked_sub(1)?)
    }

    /// One more, who is not there yet; false, if there is no room.
    pub fn insert(&mut self, pid: i32, of: T) -> bool {
        let fits = self.entries.push((pid, of));
        if fits {
            let slot = self.slot(pid);
            self.places[slot] = self.entries.len() as u32;
        }
        fits
    }

    /// Forget one.
    pub fn remove(&mut self, pid: i32) -> Option<T> {
        let slot = self.slot(pid);
        let place = (self.places[slot] as usize).checked_sub(1)?;
        // the last entry takes its place
        let last = self.slot(self.entries.last()?.0);
        self.places[last] = self.places[slot];
        self.places[slot] = 0;
        let (_, of) = self.entries.swap_remove(place);
        self.close_up(slot);
        Some(of)
    }

    /// Have those behind a slot that has become free move up, who were kept from standing there.
    fn close_up(&mut self, mut free: usize) {
        let mask = self.places.len() - 1;
        let mut slot = (free + 1) & mask;
        while let Some((pid, _)) = self.entry(slot) {
            let own = *pid as usize;
            if slot.wrapping_sub(own) & mask >= slot.wrapping_sub(free) & mask {
                self.places[free] = self.places[slot];
                self.places[slot] = 0;
                free = slot;
            }
            slot = (slot + 1) & mask;
        }
    }

    /// What is known of one.
    pub fn get(&self, pid: i32) -> Option<&T> {
        self.entry(self.slot(pid)).map(|(_, of)| of)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, pid: i32) -> Option<&mut T> {
        let place = (self.places[self.slot(pid)] as usize).checked_sub(1)?;
        self.entries.get_mut(place).map(|(_, of)| of)
    }

    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &T)> {
        self.entries.iter().map(|(pid, of)| (*pid, of))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_with_so_much_room(steps in prop::collection::vec((0..2, 1..50), 0..400)) {
            let (mut table, mut model) = (Table::with_room(8).unwrap(), BTreeMap::new());
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
                prop_assert_eq!(table.iter().map(|(pid, of)| (pid, *of)).collect::<BTreeMap<_, _>>(), model.clone());
            }
        }
    }
}
