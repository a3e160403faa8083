//! Wake-ups between journals of one process on one file. Other processes are found by polling.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

static FILES: LazyLock<Mutex<HashMap<PathBuf, Weak<Notify>>>> = LazyLock::new(Mutex::default);

/// The one that all journals on this file share.
pub(crate) fn shared(file: &Path) -> Arc<Notify> {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    files.retain(|_, work| work.strong_count() > 0);
    if let Some(work) = files.get(&file).and_then(Weak::upgrade) {
        return work;
    }
    let work = Arc::new(Notify::new());
    files.insert(file, Arc::downgrade(&work));
    work
}
