//! CPU time and memory of this process, as the kernel counts them.
//!
//! Read by [`crate::Stopwatch`] and by whoever measures what a part of a run costs. Invariant:
//! these are figures of the calling process or thread alone.

use std::fs;

/// User and system time of this process so far, in seconds.
pub fn process_cpu_seconds() -> f64 {
    // SAFETY: all-zero is a value of this plain C struct, and getrusage writes only into it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// User and system time of the calling thread so far, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, which the call fills and does not keep.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The high-water mark of this process's memory, 0 where the kernel does not say.
///
/// Not `ru_maxrss`: that one is inherited from the parent over fork and exec.
pub fn peak_rss_bytes() -> u64 {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        })
        .map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threads_time_is_part_of_its_process_and_grows_with_work() {
        let (process, thread) = (process_cpu_seconds(), thread_cpu_ns());
        let mut x = 1u64;
        while thread_cpu_ns() - thread < 5_000_000 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(process_cpu_seconds() - process > 0.002);
        assert!(peak_rss_bytes() > 0);
    }
}
