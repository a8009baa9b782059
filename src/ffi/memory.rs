//! Memory that fork shares or does not copy.

use std::ffi::c_int;
use std::mem::size_of;
use std::ops::{Deref, DerefMut};
use std::ptr;
#[cfg(target_os = "linux")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::Result;
use nix::errno::Errno;

/// Make malloc return its free memory to the kernel, so that fork has less to copy: `int malloc_trim(size_t)` (glibc;
/// does nothing elsewhere).
///
/// <https://man7.org/linux/man-pages/man3/malloc_trim.3.html>
pub fn malloc_trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes an integer, and releases only memory that is not allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Map new memory, zeroed and page-aligned, that is never unmapped:
/// `void *mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANON, -1, 0)`. The size is in bytes.
///
/// # Errors
/// ENOMEM.
///
/// <https://man7.org/linux/man-pages/man2/mmap.2.html>
fn map(size: usize, flags: c_int) -> Result<ptr::NonNull<libc::c_void>> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, flags | libc::MAP_ANON);
    // SAFETY: no caller passes MAP_FIXED, so the kernel chooses a free address and no memory in use changes.
    let address = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    ptr::NonNull::new(address).ok_or(Errno::ENOMEM)
}

/// A counter that this process shares with the children it forks: `mmap(MAP_SHARED | MAP_ANON)`.
///
/// # Errors
/// ENOMEM.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/mmap.html>
pub fn shared_counter() -> Result<&'static AtomicU64> {
    let zero = map(size_of::<AtomicU64>(), libc::MAP_SHARED)?;
    // SAFETY: the mapping is zeroed, page-aligned and never unmapped, and is only accessed as this atomic.
    Ok(unsafe { zero.cast().as_ref() })
}

/// A flag that is true in the process that first calls this, and false in the children it forks:
/// `int madvise(page, size, MADV_WIPEONFORK)` makes the kernel zero the page in a child. `None` where this is not
/// supported; only Linux has it.
///
/// <https://man7.org/linux/man-pages/man2/madvise.2.html>
fn original() -> Option<&'static AtomicBool> {
    #[cfg(target_os = "linux")]
    {
        static ORIGINAL: OnceLock<Option<&AtomicBool>> = OnceLock::new();
        let make = || {
            let page = map(size_of::<AtomicBool>(), libc::MAP_PRIVATE).ok()?;
            // SAFETY: page is a mapping of its own, so the advice changes no other memory.
            let wiped =
                unsafe { libc::madvise(page.as_ptr(), size_of::<AtomicBool>(), libc::MADV_WIPEONFORK) };
            // SAFETY: the mapping is zeroed, page-aligned and never unmapped, and is only accessed as this atomic.
            let flag: &AtomicBool = unsafe { page.cast().as_ref() };
            flag.store(true, Ordering::Relaxed);
            (wiped == 0).then_some(flag)
        };
        *ORIGINAL.get_or_init(make)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// A list with a fixed capacity that fork does not copy (Linux): in a child it is empty and accepts no item. Elsewhere
/// a child has a copy. Its memory is never freed.
pub struct Unforked<T> {
    first: ptr::NonNull<T>,
    capacity: usize,
    len: usize,
    /// False in a child, where the memory is not mapped; `None` where children have a copy.
    original: Option<&'static AtomicBool>,
}

impl<T: Copy> Unforked<T> {
    /// An empty list for at most `room` items. The kernel allocates each page at the first write to it.
    ///
    /// # Errors
    /// ENOMEM.
    ///
    /// <https://man7.org/linux/man-pages/man2/madvise.2.html>
    pub fn with_capacity(room: usize) -> Result<Unforked<T>> {
        let size = room.max(1).checked_mul(size_of::<T>()).ok_or(Errno::ENOMEM)?;
        // MAP_NORESERVE: reserve no swap space for unwritten pages; the BSDs never do
        #[cfg(target_os = "linux")]
        let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE;
        #[cfg(not(target_os = "linux"))]
        let flags = libc::MAP_PRIVATE;
        let first = map(size, flags)?;
        let original = original();
        #[cfg(target_os = "linux")]
        if original.is_some() {
            // SAFETY: address and size are those of the mapping. A child, where it is unmapped, has `is_mapped` false.
            unsafe { libc::madvise(first.as_ptr(), size, libc::MADV_DONTFORK) };
        }
        Ok(Unforked { first: first.cast(), capacity: room, len: 0, original })
    }

    /// Append an item, unless the list is full; returns whether it fitted.
    pub fn push(&mut self, item: T) -> bool {
        let fits = !self.is_full();
        if fits {
            // SAFETY: len is less than the capacity, so end is inside the mapping, which this process has.
            let end = unsafe { self.first.add(self.len) };
            // SAFETY: end is inside the mapping and aligned, and self is borrowed exclusively.
            unsafe { end.write(item) };
            self.len += 1;
        }
        fits
    }

    /// Append items until the list is full.
    pub fn extend(&mut self, items: impl IntoIterator<Item = T>) {
        for item in items {
            let fits = self.push(item);
            debug_assert!(fits, "the list is full");
        }
    }

    /// Whether no item can be appended.
    pub fn is_full(&self) -> bool {
        self.len == self.capacity || !self.is_mapped()
    }

    /// Remove all items.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Remove item `n` and return it; the last item takes its place.
    pub fn swap_remove(&mut self, n: usize) -> T {
        let removed = self[n];
        self[n] = self[self.len - 1];
        self.len -= 1;
        removed
    }
}

impl<T> Unforked<T> {
    /// Whether the memory is mapped in this process: it is not in a child, on Linux.
    fn is_mapped(&self) -> bool {
        self.original.is_none_or(|original| original.load(Ordering::Relaxed))
    }

    /// The number of items in this process.
    fn mapped_len(&self) -> usize {
        if self.is_mapped() { self.len } else { 0 }
    }
}

impl Unforked<u32> {
    /// A list of `len` zeros: new mappings are zeroed.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn zeros(len: usize) -> Result<Unforked<u32>> {
        Ok(Unforked { len, ..Unforked::with_capacity(len)? })
    }
}

impl<T> Deref for Unforked<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the first len items are zeros or were written; in a child without the memory, the length is 0.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.mapped_len()) }
    }
}

impl<T> DerefMut for Unforked<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: the first len items are zeros or were written, the length is 0 in a child without the memory, and
        // self is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.mapped_len()) }
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
        let mut list = Unforked::with_capacity(3).expect("memory can be mapped");
        list.extend([1, 2]);
        // SAFETY: the child takes no lock that another thread of the tests may hold, and ends by _exit.
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
