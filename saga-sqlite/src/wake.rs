//! Wake-ups between journals of one process on one file. Other processes are found by polling.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

static FILES: LazyLock<Mutex<HashMap<PathBuf, Weak<Notify>>>> = LazyLock::new(Mutex::default);

/// The one that all journals on this file share.
pub(crate) fn shared(file: &Path) -> Arc<Notify> {
    let file = resolved(file).unwrap_or_else(|_| file.to_owned());
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    files.retain(|_, work| work.strong_count() > 0);
    if let Some(work) = files.get(&file).and_then(Weak::upgrade) {
        return work;
    }
    let work = Arc::new(Notify::new());
    files.insert(file, Arc::downgrade(&work));
    work
}

/// The file by one name, however it is written, and whether it is there yet or about to be made.
fn resolved(file: &Path) -> std::io::Result<PathBuf> {
    file.canonicalize().or_else(|missing| {
        let file = std::path::absolute(file)?;
        let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else { return Err(missing) };
        Ok(folder.canonicalize()?.join(name))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_word_for_all_its_journals_before_it_is_there_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, link) = (dir.path().join("folder"), dir.path().join("link"));
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        let first = shared(&link.join("a.db"));
        std::fs::write(folder.join("a.db"), "").unwrap();
        assert!(Arc::ptr_eq(&first, &shared(&folder.join("a.db"))));
        assert!(Arc::ptr_eq(&first, &shared(&link.join("a.db"))));
        assert!(!Arc::ptr_eq(&first, &shared(&folder.join("b.db"))));
    }
}
