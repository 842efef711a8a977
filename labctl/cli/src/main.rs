//! `labctl`: a real cluster on a laptop. One file per command in `commands`; only this crate prints.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::print_stdout))]

mod commands;
mod output;
mod session;

use std::process::ExitCode;

use commands::{Command, habits};
use labctl_lab::event::Event;
use session::Session;

fn main() -> ExitCode {
    let cli = match habits::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let session = Session::new(&cli.global);
    if let Some(wrong) = output::trace::listen(&session.out, cli.global.debug, matches!(cli.command, Command::Supervisor(_))) {
        session.out.event(&Event::Warning { text: wrong });
    }
    labctl_core::host::keep_descriptors();
    // Whatever the user's own umask is, nobody else can write to what labctl makes. Who may read it is the folders' business.
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask | rustix::fs::Mode::WOTH);
    // Every node needs descriptors in its supervisor, which inherits this limit, and in a command that talks to all
    // nodes.
    labctl_core::host::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(&session, cli.command)),
        Err(why) => Err(labctl_lab::Failure::io("start")(why)),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            session.out.failure(&failure);
            ExitCode::from(failure.kind.exit_code())
        }
    }
}
