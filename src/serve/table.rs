//! What is known of each child, by its number, in memory that children do not have: with thousands of them
//! fork would copy more of that than of all else.

use std::collections::BTreeMap;

use nix::errno::Errno;

use crate::ffi::Unforked;

/// A map from a child's number to what is known of it.
pub struct Table<T> {
    entries: Unforked<(i32, T)>,
    /// Where each entry is. Those of young children, who are most likely to end, stand together.
    places: BTreeMap<i32, usize>,
}

impl<T: Copy> Table<T> {
    /// For so many at most.
    pub fn with_room(room: usize) -> Result<Table<T>, Errno> {
        Ok(Table { entries: Unforked::with_room(room)?, places: BTreeMap::new() })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// One more, who is not there yet; false, if there is no room.
    pub fn insert(&mut self, pid: i32, of: T) -> bool {
        let fits = self.entries.push((pid, of));
        if fits {
            self.places.insert(pid, self.entries.len() - 1);
        }
        fits
    }

    /// Forget one.
    pub fn remove(&mut self, pid: i32) -> Option<T> {
        let place = self.places.remove(&pid)?;
        let (_, of) = self.entries.swap_remove(place);
        if let Some((moved, _)) = self.entries.get(place) {
            self.places.insert(*moved, place);
        }
        Some(of)
    }

    /// What is known of one.
    pub fn get(&self, pid: i32) -> Option<&T> {
        self.entries.get(*self.places.get(&pid)?).map(|(_, of)| of)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, pid: i32) -> Option<&mut T> {
        self.entries.get_mut(*self.places.get(&pid)?).map(|(_, of)| of)
    }

    /// All, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &T)> {
        self.entries.iter().map(|(pid, of)| (*pid, of))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_with_so_much_room(steps in prop::collection::vec((0..2, 1..12), 0..200)) {
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
                prop_assert_eq!(table.get(pid), model.get(&pid));
                prop_assert_eq!(table.get_mut(pid), model.get_mut(&pid));
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(table.iter().map(|(pid, of)| (pid, *of)).collect::<BTreeMap<_, _>>(), model.clone());
            }
        }
    }
}
