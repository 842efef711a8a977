//! A machine's state in a file: QEMU's own migration stream (docs/devel/migration.rst), written by one QEMU and read by
//! another with the same command line and version.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::Qemu;
use super::pulse::{Limits, sign, threads, while_alive};
use crate::MachineError;
use crate::driver::Saving;

impl Qemu {
    /// Stops the virtual CPUs.
    pub async fn pause(&self) -> Result<(), MachineError> {
        self.qmp().execute("stop", Value::Null).await.map(drop)
    }

    /// Resumes the virtual CPUs.
    pub async fn resume(&self) -> Result<(), MachineError> {
        self.qmp().execute("cont", Value::Null).await.map(drop)
    }

    /// Whether the virtual CPUs are running.
    pub async fn is_active(&self) -> Result<bool, MachineError> {
        Ok(self.qmp().execute("query-status", Value::Null).await?["running"] == true)
    }

    /// Whether the virtual CPUs were stopped because the host's disk was full (`werror=enospc`, the default for a disk).
    pub async fn lacks_room(&self) -> Result<bool, MachineError> {
        Ok(self.qmp().execute("query-status", Value::Null).await?["status"] == "io-error")
    }

    /// Writes the state of a stopped machine to `to`, a file or the write end of a pipe. The machine stays paused.
    /// Returns when the memory is written; its disk may then still be switched to another file before [`Save::finish`].
    /// A running machine is refused: its writes during the save would have to be found by dirty tracking, which loses
    /// pages under emulation (QEMU before 9.0; fixed there by "physmem: Fix migration dirty bitmap coherency with TCG
    /// memory access").
    pub async fn save(&self, to: OwnedFd, saving: Saving) -> Result<Save<'_>, MachineError> {
        if self.is_active().await? {
            let why = "the machine is running; it must be stopped before it is saved".to_owned();
            return Err(MachineError::Refused { command: "migrate".into(), why });
        }
        self.prepare_transfer(saving, true).await?;
        self.qmp().pass("state", to).await?;
        self.transfer("migrate", json!({ "uri": "fd:state" }), "pre-switchover").await?;
        Ok(Save(self))
    }

    /// Loads the state into a QEMU that was started empty. The guest stays paused.
    pub async fn load(&self, from: File, saving: Saving) -> Result<(), MachineError> {
        self.prepare_transfer(saving, false).await?;
        self.qmp().pass("state", from.into()).await?;
        self.transfer("migrate-incoming", json!({ "uri": "fd:state" }), "completed").await
    }

    /// Cancels a save in progress, if any, and resumes the machine.
    pub async fn save_nothing(&self) -> Result<(), MachineError> {
        self.qmp().execute("migrate_cancel", Value::Null).await?;
        // QEMU's events for this do not help here: the supervisor that started the save may be dead.
        while matches!(
            self.qmp().execute("query-migrate", Value::Null).await?["status"].as_str(),
            Some("cancelling" | "setup" | "active" | "pre-switchover" | "device")
        ) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.settle().await?;
        // It resumes by itself if it was stopped only for the save.
        if self.is_active().await? { Ok(()) } else { self.resume().await }
    }

    /// Writes `length` bytes of the guest's memory from physical address 0 to the file `to`, which QEMU creates. For
    /// checks, because it is slow.
    pub async fn dump_memory(&self, to: &Path, length: u64) -> Result<(), MachineError> {
        self.qmp().execute("pmemsave", json!({ "val": 0, "size": length, "filename": to })).await.map(drop)
    }

    /// Redirects the machine's writes to `overlay`, whose backing file is the disk written so far.
    pub async fn write_to(&self, overlay: &Path) -> Result<(), MachineError> {
        let arguments = json!({ "device": "root", "snapshot-file": overlay, "format": "qcow2", "mode": "existing" });
        self.qmp().execute("blockdev-snapshot-sync", arguments).await.map(drop)
    }

    /// Waits until QEMU would let the machine resume. QEMU reports the end of a transfer a moment too early, and has no
    /// event for the right moment.
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
        // Bytes per second; the default of 128 MiB/s is meant for networks. A restored guest need not announce its
        // location on the network: our switch knows it, and every announcement wakes the guest's programs to an
        // interface change. Zero rounds is not an option, because QEMU 7.2 then crashes when the guest reboots.
        let parameters = json!({ "max-bandwidth": 1_u64 << 40, "announce-rounds": 1 });
        self.qmp().execute("migrate-set-parameters", parameters).await.map(drop)
    }

    /// Runs a migration command and waits until the transfer reaches the given status.
    async fn transfer(&self, command: &str, arguments: Value, wanted: &str) -> Result<(), MachineError> {
        let mut events = self.qmp().events();
        self.qmp().execute(command, arguments).await?;
        let pid = self.pid();
        loop {
            let event = while_alive(events.recv(), Limits::TRANSFER, || sign(pid, &threads(pid)));
            let event = event.await.map_err(|hang| MachineError::Hangs { command: command.to_owned(), why: hang.to_string() })?;
            let reached = match event {
                Ok(event) => status(&event).map(str::to_owned),
                // Events were missed, perhaps the last one.
                Err(RecvError::Lagged(_)) => self.qmp().execute("query-migrate", Value::Null).await?["status"].as_str().map(str::to_owned),
                Err(RecvError::Closed) => return Err(MachineError::Disconnected(format!("QEMU exited during `{command}`"))),
            };
            match reached.as_deref() {
                Some(reached) if reached == wanted => return Ok(()),
                Some("failed" | "cancelled") => {
                    let about = self.qmp().execute("query-migrate", Value::Null).await?;
                    let why = about["error-desc"].as_str().unwrap_or("see QEMU's log").to_owned();
                    return Err(MachineError::Refused { command: command.to_owned(), why });
                }
                _ => {}
            }
        }
    }
}

/// A machine whose memory has been written, but not yet its devices.
#[derive(Debug)]
pub struct Save<'a>(&'a Qemu);

impl Save<'_> {
    /// Writes the devices. The machine stays paused.
    pub async fn finish(self) -> Result<(), MachineError> {
        self.0.transfer("migrate-continue", json!({ "state": "pre-switchover" }), "completed").await?;
        self.0.settle().await
    }
}

/// The transfer's status, if the event is about the transfer.
fn status(event: &Value) -> Option<&str> {
    (event["event"] == "MIGRATION").then(|| event["data"]["status"].as_str()).flatten()
}
