//! Pooled states of many prompts, cached on disk, because encoding takes long.
//!
//! A file belongs to one encoder, pooling and number of tokens; its name holds a hash of them. It is an append-only
//! list of entries (hash of the prompt, states of sixteen bits each, checksum), so a run that was stopped continues
//! where it was. Concurrent runs may share a file: whole entries are appended under a lock, and incomplete ones are cut
//! off. Prompts are encoded in order of length, so that those of a batch take about equally long.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::fit::{Origin, Progress, Stage, Stopped};
use crate::classifier::head::{Matrix, from_bf16, to_bf16};
use crate::classifier::stats;

const MAGIC: &[u8; 8] = b"PMFEAT02";
/// Bytes of prompts encoded together.
const BATCH_BYTES: usize = 2_048;
/// Prompts after which entries are written to the file.
const FLUSH: usize = 200;

/// Why there are no features.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// The file cannot be read or written.
    #[error("{path}: {source}. The states of prompts are kept there between runs: --cache names another folder")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a cache of states of this width.
    #[error("{0}: not a file of features for this width; remove it")]
    Foreign(PathBuf),
    /// The encoder failed on a prompt.
    #[error("the encoder: {0}")]
    Encoder(String),
    /// The work was asked to stop; what was encoded is kept.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Encodes prompts: their pooled states, in order.
pub type Encode<'a> = dyn FnMut(&[&str]) -> Result<Vec<Vec<f32>>, String> + 'a;

/// The states of `prompts`, one a row, `width` numbers each: from the file in `folder`, and from `encode` where it
/// has none.
///
/// # Errors
///
/// See [`FeatureError`].
pub fn states(
    folder: &Path,
    origin: &Origin,
    width: usize,
    prompts: &[&str],
    encode: &mut Encode<'_>,
    progress: &dyn Progress,
) -> Result<Matrix, FeatureError> {
    let path = folder.join(file_name(origin));
    fs::create_dir_all(folder).map_err(|source| FeatureError::File { path: folder.to_owned(), source })?;
    // The encoder does not read tools: prompts that differ only in them have the same states.
    let prompts: Vec<&str> = prompts.iter().map(|prompt| stats::apart(prompt).0).collect();
    let hashes: Vec<u64> = prompts.iter().map(|prompt| hash(prompt)).collect();
    let mut rows: HashMap<u64, Vec<usize>> = HashMap::new();
    hashes.iter().enumerate().for_each(|(row, hash)| rows.entry(*hash).or_default().push(row));
    let mut states = Matrix::zeros(prompts.len(), width);
    let mut known = vec![false; prompts.len()];
    let mut put = |hash: u64, values: &[f32], known: &mut Vec<bool>| {
        for row in rows.get(&hash).into_iter().flatten() {
            states.row_mut(*row).copy_from_slice(values);
            known[*row] = true;
        }
    };
    let mut cached = CacheFile::open(&path, width)?;
    cached.read(&mut |hash, values| put(hash, values, &mut known))?;
    let mut missing: Vec<usize> = (0..prompts.len()).filter(|row| !known[*row]).collect();
    missing.sort_by_key(|row| (prompts[*row].len(), hashes[*row]));
    missing.dedup_by_key(|row| hashes[*row]);
    // Progress in bytes, because time is proportional to a prompt's length, up to what is read of it.
    let cost = |row: &usize| prompts[*row].len().clamp(8, 5 * origin.max_tokens);
    let total: usize = missing.iter().map(cost).sum();
    progress.begin(Stage::Features, total as u64);
    let (mut done, mut read_since, mut at) = (0, 0, 0);
    while at < missing.len() {
        let mut end = at + 1;
        let mut bytes = cost(&missing[at]);
        while end < missing.len() && bytes + cost(&missing[end]) <= BATCH_BYTES {
            bytes += cost(&missing[end]);
            end += 1;
        }
        let batch: Vec<&str> = missing[at..end].iter().map(|row| prompts[*row]).collect();
        let pooled = encode(&batch).map_err(FeatureError::Encoder)?;
        for (row, values) in missing[at..end].iter().zip(pooled) {
            if values.len() != width {
                return Err(FeatureError::Encoder(format!("{} states instead of {width}", values.len())));
            }
            let short: Vec<u16> = values.iter().map(|value| to_bf16(*value)).collect();
            cached.add(hashes[*row], &short);
            // Rounded as in the file, so that a resumed run gives the same head.
            let values: Vec<f32> = short.iter().map(|value| from_bf16(*value)).collect();
            put(hashes[*row], &values, &mut known);
        }
        done += bytes;
        read_since += end - at;
        at = end;
        if read_since >= FLUSH {
            cached.flush()?;
            read_since = 0;
        }
        let reported = progress.at(done as u64, &format!("{at} of {} prompts, short ones first", missing.len()));
        if reported.is_err() {
            cached.flush()?;
        }
        reported?;
    }
    cached.flush()?;
    progress.end();
    Ok(states)
}

