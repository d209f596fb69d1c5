//! Gives pages of the program's own file, which the start alone needed, back to the system.
//!
//! The start runs through much of the program once (settings, TLS's roots, the decision log's recovery, the classifier's
//! weights, which it packs anew), and with each page that is touched Linux maps the fifteen around it. All of them would
//! count as the gateway's memory for as long as it runs. What is needed again comes back from the page cache.

#[cfg(target_os = "linux")]
use std::ffi::{c_int, c_void};

/// Gives the pages of the program's code and constants back, and tells how many bytes they span.
#[cfg(target_os = "linux")]
pub(super) fn give_back() -> usize {
    let mut bytes = 0_usize;
    // SAFETY: the callback is called before this returns, with the pointer to `bytes` that it expects.
    unsafe { libc::dl_iterate_phdr(Some(give_back_program), (&raw mut bytes).cast()) };
    bytes
}

#[cfg(not(target_os = "linux"))]
pub(super) fn give_back() -> usize {
    0
}

/// Called with the program first of all, then with each library, unless it returns something else than zero.
#[cfg(target_os = "linux")]
unsafe extern "C" fn give_back_program(info: *mut libc::dl_phdr_info, _: usize, bytes: *mut c_void) -> c_int {
    // SAFETY: the pointers are the caller's, valid during the call.
    let (headers, base) = unsafe {
        let info = &*info;
        (std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()), info.dlpi_addr as usize)
    };
    // SAFETY: reads a number that the system keeps.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(1 << 16);
    for header in headers {
        // What can be written holds the program's variables, which stand in no file.
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let start = (base + header.p_vaddr as usize).next_multiple_of(page);
        let end = (base + header.p_vaddr as usize + header.p_filesz as usize) / page * page;
        // SAFETY: whole pages of a file that is mapped and never written; they are read from it again when needed.
        let is_done =
            start < end && unsafe { libc::madvise(start as *mut c_void, end - start, libc::MADV_DONTNEED) } == 0;
        if is_done {
            // SAFETY: `bytes` is what `give_back` hands over.
            unsafe { *bytes.cast::<usize>() += end - start };
        }
    }
    1
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_read_again() {
        static CONSTANTS: [u64; 1 << 17] = {
            let mut constants = [0; 1 << 17];
            let mut at = 0;
            while at < constants.len() {
                constants[at] = at as u64;
                at += 1;
            }
            constants
        };
        let are_right = || CONSTANTS.iter().zip(0..).all(|(constant, at)| *constant == at);
        assert!(are_right());
        assert!(give_back() > size_of_val(&CONSTANTS));
        assert!(are_right());
    }
}
