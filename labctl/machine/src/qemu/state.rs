//! A machine's state in a file: QEMU's own migration stream (docs/devel/migration.rst), written by one QEMU and read by another of the
//! same command line and version.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::Qemu;
use crate::MachineError;

/// What goes into the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saving {
    /// Devices and memory.
    Everything,
    /// All but the memory that lies in a shared file ([`super::Ram::Shared`]).
    WithoutSharedMemory,
}

impl Qemu {
    /// Stops the virtual CPUs.
    pub async fn pause(&self) -> Result<(), MachineError> {
        self.qmp().execute("stop", Value::Null).await.map(drop)
    }

    /// Lets the virtual CPUs go on.
    pub async fn resume(&self) -> Result<(), MachineError> {
        self.qmp().execute("cont", Value::Null).await.map(drop)
    }

    /// Whether the virtual CPUs run.
    pub async fn is_active(&self) -> Result<bool, MachineError> {
        Ok(self.qmp().execute("query-status", Value::Null).await?["running"] == true)
    }

    /// Writes the state of a machine that stands still to `to`, a file or the write end of a pipe; it stays paused. Returns when the memory is
    /// written; then its disk may still be given another file, before [`Save::finish`]. A machine that runs is refused: what it writes
    /// meanwhile would be found by dirty tracking, which loses pages under emulation (QEMU before 9.0; fixed there by "physmem: Fix
    /// migration dirty bitmap coherency with TCG memory access").
    pub async fn save(&self, to: OwnedFd, saving: Saving) -> Result<Save<'_>, MachineError> {
        if self.is_active().await? {
            let why = "the machine runs; it must be stopped before it is saved".to_owned();
            return Err(MachineError::Refused { command: "migrate".into(), why });
        }
        self.prepare_transfer(saving, true).await?;
        self.qmp().pass("state", to).await?;
        self.transfer("migrate", json!({ "uri": "fd:state" }), "pre-switchover").await?;
        Ok(Save(self))
    }

    /// Reads the state into a QEMU that was started empty. The guest stays paused.
    pub async fn load(&self, from: File, saving: Saving) -> Result<(), MachineError> {
        self.prepare_transfer(saving, false).await?;
        self.qmp().pass("state", from.into()).await?;
        self.transfer("migrate-incoming", json!({ "uri": "fd:state" }), "completed").await
    }

    /// Gives up a save that is under way, if any, and lets the machine go on.
    pub async fn save_nothing(&self) -> Result<(), MachineError> {
        self.qmp().execute("migrate_cancel", Value::Null).await?;
        // QEMU has events for this, but not for one who comes later: the supervisor that began the save may be dead.
        while matches!(
            self.qmp().execute("query-migrate", Value::Null).await?["status"].as_str(),
            Some("cancelling" | "setup" | "active" | "pre-switchover" | "device")
        ) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.settle().await?;
        // It goes on by itself if it was stopped for the save alone.
        if self.is_active().await? { Ok(()) } else { self.resume().await }
    }

    /// Writes the guest's memory, `length` bytes from physical address 0, to the file `to`, which QEMU makes. For checks: it is slow.
    pub async fn dump_memory(&self, to: &Path, length: u64) -> Result<(), MachineError> {
        self.qmp().execute("pmemsave", json!({ "val": 0, "size": length, "filename": to })).await.map(drop)
    }

    /// From now on the machine writes to `overlay`, whose backing file is what it wrote to so far.
    pub async fn write_to(&self, overlay: &Path) -> Result<(), MachineError> {
        let arguments = json!({ "device": "root", "snapshot-file": overlay, "format": "qcow2", "mode": "existing" });
        self.qmp().execute("blockdev-snapshot-sync", arguments).await.map(drop)
    }

    /// Waits until QEMU would let the machine go on: the end of a transfer is told a moment before, and nothing says when.
    async fn settle(&self) -> Result<(), MachineError> {
        while self.qmp().execute("query-status", Value::Null).await?["status"] == "finish-migrate" {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    async fn prepare_transfer(&self, saving: Saving, wait_at_the_end: bool) -> Result<(), MachineError> {
        let capability = |name: &str, state: bool| json!({ "capability": name, "state": state });
        let capabilities = [
            capability("events", true),
            capability("x-ignore-shared", saving == Saving::WithoutSharedMemory),
            capability("pause-before-switchover", wait_at_the_end),
        ];
        self.qmp().execute("migrate-set-capabilities", json!({ "capabilities": capabilities })).await?;
        // Bytes per second; the default of 128 MiB/s is meant for networks. A guest that comes back need not tell the network where it is
        // now: our switch knows, and the guest's own programs wake up each time to see its interface change. Not once at all is no choice:
        // QEMU 7.2 then ends by a fault when the guest reboots.
        let parameters = json!({ "max-bandwidth": 1_u64 << 40, "announce-rounds": 1 });
        self.qmp().execute("migrate-set-parameters", parameters).await.map(drop)
    }

    /// Runs a migration command and waits until the transfer has that status.
    async fn transfer(&self, command: &str, arguments: Value, wanted: &str) -> Result<(), MachineError> {
        let mut events = self.qmp().events();
        self.qmp().execute(command, arguments).await?;
        loop {
            match events.recv().await {
                Ok(event) => match status(&event) {
                    Some(reached) if reached == wanted => return Ok(()),
                    Some("failed" | "cancelled") => {
                        let about = self.qmp().execute("query-migrate", Value::Null).await?;
                        let why = about["error-desc"].as_str().unwrap_or("QEMU's log says why").to_owned();
                        return Err(MachineError::Refused { command: command.to_owned(), why });
                    }
                    _ => {}
                },
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(MachineError::Disconnected(format!("QEMU ended during `{command}`"))),
            }
        }
    }
}

/// A machine whose memory is written, and its devices not yet.
#[derive(Debug)]
pub struct Save<'a>(&'a Qemu);

impl Save<'_> {
    /// Writes the devices. The machine stays paused.
    pub async fn finish(self) -> Result<(), MachineError> {
        self.0.transfer("migrate-continue", json!({ "state": "pre-switchover" }), "completed").await?;
        self.0.settle().await
    }
}

/// The transfer's status, if the event is about that.
fn status(event: &Value) -> Option<&str> {
    (event["event"] == "MIGRATION").then(|| event["data"]["status"].as_str()).flatten()
}
