//! Calls to systemd's manager (org.freedesktop.systemd1(5)).

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::bus::{Bus, CallError};
use super::message::{Arg, Body};

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const DAEMON: &str = "org.freedesktop.DBus";

/// Longest wait for one message unless the task sets another. Units may take long to start; systemd's own timeouts end that.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Longest wait for the message bus to answer at all: it may be stopped while its socket still exists.
const GREETING: Duration = Duration::from_secs(10);

const SERVICE: &str = "org.freedesktop.systemd1.Service";
const JOB: &str = "org.freedesktop.systemd1.Job";

/// What the manager lists for a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UnitSummary {
    pub(crate) name: String,
    /// `LoadState`: loaded, not-found, masked ...
    pub(crate) load: String,
    /// `ActiveState`: active, inactive, failed, activating ...
    pub(crate) active: String,
    /// `SubState`: running, dead, auto-restart ...
    pub(crate) sub: String,
    /// Its D-Bus object path.
    path: String,
}

impl UnitSummary {
    /// From `(ssssssouso)`: name, description, load, active and sub state, unit that it follows, object, job.
    fn read(item: &Arg) -> Option<Self> {
        let [name, _, load, active, sub, _, path, ..] = item.list() else { return None };
        let [name, load, active, sub, path] = [name, load, active, sub, path].map(|arg| arg.text().to_owned());
        Some(Self { name, load, active, sub, path })
    }
}

/// A connection to a systemd manager.
#[derive(Debug)]
pub(crate) struct Systemd {
    bus: Bus,
    sockets: Sockets,
}

/// The sockets of a manager.
#[derive(Debug, Clone)]
struct Sockets {
    /// The manager's own socket.
    private: PathBuf,
    /// The message bus's socket.
    shared: PathBuf,
    patience: Duration,
}

impl Sockets {
    /// The sockets of the system under `root`, or of a user's manager.
    fn of(root: &Path, of_user: Option<u32>, timeout_ms: Option<u64>) -> Self {
        let (private, shared) = match of_user {
            Some(uid) => (format!("run/user/{uid}/systemd/private"), format!("run/user/{uid}/bus")),
            None => ("run/systemd/private".to_owned(), "run/dbus/system_bus_socket".to_owned()),
        };
        let patience = timeout_ms.map_or(PATIENCE, |ms| Duration::from_millis(ms.max(1)));
        Self { private: root.join(private), shared: root.join(shared), patience }
    }

    fn private(&self) -> io::Result<Bus> {
        Bus::connect(&self.private, self.patience)
    }

    /// On the message bus the manager sends no signals until asked to.
    fn shared(&self) -> Result<Bus, CallError> {
        let mut bus = Bus::connect(&self.shared, GREETING.min(self.patience)).map_err(CallError::Io)?;
        bus.call(DAEMON, "/org/freedesktop/DBus", DAEMON, "Hello", &Body::default())?;
        bus.set_patience(self.patience).map_err(CallError::Io)?;
        Ok(bus)
    }
}

impl Systemd {
    /// Connects to the manager of the system under `root` (its private socket if root, else the system bus), or to that of a user. On the
    /// private socket the manager sends its signals unasked.
    pub(crate) fn connect(root: &Path, of_user: Option<u32>, timeout_ms: Option<u64>) -> Result<Self, CallError> {
        Self::open(Sockets::of(root, of_user, timeout_ms))
    }

    fn open(sockets: Sockets) -> Result<Self, CallError> {
        let first = match sockets.private() {
            Ok(bus) => return Ok(Self { bus, sockets }),
            Err(err) => err,
        };
        let reason = format!("systemd does not answer at {}: {first}", sockets.private.display());
        let over_bus = || -> Result<Self, CallError> {
            let mut systemd = Self { bus: sockets.shared()?, sockets };
            let rule = Body::default().text("type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager'");
            systemd.bus.call(DAEMON, "/org/freedesktop/DBus", DAEMON, "AddMatch", &rule)?;
            systemd.manager("Subscribe", &Body::default())?;
            Ok(systemd)
        };
        over_bus().map_err(|_| CallError::Io(io::Error::new(first.kind(), reason)))
    }

    /// Removes variables from the environment of whatever the manager starts from now on, and then adds others (`NAME=VALUE`).
    pub(crate) fn change_environment(&mut self, unset: &[&str], set: &[String]) -> Result<(), CallError> {
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        self.manager("UnsetAndSetEnvironment", &Body::default().texts(unset).texts(&set)).map(drop)
    }

