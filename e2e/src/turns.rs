//! Who runs beside whom: most tests mind their own namespace and run side by side; those that take the operator away, or
//! measure a time, run alone.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static TURNS: RwLock<()> = RwLock::const_new(());

/// Held by a test while it runs.
#[derive(Debug)]
pub enum Turn {
    /// Others run as well.
    AmongOthers(RwLockReadGuard<'static, ()>),
    /// Nobody else runs.
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Turn {
    /// Waits until nobody runs alone.
    pub async fn among_others() -> Self {
        Self::AmongOthers(TURNS.read().await)
    }

    /// Waits until nobody runs.
    pub async fn alone() -> Self {
        Self::Alone(TURNS.write().await)
    }
}
