//! Errors of a machine.

use std::path::PathBuf;

use crate::driver_name::DriverName;

/// An error of a machine or of the programs that run it. Messages name the file or value concerned.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A program that labctl needs is not installed.
    #[error("{program} is not installed")]
    Missing {
        /// Name of the program.
        program: String,
    },
    /// A program failed.
    #[error("{program} failed: {why}")]
    Program {
        /// Name of the program.
        program: String,
        /// Its output or exit code.
        why: String,
    },
    /// This program has no such driver.
    #[error("there is no driver `{name}`; known: {known}")]
    NoDriver {
        /// Its name.
        name: DriverName,
        /// The drivers that there are, separated by commas.
        known: String,
    },
    /// The driver cannot do this.
    #[error("driver `{driver}` cannot save or load memory, which {what} needs")]
    Unable {
        /// The driver.
        driver: DriverName,
        /// What needs it.
        what: String,
    },
    /// Saved memory is of no use.
    #[error("cannot load its saved memory: {0}")]
    Unreadable(String),
    /// The machine ended while its saved memory was loaded; it may load another time.
    #[error("it ended while its saved memory was loaded: {0}")]
    CutOff(String),
    /// The machine is already running in another process.
    #[error("{0} is in use: the machine runs already")]
    InUse(PathBuf),
    /// QEMU exited while it was expected to run; the end of its log.
    #[error("QEMU exited: {0}")]
    Ended(String),
    /// QEMU returned an error for a QMP command.
    #[error("QEMU refused `{command}`: {why}")]
    Refused {
        /// The QMP command.
        command: String,
        /// QEMU's description.
        why: String,
    },
    /// The QMP connection broke.
    #[error("the connection to QEMU broke: {0}")]
    Disconnected(String),
    /// QEMU runs and does not answer a QMP command.
    #[error("QEMU does not answer `{command}`: {why}")]
    Hangs {
        /// The QMP command.
        command: String,
        /// What is seen of it.
        why: String,
    },
    /// It runs, but cannot be controlled.
    #[error("its process {pid} runs, but labctl cannot control it: {why}")]
    Unreachable {
        /// Process id.
        pid: i32,
        /// Why not.
        why: String,
    },
    /// A different machine answers on the socket.
    #[error("{socket} belongs to machine {found}, not to {wanted}")]
    Stranger {
        /// The QMP socket.
        socket: PathBuf,
        /// UUID in the reply.
        found: String,
        /// UUID that was expected.
        wanted: String,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// The operation, with its path.
        what: String,
        /// The kernel's error.
        source: std::io::Error,
    },
}

impl MachineError {
    /// For `map_err` on system calls.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err` when starting a program.
    pub fn start(program: &str) -> impl FnOnce(std::io::Error) -> Self {
        let program = program.to_owned();
        move |source| match source.kind() {
            std::io::ErrorKind::NotFound => Self::Missing { program },
            _ => Self::Io { what: format!("start {program}"), source },
        }
    }
}
