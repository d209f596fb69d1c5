//! Which files of a data set belong to which split.
//!
//! A folder or file called `train`, `val` or `test` (in any case) is that split; `validation`, `dev` and `valid` are
//! val where nothing is called so. Every other part is *unnamed*: loose files count as the requested split where no
//! folder is a split; any other part is read only if it is requested by name, or if it is the only one that can be
//! meant.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{DatasetError, Split};

/// Levels of folders that are searched: below the data set's for one that is named after a split, and below such a one
/// for files.
const DEPTH: usize = 3;
/// Names that stand for val where nothing is called `val`.
const LIKE_VAL: [&str; 3] = ["validation", "dev", "valid"];

/// A file of outcomes.
#[derive(Debug, Clone)]
struct Found {
    file: PathBuf,
    /// The folder it lies in, or its own name where it lies loose.
    part: String,
    /// The split that the name says.
    split: Option<Split>,
    folder: bool,
}

/// All files of a data set.
#[derive(Debug)]
pub(super) struct Layout {
    path: PathBuf,
    found: Vec<Found>,
    notes: Vec<String>,
}

/// The files to read, each with its split, and notes on the others.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// The data set's name.
    pub name: String,
    /// In reading order.
    pub files: Vec<(Split, PathBuf)>,
    /// One sentence each.
    pub notes: Vec<String>,
}

impl Layout {
    /// Lists the files at `path`; a single file is an unnamed part.
    pub(super) fn of(path: &Path) -> Result<Self, DatasetError> {
        let mut found = if path.is_file() {
            vec![Found { file: path.to_owned(), part: stem(path), split: None, folder: false }]
        } else {
            scan(path, DEPTH)?
        };
        if found.is_empty() {
            return Err(DatasetError::Empty { path: path.to_owned() });
        }
        no_twins(&found)?;
        let has_val = found.iter().any(|found| found.part.eq_ignore_ascii_case("val"));
        for found in found.iter_mut().filter(|found| found.split == Some(Split::Val)) {
            if has_val && !found.part.eq_ignore_ascii_case("val") {
                found.split = None;
            }
        }
        let mut notes = Vec::new();
        for split in Split::ALL {
            let named = |folder: bool| move |it: &Found| it.split == Some(split) && it.folder == folder;
            if found.iter().any(named(true)) && found.iter().any(named(false)) {
                notes.push(format!("The loose `{split}` file is not read: there is a folder of that name."));
                found.retain(|found| !named(false)(found));
            }
        }
        // Folders in the order of splits, loose files by name; whatever order the file system has.
        found.sort_by(|a, b| {
            let order = |it: &Found| (!it.folder, it.split.filter(|_| it.folder).map_or(9, |split| split as usize));
            order(a).cmp(&order(b)).then_with(|| a.file.cmp(&b.file))
        });
        Ok(Self { path: path.to_owned(), found, notes })
    }

    /// Files of all splits; where nothing has a split's name, the one unnamed part counts as `unsplit`.
    pub(super) fn every(&self, unsplit: Split) -> Result<Chosen, DatasetError> {
        let chosen = self.usual(unsplit);
        if !chosen.files.is_empty() {
            return Ok(chosen);
        }
        self.with_other(chosen, unsplit)
    }

    /// Files of all splits, and the part called `wanted` as the judged one, with the name that it has.
    pub(super) fn judged(&self, wanted: &str) -> Result<(Chosen, Split, String), DatasetError> {
        let is_wanted = |found: &&Found| found.split.is_none() && found.part.eq_ignore_ascii_case(wanted);
        let like_val = LIKE_VAL.iter().any(|name| name.eq_ignore_ascii_case(wanted));
        let named = Split::named(&wanted.to_ascii_lowercase());
        if named.is_none()
            && let Some(part) = self.found.iter().find(is_wanted).map(|found| found.part.clone())
        {
            let mut chosen = Chosen { name: name_of(&self.path), files: Vec::new(), notes: self.notes.clone() };
            for found in &self.found {
                match found.split {
                    Some(split @ (Split::Train | Split::Val)) => chosen.files.push((split, found.file.clone())),
                    None if is_wanted(&found) => chosen.files.push((Split::Test, found.file.clone())),
                    _ => {}
                }
            }
            return Ok((chosen, Split::Test, part));
        }
        let Some(split) = named.or(like_val.then_some(Split::Val)) else { return Err(self.nothing(wanted)) };
        let chosen = self.usual(split);
        if chosen.files.iter().any(|(own, _)| *own == split) {
            return Ok((chosen, split, split.to_string()));
        }
        Ok((self.with_other(chosen, split)?, split, split.to_string()))
    }

    /// Files that have a split's name, and loose files as `unsplit` where no folder is a split.
    fn usual(&self, unsplit: Split) -> Chosen {
        let folders = self.found.iter().any(|found| found.folder && found.split.is_some());
        let mut chosen = Chosen { name: name_of(&self.path), files: Vec::new(), notes: self.notes.clone() };
        let mut unread = BTreeSet::new();
        for found in &self.found {
            match found.split.or((!found.folder && !folders).then_some(unsplit)) {
                Some(split) => chosen.files.push((split, found.file.clone())),
                None => _ = unread.insert(format!("`{}`", found.part)),
            }
        }
        if !unread.is_empty() && !chosen.files.is_empty() {
            let unread: Vec<String> = unread.into_iter().collect();
            chosen.notes.push(format!("Not read, because it is neither train, val nor test: {}.", unread.join(", ")));
        }
        chosen
    }

