//! A node's serial console on the user's terminal.

use std::io::ErrorKind;

use labctl_guest::input;
use labctl_guest::terminal::RawTerminal;
use labctl_lab::home::LabHome;
use labctl_lab::record::Record;
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::NodeName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

/// Ctrl-] leaves the console.
const LEAVE: u8 = 0x1d;

/// Connects the user's terminal to the serial console until ctrl-], a signal, or the machine's exit. Piped input is sent to its end; output
/// continues after that.
pub async fn attach(home: &LabHome, record: &Record, node: &NodeName) -> Result<(), Failure> {
    let socket = record.files(home, record.node(node)?).console;
    let stream = UnixStream::connect(&socket).await.map_err(|why| match why.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Failure::new(Kind::Conflict, format!("{node} is not running")).hint(format!(
            "start it with `labctl up {node}`; its earlier console output is in {}",
            home.node(node).join("console.log").display()
        )),
        _ => Failure::io(socket.display())(why),
    })?;
    let keys = input::stdin().map_err(Failure::io("standard input"))?;
    let watch = |kind| signal(kind).map_err(Failure::io("cannot watch for signals"));
    let (mut terminate, mut hang_up) = (watch(SignalKind::terminate())?, watch(SignalKind::hangup())?);
    let _raw = RawTerminal::enter().map_err(Failure::io("cannot set the terminal to raw mode"))?;
    tokio::select! {
        ended = join(stream, keys, tokio::io::stdout()) => ended.map_err(Failure::io(format!("console of {node}"))),
        _ = terminate.recv() => Ok(()),
        _ = hang_up.recv() => Ok(()),
    }
}

/// Copies both ways until ctrl-] arrives or the console closes.
async fn join<C, I, O>(console: C, mut keys: I, mut output: O) -> std::io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    let (mut from, mut to) = tokio::io::split(console);
    let typing = async {
        let mut buffer = [0; 4096];
        loop {
            let length = keys.read(&mut buffer).await?;
            if length == 0 {
                return Ok(false);
            }
            let leave = buffer[..length].iter().position(|byte| *byte == LEAVE);
            to.write_all(&buffer[..leave.unwrap_or(length)]).await?;
            if leave.is_some() {
                return Ok::<bool, std::io::Error>(true);
            }
        }
    };
    let printing = async {
        let mut buffer = [0; 4096];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok::<(), std::io::Error>(());
            }
            output.write_all(&buffer[..length]).await?;
            output.flush().await?;
        }
    };
    tokio::pin!(typing, printing);
    let typed = tokio::select! {
        typed = &mut typing => typed,
        printed = &mut printing => return printed,
    };
    // The end of the input is not a request to leave: a pipe may only want to keep reading.
    if typed? { Ok(()) } else { printing.await }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn keys_go_in_until_the_one_that_leaves() {
        let (console, mut machine) = duplex(64);
        join(console, &b"root\r\x1dnot this"[..], tokio::io::sink()).await.unwrap();
        let mut typed = String::new();
        machine.read_to_string(&mut typed).await.unwrap();
        assert_eq!(typed, "root\r");
    }

    #[tokio::test]
    async fn output_goes_on_after_the_end_of_input() {
        let (console, mut machine) = duplex(64);
        let mut printed = Vec::new();
        let talk = async {
            let mut typed = [0; 3];
            machine.read_exact(&mut typed).await.unwrap();
            machine.write_all(b"answer").await.unwrap();
            drop(machine);
        };
        let (ended, ()) = tokio::join!(join(console, &b"ask"[..], &mut printed), talk);
        ended.unwrap();
        assert_eq!(printed, b"answer");
    }
}
