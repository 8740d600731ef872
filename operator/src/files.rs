//! How many files this process may have open: each session with a worker is one.
//!
//! Asked by [`crate::serve()`], when it begins.

use std::io;

use libc::{RLIMIT_NOFILE, getrlimit, rlimit, setrlimit};

/// Takes all that the system gives. What a process begins with is often 1024, for the sake of
/// programs that cannot have more; this one can.
pub(crate) fn take_all() -> io::Result<()> {
    let mut limit = rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: it writes the value that it is given, and nothing else.
    if unsafe { getrlimit(RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: it reads the value that it is given.
    if unsafe { setrlimit(RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> rlimit {
        let mut limit = rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: it writes the value that it is given.
        assert_eq!(unsafe { getrlimit(RLIMIT_NOFILE, &raw mut limit) }, 0);
        limit
    }

    #[test]
    fn all_files_are_taken() {
        let less = rlimit { rlim_cur: limit().rlim_max - 1, ..limit() };
        // SAFETY: it reads the value that it is given.
        assert_eq!(unsafe { setrlimit(RLIMIT_NOFILE, &raw const less) }, 0);
        take_all().unwrap();
        assert_eq!(limit().rlim_cur, limit().rlim_max);
    }
}
