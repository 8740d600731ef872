//! Asks the processor to load a place ahead of its use.

/// Hints that the value will be read soon. Does nothing where there is no such instruction.
#[inline(always)]
pub(crate) fn read<T>(place: &T) {
    read_at(std::ptr::from_ref(place));
}

/// The same for any address, valid or not.
#[inline(always)]
pub(crate) fn read_at<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing; any address is allowed.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
