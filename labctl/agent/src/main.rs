//! `labctl-agent`: see the library.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::process::ExitCode;

use labctl_agent::{init, modules, serve};

fn main() -> ExitCode {
    let mode = std::env::args().nth(1);
    // Process 1 has no useful command line: the kernel starts `/init` of the initrd.
    if std::process::id() == 1 {
        let why = init::run();
        eprintln!("labctl-agent: cannot start the system: {why}");
        return ExitCode::FAILURE;
    }
    if mode.as_deref() == Some("module") {
        return ExitCode::from(u8::try_from(modules::run_child()).unwrap_or(1));
    }
    let outcome = match mode.as_deref() {
        Some("serve") => serve::on_virtio_port(),
        Some("stdio") => serve::on_stdio(),
        _ => {
            eprintln!("usage: labctl-agent serve | stdio | module");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("labctl-agent: {why}");
            ExitCode::FAILURE
        }
    }
}
