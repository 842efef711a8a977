//! One command or shell on its own channel, between any streams.

use std::pin::pin;

use russh::client::Msg;
use russh::{ChannelMsg, ChannelWriteHalf, Sig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{Session, SshError};

/// SSH_EXTENDED_DATA_STDERR (RFC 4254, section 5.2).
const STDERR: u32 = 1;

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
}

/// A terminal for the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// Its type, as in the environment variable TERM.
    pub kind: String,
    /// Its size.
    pub size: Size,
}

/// What to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Line for the user's shell on the other side; none for an interactive shell.
    pub command: Option<String>,
    /// Terminal; none for plain pipes, with a separate standard error.
    pub terminal: Option<Terminal>,
}

/// Controls for a running command, besides its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// The terminal's size changed.
    Resize(Size),
    /// Interrupt (SIGINT).
    Interrupt,
    /// Terminate (SIGTERM).
    Terminate,
    /// Hang up (SIGHUP).
    HangUp,
    /// Leave the session now; `run` returns [`SshError::Left`] with this exit code.
    Leave(u8),
}

/// How a command exited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With this exit code.
    Code(u32),
    /// Killed by a signal; its name without `SIG`.
    Signal(String),
}

impl Exit {
    /// The exit code that a shell would show: the lowest eight bits, or 128 + the signal number.
    pub fn code(&self) -> u8 {
        let signal = |name: &str| match name {
            "HUP" => 1,
            "INT" => 2,
            "QUIT" => 3,
            "ILL" => 4,
            "ABRT" => 6,
            "FPE" => 8,
            "KILL" => 9,
            "USR1" => 10,
            "SEGV" => 11,
            "PIPE" => 13,
            "ALRM" => 14,
            "TERM" => 15,
            _ => 127,
        };
        match self {
            Self::Code(code) => (code & 0xff) as u8,
            Self::Signal(name) => 128 + signal(name),
        }
    }
}

impl Session {
    /// Runs the request until it exits. `input` is copied to its end, which the command sees; a command may exit earlier. With a terminal,
    /// `errors` gets nothing.
    pub async fn run(
        &self,
        request: &Request,
        input: impl AsyncRead + Unpin,
        mut output: impl AsyncWrite + Unpin,
        mut errors: impl AsyncWrite + Unpin,
        mut control: mpsc::Receiver<Control>,
    ) -> Result<Exit, SshError> {
        let (mut events, channel) = self.handle.channel_open_session().await?.split();
        if let Some(Terminal { kind, size }) = &request.terminal {
            // No modes: the guest's defaults suit an emulated terminal.
            channel.request_pty(true, kind, size.columns, size.rows, 0, 0, &[]).await?;
            match events.wait().await {
                Some(ChannelMsg::Success) => {}
                Some(ChannelMsg::Failure) => return Err(SshError::Request("a terminal")),
                _ => return Err(SshError::Disconnected),
            }
        }
        match &request.command {
            Some(command) => channel.exec(true, command.as_str()).await?,
            None => channel.request_shell(true).await?,
        }
        let mut exit = None;
        let mut feeding = true;
        let mut controlled = true;
        // Separate from the loop below: input waits for the other side's window, which only the loop can open.
        let mut feed = pin!(feed(input, &channel));
        loop {
            tokio::select! {
                fed = &mut feed, if feeding => {
                    fed?;
                    feeding = false;
                }
                told = control.recv(), if controlled => match told {
                    Some(told) => tell(&channel, told).await?,
                    None => controlled = false,
                },
                event = events.wait() => match event {
                    Some(ChannelMsg::Data { data }) => write(&mut output, &data, "standard output").await?,
                    Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => write(&mut errors, &data, "standard error").await?,
                    Some(ChannelMsg::Failure) => {
                        return Err(SshError::Request(if request.command.is_some() { "the command" } else { "a shell" }));
                    }
                    Some(ChannelMsg::ExitStatus { exit_status }) => exit = Some(Exit::Code(exit_status)),
                    Some(ChannelMsg::ExitSignal { signal_name, .. }) => exit = Some(Exit::Signal(name(signal_name))),
                    Some(ChannelMsg::Close) | None => return exit.ok_or(SshError::Disconnected),
                    Some(_) => {}
                },
            }
        }
    }
}

/// Copies all input. A command that does not read it, or has already exited, is not an error.
async fn feed(mut input: impl AsyncRead + Unpin, channel: &ChannelWriteHalf<Msg>) -> Result<(), SshError> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        let length = input.read(&mut buffer).await.map_err(SshError::local("standard input"))?;
        let sent = match length {
            0 => channel.eof().await,
            _ => channel.data(&buffer[..length]).await,
        };
        if length == 0 || sent.is_err() {
            return Ok(());
        }
    }
}

async fn tell(channel: &ChannelWriteHalf<Msg>, told: Control) -> Result<(), SshError> {
    match told {
        Control::Resize(Size { columns, rows }) => channel.window_change(columns, rows, 0, 0).await?,
        Control::Interrupt => channel.signal(Sig::INT).await?,
        Control::Terminate => channel.signal(Sig::TERM).await?,
        Control::HangUp => channel.signal(Sig::HUP).await?,
        Control::Leave(code) => return Err(SshError::Left { code }),
    }
    Ok(())
}

async fn write(to: &mut (impl AsyncWrite + Unpin), data: &[u8], what: &'static str) -> Result<(), SshError> {
    to.write_all(data).await.map_err(SshError::local(what))?;
    // Flush, so that a prompt appears before the buffer is full.
    to.flush().await.map_err(SshError::local(what))
}

/// The signal's name as in RFC 4254, section 6.10.
fn name(signal: Sig) -> String {
    match signal {
        Sig::Custom(name) => name,
        // The variants are named as on the wire.
        other => format!("{other:?}"),
    }
}
