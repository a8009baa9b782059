//! Memory that fork shares, or does not copy.

use std::ffi::c_int;
use std::mem::size_of;
use std::ops::{Deref, DerefMut};
use std::ptr;
#[cfg(target_os = "linux")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::Result;
use nix::errno::Errno;

/// Have malloc give back what it keeps for later: what is not there is not copied by fork (glibc; others keep less).
pub fn malloc_trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes an integer, and gives back only what is not allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Fresh memory, all zeros, aligned to a page and never unmapped:
/// `mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANON, -1, 0)`.
///
/// # Errors
/// ENOMEM.
///
/// <https://man7.org/linux/man-pages/man2/mmap.2.html>
fn map(size: usize, flags: c_int) -> Result<ptr::NonNull<libc::c_void>> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, flags | libc::MAP_ANON);
    // SAFETY: no flags hold MAP_FIXED, and a mapping where the kernel chooses changes no memory that is in use.
    let address = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    ptr::NonNull::new(address).ok_or(Errno::ENOMEM)
}

/// A counter that a process has in common with the children that it forks: `mmap(MAP_SHARED | MAP_ANON)`.
///
/// # Errors
/// ENOMEM.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/mmap.html>
pub fn shared_counter() -> Result<&'static AtomicU64> {
    let zero = map(size_of::<AtomicU64>(), libc::MAP_SHARED)?;
    // SAFETY: it is a zero, aligned, that nothing takes away, and whoever has it has it as an atomic.
    Ok(unsafe { zero.cast().as_ref() })
}

/// Whether this is the process that first asked, and no child that it has forked (Linux). A child finds a zero there,
/// which the kernel has put in its page: `madvise(MADV_WIPEONFORK)`. None where that is not to be had.
///
/// <https://man7.org/linux/man-pages/man2/madvise.2.html>
fn original() -> Option<&'static AtomicBool> {
    #[cfg(target_os = "linux")]
    {
        static ORIGINAL: OnceLock<Option<&AtomicBool>> = OnceLock::new();
        let make = || {
            let page = map(size_of::<AtomicBool>(), libc::MAP_PRIVATE).ok()?;
            // SAFETY: the address is that of a mapping, of which the kernel takes whole pages.
            let wiped =
                unsafe { libc::madvise(page.as_ptr(), size_of::<AtomicBool>(), libc::MADV_WIPEONFORK) };
            // SAFETY: it is a zero, aligned, that nothing takes away, and whoever has it has it as an atomic.
            let flag: &AtomicBool = unsafe { page.cast().as_ref() };
            flag.store(true, Ordering::Relaxed);
            (wiped == 0).then_some(flag)
        };
        *ORIGINAL.get_or_init(make)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// A list of no more than a known length, that children made by fork do not copy (Linux): to them it is empty, and has
/// no room. Elsewhere they have a copy. It is there for as long as the process.
pub struct Unforked<T> {
    first: ptr::NonNull<T>,
    room: usize,
    len: usize,
    /// False in a child, which does not have the memory; none where children have a copy.
    original: Option<&'static AtomicBool>,
}

impl<T: Copy> Unforked<T> {
    /// Room for so many; a page of it is made when it is first written to.
    ///
    /// # Errors
    /// ENOMEM.
    ///
    /// <https://man7.org/linux/man-pages/man2/madvise.2.html>
    pub fn with_room(room: usize) -> Result<Unforked<T>> {
        let size = room.max(1).checked_mul(size_of::<T>()).ok_or(Errno::ENOMEM)?;
        // the BSDs reserve nothing for what is not written to
        #[cfg(target_os = "linux")]
        let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE;
        #[cfg(not(target_os = "linux"))]
        let flags = libc::MAP_PRIVATE;
        let first = map(size, flags)?;
        let original = original();
        #[cfg(target_os = "linux")]
        if original.is_some() {
            // SAFETY: address and size are those of the mapping. A child has no memory there, and `is_here` keeps it away.
            unsafe { libc::madvise(first.as_ptr(), size, libc::MADV_DONTFORK) };
        }
        Ok(Unforked { first: first.cast(), room, len: 0, original })
    }

    /// One more, if there is room.
    pub fn push(&mut self, item: T) -> bool {
        let fits = !self.is_full();
        if fits {
            // SAFETY: len is less than room, so that this lies in the mapping, which this process has.
            let end = unsafe { self.first.add(self.len) };
            // SAFETY: end lies in the mapping, is aligned, and nobody else refers to it.
            unsafe { end.write(item) };
            self.len += 1;
        }
        fits
    }

    /// Some more, as far as there is room.
    pub fn extend(&mut self, items: impl IntoIterator<Item = T>) {
        for item in items {
            let fits = self.push(item);
            debug_assert!(fits, "there is no more than there may be");
        }
    }

    /// Whether there is room for no more.
    pub fn is_full(&self) -> bool {
        self.len == self.room || !self.is_here()
    }

    /// Forget all.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Take one out; the last takes its place.
    pub fn swap_remove(&mut self, n: usize) -> T {
        let removed = self[n];
        self[n] = self[self.len - 1];
        self.len -= 1;
        removed
    }
}

impl<T> Unforked<T> {
    /// Whether this process has the memory: it is no child's.
    fn is_here(&self) -> bool {
        self.original.is_none_or(|original| original.load(Ordering::Relaxed))
    }

    /// How many items there are in this process.
    fn here(&self) -> usize {
        if self.is_here() { self.len } else { 0 }
    }
}

impl Unforked<u32> {
    /// So many zeros, which is what the kernel gives.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn zeros(len: usize) -> Result<Unforked<u32>> {
        Ok(Unforked { len, ..Unforked::with_room(len)? })
    }
}

impl<T> Deref for Unforked<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the first items are zeros or have been written; in a child, which has none, the length is 0.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.here()) }
    }
}

impl<T> DerefMut for Unforked<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: the same; and only whoever has self has them.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.here()) }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::Unforked;
    use crate::ffi::_exit;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::ForkResult;

    #[test]
    fn a_child_finds_it_empty_and_without_room() {
        let mut list = Unforked::with_room(3).expect("memory can be mapped");
        list.extend([1, 2]);
        // SAFETY: the child calls nothing that takes a lock, and ends.
        match unsafe { nix::unistd::fork() }.expect("a process can be made") {
            ForkResult::Child => {
                let empty = list.is_empty() && list.is_full() && !list.push(3);
                _exit(if empty { 0 } else { 1 })
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
                assert!(list.push(3) && list.is_full());
                assert_eq!(*list, [1, 2, 3]);
            }
        }
    }
}
