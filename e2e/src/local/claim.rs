//! Who may touch what: one command at a time, and only a state folder that this program made.

use std::{
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::PathBuf,
};

use anyhow::{Context, Result, bail};

use super::{
    layout::{Layout, STATE_VARIABLE},
    step::note,
    supervisor,
};

/// What marks a folder as ours, so that it may be removed with everything in it.
const MARK: &str = ".rotunda-local";

/// Keeps other commands that change something waiting until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _lock: File,
}

impl Turn {
    /// Waits for its turn.
    pub fn take(layout: &Layout) -> Result<Self> {
        // The cache folder is what stays when everything else goes.
        let folder = layout.cache();
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let lock = File::open(folder).with_context(|| format!("opening {}", folder.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                note("waiting for another `rotunda-local` to finish");
                lock.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(Self { _lock: lock })
    }
}

/// Refuses to go on where the machine's one cluster has its state elsewhere.
pub(crate) fn check_no_other(layout: &Layout) -> Result<()> {
    match supervisor::other_state(layout) {
        Some(other) => bail!(
            "a local cluster runs with {STATE_VARIABLE}={}, and a machine has room for one; take that one down first",
            other.display()
        ),
        None => Ok(()),
    }
}

/// Makes the state folder; refuses one that holds something else.
pub(crate) fn state_folder(layout: &Layout) -> Result<()> {
    let folder = layout.state();
    let in_use = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if in_use && !mark(layout).exists() {
        bail!(
            "{} is not empty and holds no local cluster: let {STATE_VARIABLE} name a folder of its own",
            folder.display()
        );
    }
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    fs::write(mark(layout), "").with_context(|| format!("writing in {}", folder.display()))
}

/// Whether the state folder holds more than its mark.
pub(crate) fn is_used(layout: &Layout) -> bool {
    let entries = fs::read_dir(layout.state()).into_iter().flatten().flatten();
    mark(layout).exists() && entries.count() > 1
}

/// Removes the state folder, if it is ours.
pub(crate) fn remove_state_folder(layout: &Layout) -> Result<()> {
    if !mark(layout).exists() {
        return Ok(());
    }
    // The mark goes last: a removal that was cut short can be taken up again.
    for entry in fs::read_dir(layout.state())? {
        let path = entry?.path();
        if path == mark(layout) {
            continue;
        }
        let is_folder = path
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_dir());
        let removed = if is_folder {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed
            .or_else(|error| {
                if error.kind() == ErrorKind::NotFound {
                    Ok(())
                } else {
                    Err(error)
                }
            })
            .with_context(|| format!("removing {}", path.display()))?;
    }
    fs::remove_file(mark(layout))?;
    fs::remove_dir(layout.state()).with_context(|| format!("removing {}", layout.state().display()))
}

fn mark(layout: &Layout) -> PathBuf {
    layout.at(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_something_else_in_it_is_neither_taken_nor_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let precious = folder.path().join("precious");
        fs::write(&precious, "").expect("a file");
        let layout = Layout::at_folders(folder.path(), folder.path());
        let error = state_folder(&layout).expect_err("it is in use").to_string();
        assert!(
            error.contains("let ROTUNDA_LOCAL_STATE name a folder of its own"),
            "{error}"
        );
        remove_state_folder(&layout).expect("nothing to do");
        assert!(precious.exists());
    }

    #[test]
    fn a_folder_of_ours_goes_with_everything_in_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::at_folders(&folder.path().join("state"), folder.path());
        state_folder(&layout).expect("a new folder");
        assert!(!is_used(&layout));
        fs::create_dir_all(layout.at("deep/inside")).expect("a folder");
        state_folder(&layout).expect("it is still ours");
        assert!(is_used(&layout));
        remove_state_folder(&layout).expect("it is ours");
        assert!(!layout.state().exists());
    }
}
