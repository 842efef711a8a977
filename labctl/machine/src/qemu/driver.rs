//! QEMU as a driver.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::process::tail;
use super::qmp::Qmp;
use super::state::Save;
use super::{Qemu, argv, proof, version};
use crate::MachineError;
use crate::accel::Finding;
use crate::driver::{BoxFuture, Driver, Ending, Incident, Loads, Memory, Notes, Orphan, Running, Saved, Saving};
use crate::driver_name::DriverName;
use crate::machine::Machine;
use crate::vitals::{Process, Share, shares};

/// The driver.
pub static QEMU: QemuDriver = QemuDriver;

/// Starts QEMU processes.
#[derive(Debug)]
pub struct QemuDriver;

/// The notes of the version and of the accelerator.
fn files(notes: &Notes) -> [std::path::PathBuf; 2] {
    [notes.folder.join("qemu.json"), notes.folder.join("accel.json")]
}

impl Driver for QemuDriver {
    fn name(&self) -> DriverName {
        DriverName::default()
    }

    fn version<'a>(&'a self, notes: &'a Notes) -> BoxFuture<'a, Result<String, MachineError>> {
        Box::pin(async {
            let [file, _] = files(notes);
            version::version(&file).await
        })
    }

    fn accel<'a>(&'a self, notes: &'a Notes, version: &'a str) -> BoxFuture<'a, Result<Finding, MachineError>> {
        Box::pin(async {
            let [_, file] = files(notes);
            proof::find(&file, version, &notes.scratch).await
        })
    }

    fn forget(&self, notes: &Notes) {
        for file in files(notes) {
            let _ = fs::remove_file(file);
        }
    }

    fn launch<'a>(&'a self, machine: &'a Machine, orphan: Orphan) -> BoxFuture<'a, Result<Arc<dyn Running>, MachineError>> {
        Box::pin(async move { Ok(Arc::new(Qemu::launch(machine, orphan).await?) as Arc<dyn Running>) })
    }

    fn adopt<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<Option<Arc<dyn Running>>, MachineError>> {
        Box::pin(async { Ok(Qemu::adopt(machine).await?.map(|qemu| Arc::new(qemu) as Arc<dyn Running>)) })
    }

    fn end_unreachable<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(Qemu::end_unreachable(machine))
    }

    fn loads(&self) -> Option<&dyn Loads> {
        Some(self)
    }
}

impl Loads for QemuDriver {
    fn load<'a>(
        &'a self,
        machine: &'a Machine,
        state: File,
        saving: Saving,
        orphan: Orphan,
    ) -> BoxFuture<'a, Result<Arc<dyn Running>, MachineError>> {
        Box::pin(async move {
            let logged = fs::metadata(&machine.files.log).map_or(0, |about| about.len());
            let qemu = Qemu::launch_empty(machine, orphan).await?;
            match qemu.load(state, saving).await {
                Ok(()) => Ok(Arc::new(qemu) as Arc<dyn Running>),
                Err(why) => {
                    qemu.end().await;
                    Err(unreadable(&tail(&machine.files.log, logged), why))
                }
            }
        })
    }

    fn board(&self, machine: &Machine) -> Vec<u8> {
        let mut board = Vec::new();
        for word in argv(machine) {
            board.extend((word.len() as u64).to_le_bytes());
            board.extend(word.as_encoded_bytes());
        }
        board
    }
}

/// Why saved memory could not be loaded. A QEMU that cannot read it logs that before it exits; one that is killed also just exits.
fn unreadable(log: &str, why: MachineError) -> MachineError {
    match why {
        _ if log.lines().any(|line| line.contains("load of migration failed")) => MachineError::Unreadable(log.to_owned()),
        MachineError::Refused { .. } => MachineError::Unreadable(why.to_string()),
        MachineError::Disconnected(why) | MachineError::Ended(why) => MachineError::CutOff(why),
        why => why,
    }
}

impl Running for Qemu {
    fn process(&self) -> (Process, Option<SystemTime>) {
        self.started
    }

    fn ended(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.ended())
    }

    fn has_ended(&self) -> BoxFuture<'_, bool> {
        Box::pin(self.has_ended())
    }

    fn press_power_button(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        Box::pin(self.press_power_button())
    }

    fn end(&self) -> BoxFuture<'_, Ending> {
        Box::pin(self.end())
    }

    fn pause(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        Box::pin(self.pause())
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        Box::pin(self.resume())
    }

    fn is_active(&self) -> BoxFuture<'_, Result<bool, MachineError>> {
        Box::pin(self.is_active())
    }

    fn recover(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        Box::pin(self.save_nothing())
    }

    fn incidents(&self) -> UnboundedReceiver<Incident> {
        incidents(self.qmp())
    }

    fn lacks_room(&self) -> BoxFuture<'_, Result<bool, MachineError>> {
        Box::pin(self.lacks_room())
    }

    fn shares(&self) -> Option<Vec<Share>> {
        shares(self.pid(), &self.threads)
    }

    fn memory(&self) -> Option<&dyn Memory> {
        Some(self)
    }
}

