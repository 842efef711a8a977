//! What can go wrong with a machine.

use std::path::PathBuf;

/// A fault of a machine or of the programs that make one. Messages name the datum.
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
        /// What it said, or its exit code.
        why: String,
    },
    /// The machine is running already under another process.
    #[error("{0} is in use by another running QEMU")]
    InUse(PathBuf),
    /// QEMU ended while it was expected to run; the end of its log.
    #[error("QEMU ended: {0}")]
    Ended(String),
    /// QEMU answered a QMP command with an error.
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
    /// Another machine answers on the socket.
    #[error("{socket} belongs to machine {found}, not to {wanted}")]
    Stranger {
        /// The QMP socket.
        socket: PathBuf,
        /// UUID that was answered.
        found: String,
        /// UUID that was expected.
        wanted: String,
    },
    /// The kernel refused.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
}

impl MachineError {
    /// For `map_err` on calls of the kernel.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err` on the start of a program.
    pub fn start(program: &str) -> impl FnOnce(std::io::Error) -> Self {
        let program = program.to_owned();
        move |source| match source.kind() {
            std::io::ErrorKind::NotFound => Self::Missing { program },
            _ => Self::Io { what: format!("start {program}"), source },
        }
    }
}
