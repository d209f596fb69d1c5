//! Reading files packed with gzip.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

/// Whether a file is packed: its name ends in `.gz`, in any case.
pub fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gz"))
}

/// The bytes of a file; what it holds where it is packed.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let file = File::open(path)?;
    Ok(if is_packed(path) { Box::new(unpacked(file)) } else { Box::new(file) })
}

/// What a packed file holds: its members one after the other, up to the zeros with which tapes and archives fill a
/// block.
fn unpacked(file: File) -> impl Read {
    Members(Some(GzDecoder::new(BufReader::new(file))))
}

/// The member that is being read; `None` at the end.
struct Members(Option<GzDecoder<BufReader<File>>>);

impl Read for Members {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(mut member) = self.0.take() {
            let length = member.read(into)?;
            if length > 0 || into.is_empty() {
                self.0 = Some(member);
                return Ok(length);
            }
            let mut rest = member.into_inner();
            self.0 = (!is_padding(&mut rest)?).then(|| GzDecoder::new(rest));
        }
        Ok(0)
    }
}

/// Skips zeros; whether nothing comes after them.
fn is_padding(rest: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = rest.fill_buf()?;
        let (length, zeros) = (bytes.len(), bytes.iter().take_while(|byte| **byte == 0).count());
        rest.consume(zeros);
        if length == 0 || zeros < length {
            return Ok(length == 0);
        }
    }
}
