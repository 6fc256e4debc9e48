//! A file that people edit.

use std::{path::PathBuf, time::Duration};

use tokio::time::sleep;

/// How often to look at it.
const LOOK: Duration = Duration::from_millis(250);

/// Notices when its contents change.
pub(super) struct Watched {
    path: PathBuf,
    known: Option<Vec<u8>>,
}

impl Watched {
    /// Begins with what is in it now.
    pub(super) async fn new(path: &std::path::Path) -> Self {
        let known = tokio::fs::read(path).await.ok();
        Self {
            path: path.to_owned(),
            known,
        }
    }

    /// Waits until its contents have changed. An editor may write it in parts: what is seen twice counts. One that is gone or
    /// empty is being written.
    pub(super) async fn changed(&mut self) {
        let mut last = None;
        loop {
            sleep(LOOK).await;
            let read = tokio::fs::read(&self.path).await.ok();
            let Some(now) = read.filter(|text| !text.is_empty()) else {
                continue;
            };
            if self.known.as_ref() == Some(&now) {
                last = None;
            } else if last.as_ref() == Some(&now) {
                self.known = last;
                return;
            } else {
                last = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_once_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.yaml");
        std::fs::write(&path, "one").unwrap();
        let mut watched = Watched::new(&path).await;
        let long = LOOK * 8;
        std::fs::write(&path, "one").unwrap();
        assert!(timeout(long, watched.changed()).await.is_err(), "the same");
        std::fs::write(&path, "").unwrap();
        assert!(timeout(long, watched.changed()).await.is_err(), "not yet");
        std::fs::remove_file(&path).unwrap();
        assert!(timeout(long, watched.changed()).await.is_err(), "gone");
        std::fs::write(&path, "two").unwrap();
        assert!(timeout(long * 4, watched.changed()).await.is_ok());
        assert!(timeout(long, watched.changed()).await.is_err(), "once");
    }
}