    /// The one part that can be meant where nothing has the requested name: an unnamed folder, or all loose files
    /// together.
    fn with_other(&self, mut chosen: Chosen, split: Split) -> Result<Chosen, DatasetError> {
        let unnamed: Vec<&Found> = self.found.iter().filter(|found| found.split.is_none()).collect();
        let parts: HashSet<Option<&str>> =
            unnamed.iter().map(|found| found.folder.then_some(found.part.as_str())).collect();
        if parts.len() != 1 {
            return Err(self.nothing(split.as_str()));
        }
        let mut names: Vec<String> = unnamed.iter().map(|found| format!("`{}`", found.part)).collect();
        names.dedup();
        chosen.files.extend(unnamed.iter().map(|found| (split, found.file.clone())));
        chosen.notes.clone_from(&self.notes);
        chosen.notes.push(format!("Nothing is called `{split}`: {} is taken for it.", names.join(", ")));
        Ok(chosen)
    }

    fn nothing(&self, wanted: &str) -> DatasetError {
        let mut found: Vec<String> = self.found.iter().map(|found| format!("`{}`", found.part)).collect();
        found.dedup();
        DatasetError::NoSplit { path: self.path.clone(), wanted: wanted.to_owned(), found: found.join(", ") }
    }
}

impl Chosen {
    /// The collection that a file's records are of where they do not say so: the file's name. But where that only says
    /// which split it is, and where no two splits have files of the same name (parts with a number each), it tells
    /// nothing: then all is one collection, called as the data set.
    pub(super) fn collection(&self, file: &Path) -> String {
        let mut split_by: HashMap<String, Split> = HashMap::new();
        let splits: BTreeSet<Split> = self.files.iter().map(|(split, _)| *split).collect();
        let is_shared =
            self.files.iter().any(|(split, file)| split_by.insert(stem(file), *split).is_some_and(|it| it != *split));
        let name = stem(file);
        if split_of(&name).is_none() && (is_shared || splits.len() == 1) { name } else { self.name.clone() }
    }
}

/// The split that the name of a folder or file means.
fn split_of(name: &str) -> Option<Split> {
    let name = name.to_ascii_lowercase();
    Split::named(&name).or(LIKE_VAL.contains(&name.as_str()).then_some(Split::Val))
}

/// The name of the data set at `path`: that of its folder, or of the first folder around it that is not called as a
/// split.
fn name_of(path: &Path) -> String {
    let folder = if path.is_file() { path.parent().unwrap_or(path) } else { path };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let mut around = folder.ancestors().filter_map(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    around.find(|name| split_of(name).is_none()).unwrap_or_else(|| stem(path))
}

/// The files under a folder: those directly in it, those in folders named after a split and up to [`DEPTH`]
/// levels below such a folder, those directly in other folders. If there are none, the same one level down.
fn scan(folder: &Path, depth: usize) -> Result<Vec<Found>, DatasetError> {
    let mut found = Vec::new();
    for file in json_lines_in(folder)? {
        let part = stem(&file);
        found.push(Found { split: split_of(&part), part, file, folder: false });
    }
    let folders = folders_in(folder)?;
    for inner in &folders {
        let part = inner.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let split = split_of(&part);
        let files = if split.is_some() { all_below(inner, DEPTH)? } else { json_lines_in(inner)? };
        found.extend(files.into_iter().map(|file| Found { file, part: part.clone(), split, folder: true }));
    }
    if found.is_empty() && depth > 0 {
        for inner in &folders {
            found.extend(scan(inner, depth - 1)?);
        }
    }
    Ok(found)
}

fn all_below(folder: &Path, depth: usize) -> Result<Vec<PathBuf>, DatasetError> {
    let mut files = json_lines_in(folder)?;
    if depth > 0 {
        for inner in folders_in(folder)? {
            files.extend(all_below(&inner, depth - 1)?);
        }
    }
    Ok(files)
}

/// A file that is there both compressed and uncompressed would count twice.
fn no_twins(found: &[Found]) -> Result<(), DatasetError> {
    let mut seen = HashSet::new();
    match found.iter().find(|found| !seen.insert((found.file.parent(), stem(&found.file)))) {
        Some(second) => Err(DatasetError::Twins { path: second.file.clone() }),
        None => Ok(()),
    }
}

/// The files of outcomes directly in a folder, without hidden ones.
fn json_lines_in(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        path.is_file() && !name.starts_with('.') && (name.ends_with(".jsonl") || name.ends_with(".jsonl.gz"))
    };
    Ok(entries(folder)?.into_iter().filter(is_ours).collect())
}

/// The subfolders of a folder, without hidden ones.
fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let is_shown = |path: &PathBuf| !path.file_name().unwrap_or_default().to_string_lossy().starts_with('.');
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir() && is_shown(path)).collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let failed = |source| DatasetError::Io { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut paths = entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect::<Result<Vec<PathBuf>, _>>()?;
    paths.sort();
    Ok(paths)
}

/// The file's name without `.jsonl` or `.jsonl.gz`.
pub(super) fn stem(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let end = name.to_ascii_lowercase().find(".jsonl").unwrap_or(name.len());
    name[..end].to_owned()
}
