//! Gives pages of the program's own file, which the start alone needed, back to the system.
//!
//! The start runs through much of the program once (settings, TLS's roots, the decision log's recovery, the classifier's
//! weights, which it packs anew), and with each page that is touched Linux maps the fifteen around it. All of them would
//! count as the gateway's memory for as long as it runs. What is needed again comes back from the page cache.
//!
//! Only where Linux says that the memory holds what stands in the file and nothing else. A packed program has its code in
//! memory alone, and so has one that moved it to huge pages; a debugger's breakpoints are in copies of single pages.

use std::ops::Range;

/// Gives the pages of the program's code and constants back, and tells how many bytes they span.
pub(super) fn give_back() -> usize {
    let (program, smaps) = (std::fs::read_link("/proc/self/exe"), std::fs::read_to_string("/proc/self/smaps"));
    let (Ok(program), Ok(smaps)) = (program, smaps) else { return 0 };
    let mut bytes = 0;
    for pages in as_in_file(&smaps, &program.to_string_lossy()) {
        // SAFETY: whole pages of a private mapping of a file, none of which was written; they are read from it again
        // when needed.
        if unsafe { libc::madvise(pages.start as *mut libc::c_void, pages.len(), libc::MADV_DONTNEED) } == 0 {
            bytes += pages.len();
        }
    }
    bytes
}

/// Where the file `program` is mapped to be read only and no page of it was ever written, as `/proc/self/smaps` tells.
fn as_in_file(smaps: &str, program: &str) -> Vec<Range<usize>> {
    let (mut found, mut mapping, mut zeros) = (Vec::new(), None, 0);
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            // Written pages in memory, and those that were moved out of it.
            (Some("Anonymous:" | "Swap:"), Some(kilobytes)) => {
                zeros += usize::from(kilobytes == "0");
                found.extend(mapping.take_if(|_| zeros == 2));
            }
            (Some(name), _) if name.ends_with(':') => {}
            (Some(addresses), Some(rights)) => {
                // Behind the place in the file, its device and its number; there may be spaces in it.
                let path = line.splitn(6, ' ').last().map(str::trim_start);
                let is_programs = path == Some(program) && matches!(rights, "r--p" | "r-xp");
                (mapping, zeros) = (range(addresses).filter(|_| is_programs), 0);
            }
            _ => {}
        }
    }
    found
}

/// `7f00-7f80`, hexadecimal.
fn range(addresses: &str) -> Option<Range<usize>> {
    let (start, end) = addresses.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
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

    #[test]
    fn memory_that_is_not_as_in_the_program_s_file_is_kept() {
        let mapping = |rights: &str, path: &str, anonymous: u32, swap: u32| {
            format!(
                "7f00-7f80 {rights} 00002000 fe:00 247282      {path}\nSize: 24 kB\nRss: 24 kB\n\
                 Anonymous: {anonymous} kB\nAnonHugePages: 0 kB\nSwap: {swap} kB\nSwapPss: 0 kB\nVmFlags: rd ex mr\n"
            )
        };
        let program = "/opt/my tools/pointsman";
        let found = |smaps: &[String]| as_in_file(&smaps.concat(), program);
        let [code, constants] = ["r-xp", "r--p"].map(|rights| mapping(rights, program, 0, 0));
        assert_eq!(found(&[code.clone(), constants]), [0x7f00..0x7f80, 0x7f00..0x7f80]);
        let plain = found(std::slice::from_ref(&code));
        for kept in [
            mapping("r-xp", program, 4, 0), // a breakpoint
            mapping("r--p", program, 0, 4), // what the loader wrote before it was made read-only
            mapping("rw-p", program, 0, 0),
            mapping("r-xs", program, 0, 0),
            mapping("r-xp", "", 0, 0), // a packed program
            mapping("r-xp", "[anon:code]", 0, 0),
            mapping("r-xp", "/lib/libc.so.6", 0, 0),
            code.replace("Swap: 0 kB\n", ""), // not said
        ] {
            assert_eq!(found(&[kept.clone(), code.clone()]), plain, "{kept}");
            assert_eq!(found(&[code.clone(), kept.clone()]), plain, "{kept}");
        }
    }
}
