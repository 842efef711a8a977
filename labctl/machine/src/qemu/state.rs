//! A machine's state in a file: QEMU's own migration stream (docs/devel/migration.rst), written by one QEMU and read by another of the
//! same command line and version.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
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

    /// Writes the state to `to`, a file or the write end of a pipe. A running machine is paused towards the end; a paused one stays so.
    pub async fn save(&self, to: OwnedFd, saving: Saving) -> Result<(), MachineError> {
        self.prepare_transfer(saving).await?;
        self.qmp().pass("state", to).await?;
        self.transfer("migrate", json!({ "uri": "fd:state" })).await
    }

    /// Reads the state into a QEMU that was started empty. The guest stays paused.
    pub async fn load(&self, from: File, saving: Saving) -> Result<(), MachineError> {
        self.prepare_transfer(saving).await?;
        self.qmp().pass("state", from.into()).await?;
        self.transfer("migrate-incoming", json!({ "uri": "fd:state" })).await
    }

    /// Begins to write everything to `to` while the machine runs. It stops at the latest when little is left, and then waits for
    /// [`LiveSave::finish`]: until then its disk may still be given another file.
    pub async fn save_live(&self, to: OwnedFd) -> Result<LiveSave<'_>, MachineError> {
        self.prepare(Saving::Everything, true).await?;
        let events = self.qmp().events();
        self.qmp().pass("state", to).await?;
        self.qmp().execute("migrate", json!({ "uri": "fd:state" })).await?;
        Ok(LiveSave { qemu: self, events })
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
        // It goes on by itself if it was stopped for the save alone.
        if self.is_active().await? { Ok(()) } else { self.resume().await }
    }

    /// From now on the machine writes to `overlay`, whose backing file is what it wrote to so far.
    pub async fn write_to(&self, overlay: &Path) -> Result<(), MachineError> {
        let arguments = json!({ "device": "root", "snapshot-file": overlay, "format": "qcow2", "mode": "existing" });
        self.qmp().execute("blockdev-snapshot-sync", arguments).await.map(drop)
    }

    async fn prepare_transfer(&self, saving: Saving) -> Result<(), MachineError> {
        self.prepare(saving, false).await
    }

    async fn prepare(&self, saving: Saving, wait_at_the_end: bool) -> Result<(), MachineError> {
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

    /// Runs a migration command and waits for its end.
    async fn transfer(&self, command: &str, arguments: Value) -> Result<(), MachineError> {
        let mut events = self.qmp().events();
        self.qmp().execute(command, arguments).await?;
        self.reached(command, &mut events, |_| false).await
    }

    /// Waits until the transfer is complete, or `enough` of it.
    async fn reached(&self, command: &str, events: &mut Receiver<Value>, enough: impl Fn(&Value) -> bool) -> Result<(), MachineError> {
        loop {
            match events.recv().await {
                Ok(event) if enough(&event) || status(&event) == Some("completed") => return Ok(()),
                Ok(event) if matches!(status(&event), Some("failed" | "cancelled")) => {
                    let about = self.qmp().execute("query-migrate", Value::Null).await?;
                    let why = about["error-desc"].as_str().unwrap_or("QEMU's log says why").to_owned();
                    return Err(MachineError::Refused { command: command.to_owned(), why });
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(MachineError::Disconnected(format!("QEMU ended during `{command}`"))),
            }
        }
    }
}

/// The transfer's status, if the event is about that.
fn status(event: &Value) -> Option<&str> {
    (event["event"] == "MIGRATION").then(|| event["data"]["status"].as_str()).flatten()
}

/// A save under way.
#[derive(Debug)]
pub struct LiveSave<'a> {
    qemu: &'a Qemu,
    events: Receiver<Value>,
}

impl LiveSave<'_> {
    /// Waits until all memory was written once; what changed meanwhile is left.
    pub async fn first_pass(&mut self) -> Result<(), MachineError> {
        let second = |event: &Value| event["event"] == "MIGRATION_PASS" && event["data"]["pass"].as_u64() >= Some(2);
        self.qemu.reached("migrate", &mut self.events, |event| second(event) || status(event) == Some("pre-switchover")).await
    }

    /// Waits until all memory is written; the machine must have been paused, or be close to rest. Its disk is still its own.
    pub async fn memory_written(&mut self) -> Result<(), MachineError> {
        loop {
            // The event may have been taken by `first_pass`.
            let about = self.qemu.qmp().execute("query-migrate", Value::Null).await?;
            match about["status"].as_str() {
                Some("pre-switchover") => return Ok(()),
                Some("active" | "setup" | "device") => {}
                other => {
                    let why = about["error-desc"].as_str().or(other).unwrap_or("QEMU's log says why").to_owned();
                    return Err(MachineError::Refused { command: "migrate".into(), why });
                }
            }
            self.qemu.reached("migrate", &mut self.events, |event| status(event) == Some("pre-switchover")).await?;
        }
    }

    /// Writes the devices. The machine stays paused.
    pub async fn finish(mut self) -> Result<(), MachineError> {
        self.qemu.qmp().execute("migrate-continue", json!({ "state": "pre-switchover" })).await?;
        self.qemu.reached("migrate", &mut self.events, |_| false).await?;
        // The event comes a moment before QEMU would let the machine go on, and no other event says when.
        while self.qemu.qmp().execute("query-status", Value::Null).await?["status"] == "finish-migrate" {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}
