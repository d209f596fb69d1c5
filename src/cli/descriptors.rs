//! The limit of open files (`RLIMIT_NOFILE`), which counts connections, too.
//!
//! Shells and containers often set a soft limit of 1,024, for programs that use `select(2)`, below a hard one that is
//! many times higher. A gateway holds two connections for each request under way, so it raises the soft limit to the
//! hard one, as Go's runtime does.

/// Raises the soft limit to the hard one if possible, and returns it as it is then; `None` = it cannot be read.
pub(super) fn raise_limit() -> Option<u64> {
    let mut limit = read()?;
    let soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the call reads a value that outlives it.
    let is_raised = limit.rlim_max > soft && unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0;
    Some(if is_raised { limit.rlim_max } else { soft })
}

fn read() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes to a value that outlives it.
    let is_read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0;
    is_read.then_some(limit)
}

/// A remark if `allowed` open files are too few: each request under way has a connection to its client and one to a
/// vendor, and the decision log and the rest need some files.
pub(super) fn remark(allowed: Option<u64>, max_connections: usize, max_in_flight: usize) -> Option<String> {
    let wanted = (max_connections + max_in_flight) as u64 + OTHER_FILES;
    let allowed = allowed.filter(|allowed| *allowed < wanted)?;
    Some(format!(
        "the process may open {allowed} files, and server.max_connections and limits.max_in_flight may take {wanted}: \
         raise the hard limit (ulimit -Hn, LimitNOFILE=), or lower them"
    ))
}

/// Open files that are no connections.
const OTHER_FILES: u64 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let allowed = raise_limit().unwrap();
        let now = read().unwrap();
        assert_eq!(allowed, now.rlim_cur);
        assert!(now.rlim_cur == now.rlim_max || cfg!(target_os = "macos"));
    }

    #[test]
    fn too_few_are_told_with_the_keys_that_ask_for_more() {
        assert_eq!(remark(Some(6_000), 4096, 1024), None);
        assert_eq!(remark(None, 4096, 1024), None);
        let told = remark(Some(1024), 4096, 1024).unwrap();
        assert!(told.contains("1024 files") && told.contains("5248"), "{told}");
    }
}
