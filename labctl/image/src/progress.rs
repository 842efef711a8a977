//! Progress that a build or a download reports to its caller.

/// A progress event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step started, such as `installing packages`.
    Step(String),
    /// Bytes of the current step that are done, and the total if known.
    Bytes {
        /// Bytes so far, including those of an earlier, interrupted attempt.
        done: u64,
        /// Total bytes, if the server reported it.
        total: Option<u64>,
    },
    /// A line worth keeping on the screen, such as why a source was skipped.
    Note(String),
}

/// Receives [`Event`]s. Called from the task that awaits the build, never concurrently.
pub trait Progress: Send + Sync {
    /// Handles one event; must not block.
    fn event(&self, event: Event);
}

/// Discards every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _event: Event) {}
}

impl<F: Fn(Event) + Send + Sync> Progress for F {
    fn event(&self, event: Event) {
        self(event);
    }
}

/// Runs `work` on a thread where it may block, and passes its events to `progress` here.
///
/// If the caller drops the future, the work still completes, so the entry is there for the next caller.
pub(crate) async fn off_thread<T, W>(progress: &dyn Progress, work: W) -> Result<T, tokio::task::JoinError>
where
    T: Send + 'static,
    W: FnOnce(&dyn Progress) -> T + Send + 'static,
{
    // Unbounded, because a slow screen must not slow down a download, and bytes are reported at most a few times a
    // second.
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let worker = tokio::task::spawn_blocking(move || {
        let report = move |event| {
            // The receiver is gone only if the caller no longer waits.
            let _ = sender.send(event);
        };
        work(&report)
    });
    while let Some(event) = receiver.recv().await {
        progress.event(event);
    }
    worker.await
}
