//! A machine's state in a file: QEMU's own migration stream (docs/devel/migration.rst), written by one QEMU and read by another of the
//! same command line and version.

use std::fs::File;
use std::os::fd::OwnedFd;

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

    async fn prepare_transfer(&self, saving: Saving) -> Result<(), MachineError> {
        let capability = |name: &str, state: bool| json!({ "capability": name, "state": state });
        let capabilities = [capability("events", true), capability("x-ignore-shared", saving == Saving::WithoutSharedMemory)];
        self.qmp().execute("migrate-set-capabilities", json!({ "capabilities": capabilities })).await?;
        // Bytes per second; the default of 128 MiB/s is meant for networks.
        self.qmp().execute("migrate-set-parameters", json!({ "max-bandwidth": 1_u64 << 40 })).await.map(drop)
    }

    /// Runs a migration command and waits for its end.
    async fn transfer(&self, command: &str, arguments: Value) -> Result<(), MachineError> {
        let mut events = self.qmp().events();
        self.qmp().execute(command, arguments).await?;
        loop {
            match events.recv().await {
                Ok(event) if event["event"] != "MIGRATION" => {}
                Ok(event) if event["data"]["status"] == "completed" => return Ok(()),
                Ok(event) if event["data"]["status"] == "failed" => {
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