/// Name of the file for states of this origin. Not of the device or its precision: their states agree, see
/// training/README.md.
pub fn file_name(origin: &Origin) -> String {
    let form = String::from_utf8_lossy(MAGIC);
    let described = format!("{form} {} {:?} {}", origin.encoder, origin.pooling, origin.max_tokens);
    let hash = format!("{:x}", Sha256::digest(described.as_bytes()));
    format!("features-{}.bin", &hash[..16])
}

/// The file, and the entries to be appended to it.
struct CacheFile {
    path: PathBuf,
    file: File,
    width: usize,
    /// Whole entries, not yet written.
    waiting: Vec<u8>,
}

impl CacheFile {
    /// Bytes before the first entry.
    const HEAD: u64 = 12;

    fn open(path: &Path, width: usize) -> Result<Self, FeatureError> {
        let failed = |source| FeatureError::File { path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, width, waiting: Vec::new() })
    }

    /// Bytes of an entry.
    fn entry(&self) -> usize {
        8 + 2 * self.width + 4
    }

    /// Runs `act` under an exclusive lock on the file.
    fn locked<T>(&self, act: impl FnOnce(&File) -> std::io::Result<T>) -> Result<T, FeatureError> {
        let failed = |source| FeatureError::File { path: self.path.clone(), source };
        self.file.lock().map_err(failed)?;
        let done = act(&self.file);
        self.file.unlock().map_err(failed)?;
        done.map_err(failed)
    }

    /// Hands every entry to `each`, up to the first that is incomplete or damaged, and cuts the file there.
    fn read(&self, each: &mut dyn FnMut(u64, &[f32])) -> Result<(), FeatureError> {
        let fits = self.locked(|mut file| {
            file.seek(SeekFrom::Start(0))?;
            let mut bytes = BufReader::with_capacity(1 << 16, file);
            let mut head = [0; Self::HEAD as usize];
            if bytes.read_exact(&mut head).is_err() {
                file.set_len(0)?;
                return Ok(true);
            }
            let (magic, width) = head.split_at(8);
            if magic != MAGIC || width != (self.width as u32).to_le_bytes() {
                return Ok(false);
            }
            let mut entry = vec![0; self.entry()];
            let mut whole = Self::HEAD;
            let mut values = vec![0.0; self.width];
            while bytes.read_exact(&mut entry).is_ok() {
                let (content, sum) = entry.split_at(entry.len() - 4);
                if sum != checksum(content) {
                    break;
                }
                let (key, states) = content.split_at(8);
                for (value, short) in values.iter_mut().zip(states.chunks_exact(2)) {
                    *value = from_bf16(u16::from_le_bytes([short[0], short[1]]));
                }
                each(u64::from_le_bytes(key.try_into().unwrap_or_default()), &values);
                whole += entry.len() as u64;
            }
            file.set_len(whole)?;
            Ok(true)
        })?;
        if fits { Ok(()) } else { Err(FeatureError::Foreign(self.path.clone())) }
    }

    fn add(&mut self, key: u64, states: &[u16]) {
        let from = self.waiting.len();
        self.waiting.extend(key.to_le_bytes());
        states.iter().for_each(|value| self.waiting.extend(value.to_le_bytes()));
        let sum = checksum(&self.waiting[from..]);
        self.waiting.extend(sum);
    }

    /// Appends the waiting entries.
    fn flush(&mut self) -> Result<(), FeatureError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.locked(|mut file| {
            let length = file.metadata()?.len();
            if length < Self::HEAD {
                file.set_len(0)?;
                let head = [MAGIC.as_slice(), &(self.width as u32).to_le_bytes()].concat();
                return file.write_all(&[head.as_slice(), &self.waiting].concat());
            }
            // Cuts off an entry that another run was writing when it was killed.
            file.set_len(length - (length - Self::HEAD) % self.entry() as u64)?;
            file.write_all(&self.waiting)
        })?;
        self.waiting.clear();
        Ok(())
    }
}