    fn manager(&mut self, member: &str, body: &Body) -> Result<Vec<Arg>, CallError> {
        self.bus.call(NAME, PATH, MANAGER, member, body)
    }

    /// Loads a unit and returns the properties of its `Unit` interface as strings, numbers and booleans.
    ///
    /// All questions are sent at once, about the object that the unit should be: each round trip takes an emulated guest milliseconds. Only
    /// for an alias, whose object has the unit's real name, they are asked again.
    pub(crate) fn unit(&mut self, unit: &str) -> Result<Map<String, Value>, CallError> {
        let expected = object_path(unit);
        let load = self.bus.send(NAME, PATH, MANAGER, "LoadUnit", &Body::default().text(unit)).map_err(CallError::Io)?;
        let asked = self.ask_about(unit, &expected)?;
        let path = self.bus.reply(load)?;
        let path = path.first().map_or("", Arg::text).to_owned();
        let (all, main) = if path == expected { asked } else { self.ask_about(unit, &path)? };
        let mut properties = Map::new();
        let answer = self.bus.reply(all)?;
        for entry in answer.first().map_or(&[][..], Arg::list) {
            if let [name, value] = entry.list() {
                properties.insert(name.text().to_owned(), shown(value));
            }
        }
        if let Some(main) = main
            && let Ok(answer) = self.bus.reply(main)
            && let Some(value) = answer.first()
            && properties.get("ActiveState").is_some_and(|state| state == "active")
        {
            properties.insert("MainPID".into(), shown(value));
        }
        Ok(properties)
    }

    /// Asks for the properties of a unit's object, and for the main process of a service; returns the serial numbers of the questions.
    fn ask_about(&mut self, unit: &str, path: &str) -> Result<(u32, Option<u32>), CallError> {
        let interface = Body::default().text("org.freedesktop.systemd1.Unit");
        let all = self.bus.send(NAME, path, PROPERTIES, "GetAll", &interface).map_err(CallError::Io)?;
        if !unit.ends_with(".service") {
            return Ok((all, None));
        }
        let name = Body::default().text(SERVICE).text("MainPID");
        let main = self.bus.send(NAME, path, PROPERTIES, "Get", &name).map_err(CallError::Io)?;
        Ok((all, Some(main)))
    }

    /// Type of the job that the unit with these properties waits for, such as `start` during boot; empty if the job has finished since
    /// they were read, `None` if there was none.
    pub(crate) fn job_type(&mut self, properties: &Map<String, Value>) -> Option<String> {
        let [number, job] = properties.get("Job")?.as_array()?.as_slice() else { return None };
        let job = job.as_str().filter(|_| number != "0")?;
        let body = Body::default().text(JOB).text("JobType");
        match self.bus.call(NAME, job, PROPERTIES, "Get", &body) {
            Ok(answer) => Some(answer.first().map_or("", Arg::text).to_owned()),
            Err(CallError::Refused { name, .. }) if name.ends_with(".UnknownObject") => Some(String::new()),
            Err(_) => None,
        }
    }

    /// State of the unit's file: `enabled`, `disabled`, `static`, `masked` ...
    pub(crate) fn file_state(&mut self, unit: &str) -> Result<String, CallError> {
        let answer = self.manager("GetUnitFileState", &Body::default().text(unit))?;
        Ok(answer.first().map_or("", Arg::text).to_owned())
    }

    fn summaries(&mut self, member: &str, body: &Body) -> Result<Vec<UnitSummary>, CallError> {
        let answer = self.manager(member, body)?;
        Ok(answer.first().map_or(&[][..], Arg::list).iter().filter_map(UnitSummary::read).collect())
    }

    /// All loaded units whose names match the pattern (glob(7)).
    pub(crate) fn units_like(&mut self, pattern: &str) -> Result<Vec<UnitSummary>, CallError> {
        self.summaries("ListUnitsByPatterns", &Body::default().texts(&[]).texts(&[pattern]))
    }

    /// The units with these full names, in the same order; a unit that does not exist is `not-found` and inactive.
    pub(crate) fn units_named(&mut self, names: &[&str]) -> Result<Vec<UnitSummary>, CallError> {
        self.summaries("ListUnitsByNames", &Body::default().texts(names))
    }

