//! A session by OpenSSH's own program, for options that labctl does not have itself.

use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

use labctl_lab::home::Home;
use labctl_lab::record::Record;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::NodeName;

use super::access::config_file;

/// Replaces this process by ssh(1) with the lab's configuration, `options`, the node, and then `rest`: more options and a command, as on
/// ssh's own command line. Returns only if that fails.
pub fn replace_by_openssh(home: &Home, record: &Record, node: &NodeName, options: &[String], rest: &[String]) -> Failure {
    let file = match config_file(home, record) {
        Ok(file) => file,
        Err(failure) => return failure,
    };
    let why = Command::new("ssh").arg("-F").arg(&file).args(options).arg(node.as_str()).args(rest).exec();
    let failure = Failure::new(Kind::Host, format!("ssh: {why}"));
    match why.kind() {
        ErrorKind::NotFound => failure.hint("install OpenSSH's client; without such options, `labctl ssh NODE` needs no other program"),
        _ => failure,
    }
}
