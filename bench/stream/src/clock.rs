//! The clock that all processes of one machine share.
//!
//! Read where two processes take part in one measurement. Invariant: a reading in one process is
//! comparable with one in another, until the machine starts again.

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, which the call fills and does not keep.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on() {
        let then = monotonic_ns();
        while monotonic_ns() == then {}
        assert!(monotonic_ns() > then && then > 0);
    }
}
