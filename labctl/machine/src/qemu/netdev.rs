//! QEMU's network socket, before a saved guest comes into it.

use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::Qemu;

/// Longest wait; QEMU takes a millisecond unless the host is very busy.
const DEADLINE: Duration = Duration::from_secs(10);

/// Waits until QEMU's network socket listens, which it sees to on a thread of its own. QEMU 7.2 takes the link for up until that is done:
/// what the guest sends before, such as the announcement after its state was read, waits for a connection that is not there, and QEMU ends
/// by a fault when the guest goes on (net/stream.c, `net_stream_receive`). A visitor who comes and goes leaves the link down for certain.
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
    // A QEMU that does not report it is not kept from its work.
    let _ = timeout(DEADLINE, visit).await;
}