/// The incidents among a connection's events.
fn incidents(qmp: &Qmp) -> UnboundedReceiver<Incident> {
    let (mut events, qmp) = (qmp.events(), qmp.clone());
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = tell.closed() => return,
            };
            let incident = match event {
                Ok(event) => incident(&event),
                // What was missed is seen in the state. A reset is not, but the agent reports the boot that follows.
                Err(RecvError::Lagged(_)) => match qmp.execute("query-status", Value::Null).await {
                    Ok(status) => standing(&status),
                    // The connection is gone, or will tell what happens next.
                    Err(_) => None,
                },
                Err(RecvError::Closed) => return,
            };
            // If nobody listens any more, the channel is closed.
            let _ = incident.map(|incident| tell.send(incident));
        }
    });
    told
}

/// The incident that left the machine in this state (`query-status`, qapi/run-state.json).
fn standing(status: &Value) -> Option<Incident> {
    match status["status"].as_str()? {
        "io-error" => Some(Incident::NoRoom),
        "running" => Some(Incident::Resumed),
        _ => None,
    }
}

/// What an event means (qapi/run-state.json, qapi/block-core.json). Resets by QEMU itself, as at its start, are not the guest's. Only a lack
/// of room stops the machine: other errors are reported to the guest.
fn incident(event: &Value) -> Option<Incident> {
    let data = &event["data"];
    match event["event"].as_str()? {
        "RESET" if data["guest"] == true => Some(Incident::Reset),
        "BLOCK_IO_ERROR" if data["action"] == "stop" => Some(Incident::NoRoom),
        "RESUME" => Some(Incident::Resumed),
        _ => None,
    }
}

impl Memory for Qemu {
    fn save(&self, to: OwnedFd, saving: Saving) -> BoxFuture<'_, Result<Box<dyn Saved + '_>, MachineError>> {
        Box::pin(async move { Ok(Box::new(self.save(to, saving).await?) as Box<dyn Saved + '_>) })
    }

    fn dump<'a>(&'a self, to: &'a Path, length: u64) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(self.dump_memory(to, length))
    }

    fn write_to<'a>(&'a self, overlay: &'a Path) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(self.write_to(overlay))
    }

    fn written(&self) -> u64 {
        self.written_memory()
    }
}

impl Saved for Save<'_> {
    fn finish<'a>(self: Box<Self>) -> BoxFuture<'a, Result<(), MachineError>>
    where
        Self: 'a,
    {
        Box::pin((*self).finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_memory_is_of_no_use_only_if_qemu_said_so() {
        let exits = || MachineError::Disconnected("QEMU exited during `migrate-incoming`".into());
        let log = "qemu-system-x86_64: error while loading state\nqemu-system-x86_64: load of migration failed: Invalid argument";
        assert!(matches!(unreadable(log, exits()), MachineError::Unreadable(why) if why == log));
        let refused = MachineError::Refused { command: "migrate-incoming".into(), why: "no".into() };
        assert!(matches!(unreadable("", refused), MachineError::Unreadable(why) if why.contains("no")));
        assert!(matches!(unreadable("terminating on signal 9", exits()), MachineError::CutOff(_)), "it was killed");
    }

    #[test]
    fn an_event_is_an_incident_if_it_concerns_the_guest() {
        let event = |name: &str, data: Value| incident(&serde_json::json!({ "event": name, "data": data }));
        let reset = |guest: bool| event("RESET", serde_json::json!({ "guest": guest }));
        assert_eq!((reset(true), reset(false)), (Some(Incident::Reset), None));
        let failed = |action: &str| event("BLOCK_IO_ERROR", serde_json::json!({ "action": action, "nospace": action == "stop" }));
        assert_eq!((failed("stop"), failed("report")), (Some(Incident::NoRoom), None));
        assert_eq!((event("RESUME", Value::Null), event("STOP", Value::Null)), (Some(Incident::Resumed), None));
    }

    /// A flood of events hides the one that counts.
    #[tokio::test]
    async fn what_was_missed_is_seen_in_the_state() {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let (flood, flooded) = tokio::sync::oneshot::channel::<()>();
        let qemu = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"{\"QMP\": {}}\n").await.unwrap();
            let mut lines = BufReader::new(stream).lines();
            lines.next_line().await.unwrap();
            lines.get_mut().get_mut().write_all(b"{\"return\": {}}\n").await.unwrap();
            flooded.await.unwrap();
            let lost = "{\"event\": \"BLOCK_IO_ERROR\", \"data\": {\"action\": \"stop\"}}\n";
            let noise = "{\"event\": \"RTC_CHANGE\"}\n".repeat(100);
            lines.get_mut().get_mut().write_all(format!("{lost}{noise}").as_bytes()).await.unwrap();
            assert!(lines.next_line().await.unwrap().unwrap().contains("query-status"));
            lines.get_mut().get_mut().write_all(b"{\"return\": {\"status\": \"io-error\", \"running\": false}}\n").await.unwrap();
        });
        let qmp = Qmp::connect(&socket).await.unwrap();
        let mut told = incidents(&qmp);
        flood.send(()).unwrap();
        assert_eq!(told.recv().await, Some(Incident::NoRoom));
        // It was asked for: the event itself was lost.
        qemu.await.unwrap();
        assert_eq!(standing(&serde_json::json!({ "status": "running" })), Some(Incident::Resumed));
        assert_eq!(standing(&serde_json::json!({ "status": "paused" })), None);
    }
}