/// The first four bytes of SHA-256.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let digest = Sha256::digest(bytes);
    [digest[0], digest[1], digest[2], digest[3]]
}

/// The first eight bytes of SHA-256.
fn hash(prompt: &str) -> u64 {
    let digest = Sha256::digest(prompt.as_bytes());
    digest.iter().take(8).rev().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::encoder::Pooling;

    fn origin() -> Origin {
        Origin { encoder: "e".into(), pooling: Pooling::mean_of(1), max_tokens: 16 }
    }

    /// Length and first byte as states; counts what it reads.
    fn reads(folder: &Path, prompts: &[&str]) -> (Matrix, usize) {
        let mut read = 0;
        let mut encode = |batch: &[&str]| {
            read += batch.len();
            Ok(batch.iter().map(|prompt| vec![prompt.len() as f32, f32::from(prompt.as_bytes()[0])]).collect())
        };
        let matrix = states(folder, &origin(), 2, prompts, &mut encode, &()).unwrap();
        (matrix, read)
    }

    #[test]
    fn a_prompt_is_read_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let (first, read) = reads(folder.path(), &["bb", "a", "bb"]);
        assert_eq!((first.values, read), (vec![2.0, 98.0, 1.0, 97.0, 2.0, 98.0], 2));
        let (second, read) = reads(folder.path(), &["ccc", "a"]);
        assert_eq!((second.values, read), (vec![3.0, 99.0, 1.0, 97.0], 1));
    }

    #[test]
    fn a_torn_end_is_cut_off_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        reads(folder.path(), &["bb", "a"]);
        let path = folder.path().join(file_name(&origin()));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let (again, read) = reads(folder.path(), &["bb", "a"]);
        assert_eq!((again.values, read), (vec![2.0, 98.0, 1.0, 97.0], 1));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn an_entry_that_is_not_what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        reads(folder.path(), &["bb", "a"]);
        let path = folder.path().join(file_name(&origin()));
        let mut bytes = fs::read(&path).unwrap();
        let whole = bytes.clone();
        // The first entry's first state: "a", as the shorter, was read first.
        bytes[12 + 8] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let (again, read) = reads(folder.path(), &["bb", "a"]);
        assert_eq!((again.values, read), (vec![2.0, 98.0, 1.0, 97.0], 2));
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn two_runs_at_once_leave_each_other_whole() {
        let folder = tempfile::tempdir().unwrap();
        let texts = |first: char| (1..60).map(|n| first.to_string().repeat(n)).collect::<Vec<_>>();
        std::thread::scope(|scope| {
            for first in ['x', 'y', 'z'] {
                let (folder, texts) = (folder.path(), texts(first));
                scope.spawn(move || reads(folder, &texts.iter().map(String::as_str).collect::<Vec<_>>()));
            }
        });
        for first in ['x', 'y', 'z'] {
            let texts = texts(first);
            let (again, read) = reads(folder.path(), &texts.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!((again.row(4), read), ([5.0, f32::from(first as u8)].as_slice(), 0));
        }
    }

    #[test]
    fn a_file_of_another_width_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        reads(folder.path(), &["bb"]);
        let mut encode = |_: &[&str]| Err("not asked".to_owned());
        let foreign = states(folder.path(), &origin(), 3, &["bb"], &mut encode, &());
        assert!(matches!(foreign, Err(FeatureError::Foreign(_))));
    }
}