    /// Names of the failed units.
    pub(crate) fn failed_units(&mut self) -> Result<Vec<String>, CallError> {
        let units = self.summaries("ListUnitsFiltered", &Body::default().texts(&["failed"]))?;
        Ok(units.into_iter().map(|unit| unit.name).collect())
    }

    /// Makes the manager log only messages of at least this level (`LogLevel`), until it gets `SIGRTMIN+23` (systemd(1)).
    pub(crate) fn set_log_level(&mut self, level: &str) -> Result<(), CallError> {
        let body = Body::default().text(MANAGER).text("LogLevel").variant(level);
        self.bus.call(NAME, PATH, PROPERTIES, "Set", &body).map(drop)
    }

    /// Names of the running services.
    pub(crate) fn running_services(&mut self) -> Result<Vec<String>, CallError> {
        let units = self.summaries("ListUnitsFiltered", &Body::default().texts(&["running"]))?;
        Ok(units.into_iter().map(|unit| unit.name).filter(|name| name.ends_with(".service")).collect())
    }

    /// `MainPID` and `NRestarts` of each unit, in one round trip; 0 for units that are not services.
    pub(crate) fn processes(&mut self, units: &[UnitSummary]) -> Result<Vec<(u64, u64)>, CallError> {
        let mut serials = Vec::with_capacity(units.len() * 2);
        for unit in units {
            for property in ["MainPID", "NRestarts"] {
                let body = Body::default().text(SERVICE).text(property);
                serials.push(self.bus.send(NAME, &unit.path, PROPERTIES, "Get", &body).map_err(CallError::Io)?);
            }
        }
        let mut numbers = Vec::with_capacity(serials.len());
        for serial in serials {
            numbers.push(match self.bus.reply(serial) {
                Ok(answer) => match answer.first() {
                    Some(Arg::Unsigned(number)) => *number,
                    _ => 0,
                },
                Err(CallError::Refused { .. }) => 0,
                Err(err) => return Err(err),
            });
        }
        Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    /// `SystemState`: initializing, starting, running, degraded, maintenance, stopping.
    pub(crate) fn system_state(&mut self) -> Result<String, CallError> {
        let answer = self.bus.call(NAME, PATH, PROPERTIES, "Get", &Body::default().text(MANAGER).text("SystemState"))?;
        Ok(answer.first().map_or("", Arg::text).to_owned())
    }

    /// The system's state once booting is over.
    pub(crate) fn started_state(&mut self) -> Result<String, CallError> {
        loop {
            let state = self.system_state()?;
            if !matches!(state.as_str(), "initializing" | "starting") {
                return Ok(state);
            }
            self.await_signal("StartupFinished", |_| Some(()))?;
        }
    }

    /// Powers off or reboots by starting this target irreversibly, so that no other job can cancel it, as systemctl(1) does; returns once
    /// that has started.
    pub(crate) fn leave_by(&mut self, target: &str) -> Result<(), CallError> {
        self.manager("StartUnit", &Body::default().text(target).text("replace-irreversibly")).map(drop)
    }

    /// Reads all unit files again.
    ///
    /// Every client of the private socket is notified of each unit removed and added, two signals per unit: a quarter of the cost of a
    /// reload. So, where there is a message bus, the request goes over it, with the private connection closed.
    pub(crate) fn reload(&mut self) -> Result<(), CallError> {
        if let Ok(mut quiet) = self.sockets.shared() {
            self.bus.close();
            let reloaded = quiet.call(NAME, PATH, MANAGER, "Reload", &Body::default());
            *self = Self::open(self.sockets.clone())?;
            if reloaded.is_ok() {
                return Ok(());
            }
        }
        self.manager("Reload", &Body::default()).map(drop)
    }

    /// Makes systemd re-execute itself, which closes the connection.
    pub(crate) fn reexecute(&mut self) -> Result<(), CallError> {
        match self.manager("Reexecute", &Body::default()) {
            // No reply is sent: the connection just closes.
            Err(CallError::Io(err)) if err.kind() != io::ErrorKind::WouldBlock => Ok(()),
            other => other.map(drop),
        }
    }

    /// Enables a unit and reloads systemd, as systemctl(1) does.
    pub(crate) fn enable(&mut self, unit: &str, force: bool) -> Result<(), CallError> {
        self.enable_file(unit, force)?;
        self.reload()
    }

    /// Enables a unit; this takes effect in systemd at its next reload.
    pub(crate) fn enable_file(&mut self, unit: &str, force: bool) -> Result<(), CallError> {
        self.manager("EnableUnitFiles", &Body::default().texts(&[unit]).flag(false).flag(force)).map(drop)
    }

    /// Disables a unit.
    pub(crate) fn disable(&mut self, unit: &str) -> Result<(), CallError> {
        self.manager("DisableUnitFiles", &Body::default().texts(&[unit]).flag(false))?;
        self.reload()
    }

    /// Masks or unmasks a unit.
    pub(crate) fn mask(&mut self, unit: &str, mask: bool) -> Result<(), CallError> {
        if mask {
            self.manager("MaskUnitFiles", &Body::default().texts(&[unit]).flag(false).flag(false))?;
        } else {
            self.manager("UnmaskUnitFiles", &Body::default().texts(&[unit]).flag(false))?;
        }
        self.reload()
    }

    /// Queues a job (`StartUnit`, `StopUnit`, `RestartUnit`, `ReloadUnit`) and waits for it to finish unless `block` is false. Returns
    /// systemd's result: `done`, `failed`, `dependency`, `timeout`, `canceled`, `skipped`.
    pub(crate) fn job(&mut self, method: &str, unit: &str, block: bool) -> Result<String, CallError> {
        let answer = self.manager(method, &Body::default().text(unit).text("replace"))?;
        let job = answer.first().map_or("", Arg::text).to_owned();
        if !block {
            return Ok("done".to_owned());
        }
        self.await_signal("JobRemoved", |body| match body {
            [_, path, _, result] if path.text() == job => Some(result.text().to_owned()),
            _ => None,
        })
    }

    /// Waits for a signal of the manager that `pick` accepts, including signals that have already arrived.
    fn await_signal<T>(&mut self, member: &str, pick: impl Fn(&[Arg]) -> Option<T>) -> Result<T, CallError> {
        let mut seen = std::mem::take(&mut self.bus.signals).into_iter();
        loop {
            let message = match seen.next() {
                Some(message) => message,
                None => self.bus.next().map_err(CallError::Io)?,
            };
            if message.kind == 4
                && message.member == member
                && let Some(found) = pick(&message.body)
            {
                return Ok(found);
            }
        }
    }
}

/// The path of a unit's object (sd_bus_path_encode(3)).
fn object_path(unit: &str) -> String {
    let mut path = format!("{PATH}/unit/");
    for (at, byte) in unit.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => path.push(byte.into()),
            b'0'..=b'9' if at > 0 => path.push(byte.into()),
            other => path.push_str(&format!("_{other:02x}")),
        }
    }
    path
}

