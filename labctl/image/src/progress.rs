//! What a build or a download tells its caller while it runs.

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step began, such as `installing packages`.
    Step(String),
    /// Bytes of the current step that are done, and their sum where it is known.
    Bytes {
        /// Bytes so far, those of an earlier, broken attempt included.
        done: u64,
        /// Bytes in all, if the other side said so.
        total: Option<u64>,
    },
    /// A line worth keeping on the screen, such as why a source was passed over.
    Note(String),
}

/// Receives [`Event`]s. Called from the task that awaits the build, never at the same time twice.
pub trait Progress: Send + Sync {
    /// Takes one event; must not block.
    fn event(&self, event: Event);
}

/// Drops every event.
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

/// Runs `work` on a thread where it may block, and hands its events to `progress` here.
///
/// If the caller drops the future, the work goes on to its end: the entry is then there for the next caller.
pub(crate) async fn off_thread<T, W>(progress: &dyn Progress, work: W) -> Result<T, tokio::task::JoinError>
where
    T: Send + 'static,
    W: FnOnce(&dyn Progress) -> T + Send + 'static,
{
    // Unbounded: a slow screen must not slow a download, and bytes are reported at most a few times a second.
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let worker = tokio::task::spawn_blocking(move || {
        let report = move |event| {
            // The receiver is gone only if nobody waits any more.
            let _ = sender.send(event);
        };
        work(&report)
    });
    while let Some(event) = receiver.recv().await {
        progress.event(event);
    }
    worker.await
}
