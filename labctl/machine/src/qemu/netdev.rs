//! QEMU's network socket, before a saved guest is loaded.

use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::Qemu;

/// Longest wait; QEMU takes a millisecond unless the host is very busy.
const DEADLINE: Duration = Duration::from_secs(10);

/// Waits until QEMU's network socket listens, which QEMU sets up on a separate thread. Until that is done, QEMU 7.2
/// regards the link as up: anything the guest sends, such as the announcement after its state was loaded, waits for a
/// connection that does not exist, and QEMU crashes when the guest resumes (net/stream.c, `net_stream_receive`).
/// Connecting and disconnecting once makes sure that the link is down.
pub(super) async fn listens(qemu: &Qemu, socket: &Path) {
    let mut events = qemu.qmp().events();
    let mut reported = async |name: &str| {
        while let Ok(event) = events.recv().await {
            if event["event"] == name {
                return;
            }
        }
    };
    let visit = async {
        let visitor = loop {
            match UnixStream::connect(socket).await {
                Ok(visitor) => break visitor,
                Err(_) => sleep(Duration::from_millis(1)).await,
            }
        };
        reported("NETDEV_STREAM_CONNECTED").await;
        drop(visitor);
        reported("NETDEV_STREAM_DISCONNECTED").await;
    };
    // If QEMU does not report it, continue anyway.
    let _ = timeout(DEADLINE, visit).await;
}