/// A property as `systemctl show` would print it, except for numbers.
fn shown(value: &Arg) -> Value {
    match value {
        Arg::Bool(flag) => Value::from(if *flag { "yes" } else { "no" }),
        Arg::Unsigned(number) => number.to_string().into(),
        Arg::Signed(number) => number.to_string().into(),
        Arg::Double(number) => number.to_string().into(),
        Arg::Text(text) => text.as_str().into(),
        Arg::List(items) if items.iter().all(|item| matches!(item, Arg::Text(_))) => {
            items.iter().map(Arg::text).collect::<Vec<_>>().join(" ").into()
        }
        Arg::List(items) => Value::Array(items.iter().map(shown).collect()),
    }
}

/// The unit's full name: `.service` is added unless it already has a unit suffix.
pub(crate) fn unit_name(name: &str) -> String {
    const KINDS: [&str; 11] = ["service", "socket", "target", "device", "mount", "automount", "swap", "timer", "path", "slice", "scope"];
    match name.rsplit_once('.') {
        Some((_, kind)) if KINDS.contains(&kind) => name.to_owned(),
        _ => format!("{name}.service"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_paths_are_systemds() {
        // As `busctl tree org.freedesktop.systemd1` shows them.
        assert_eq!(object_path("dbus.socket"), "/org/freedesktop/systemd1/unit/dbus_2esocket");
        assert_eq!(object_path("serial-getty@ttyS0.service"), "/org/freedesktop/systemd1/unit/serial_2dgetty_40ttyS0_2eservice");
        assert_eq!(object_path("3x.service"), "/org/freedesktop/systemd1/unit/_33x_2eservice");
    }
}
