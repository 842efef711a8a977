//! A session on the user's own standard streams: a terminal if both ends are terminals, pipes otherwise.

use std::io;

use rustix::termios::{isatty, tcgetwinsize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, stderr, stdout};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::escape::Escape;
use super::{Control, Exit, Request, Session, Size, SshError, Terminal};
use crate::input;
use crate::terminal::RawTerminal;

impl Session {
    /// Runs `command`, or a shell, on this process's standard streams. If standard input and output are a terminal, the command gets a
    /// terminal of the same size, all keys are sent to it, and `~.` at the start of a line leaves the session; the user's terminal is
    /// restored when this returns. Otherwise the streams are pipes, and SIGINT, SIGTERM and SIGHUP are passed on and end the session, as
    /// with ssh(1).
    pub async fn attach(&self, command: Option<String>) -> Result<Exit, SshError> {
        let terminal = (isatty(io::stdin()) && isatty(io::stdout())).then(|| Terminal {
            kind: std::env::var("TERM").unwrap_or_else(|_| "xterm".into()),
            size: window().unwrap_or(Size { columns: 80, rows: 24 }),
        });
        let (controls, control) = mpsc::channel(8);
        let mut tasks = JoinSet::new();
        let keys = input::stdin().map_err(SshError::local("standard input"))?;
        let request = Request { command, terminal };
        if request.terminal.is_none() {
            pass_signals(&mut tasks, &controls).map_err(SshError::local("watch for signals"))?;
            return self.run(&request, keys, stdout(), stderr(), control).await;
        }
        let (typed, mut passed) = UnixStream::pair().map_err(SshError::local("standard input"))?;
        watch_window(&mut tasks, &controls).map_err(SshError::local("watch the terminal's size"))?;
        leave_on_signals(&mut tasks, &controls).map_err(SshError::local("watch for signals"))?;
        tasks.spawn(async move {
            let mut keys = keys;
            let mut escape = Escape::new();
            let mut buffer = [0; 4096];
            // Stops with the terminal, or with the session.
            while let Ok(length @ 1..) = keys.read(&mut buffer).await {
                let Some(keys) = escape.pass(&buffer[..length]) else {
                    let _ = controls.send(Control::Leave(255)).await;
                    return;
                };
                if passed.write_all(&keys).await.is_err() {
                    return;
                }
            }
        });
        let _raw = RawTerminal::enter().map_err(SshError::local("set the terminal to raw mode"))?;
        self.run(&request, typed, stdout(), stderr(), control).await
    }
}

/// Size of the terminal on standard output, if it is one.
fn window() -> Option<Size> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    let size = Size { columns: size.ws_col.into(), rows: size.ws_row.into() };
    (size.columns > 0 && size.rows > 0).then_some(size)
}

fn watch_window(tasks: &mut JoinSet<()>, controls: &mpsc::Sender<Control>) -> io::Result<()> {
    let mut changed = signal(SignalKind::window_change())?;
    let controls = controls.clone();
    tasks.spawn(async move {
        while changed.recv().await.is_some() {
            if let Some(size) = window()
                && controls.send(Control::Resize(size)).await.is_err()
            {
                return;
            }
        }
    });
    Ok(())
}

/// Signals that terminate labctl must not leave the terminal in raw mode.
fn leave_on_signals(tasks: &mut JoinSet<()>, controls: &mpsc::Sender<Control>) -> io::Result<()> {
    for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()] {
        let mut sent = signal(kind)?;
        let controls = controls.clone();
        tasks.spawn(async move {
            sent.recv().await;
            let _ = controls.send(Control::Leave(code(kind))).await;
        });
    }
    Ok(())
}

fn pass_signals(tasks: &mut JoinSet<()>, controls: &mpsc::Sender<Control>) -> io::Result<()> {
    let passed = [
        (SignalKind::hangup(), Control::HangUp),
        (SignalKind::interrupt(), Control::Interrupt),
        (SignalKind::terminate(), Control::Terminate),
    ];
    for (kind, control) in passed {
        let mut sent = signal(kind)?;
        let controls = controls.clone();
        tasks.spawn(async move {
            sent.recv().await;
            // OpenSSH ignores signals for root, so waiting for their effect could take forever.
            for control in [control, Control::Leave(code(kind))] {
                let _ = controls.send(control).await;
            }
        });
    }
    Ok(())
}

/// The exit code that a shell shows for a program killed by the signal.
fn code(kind: SignalKind) -> u8 {
    128_u8.saturating_add(u8::try_from(kind.as_raw_value()).unwrap_or(127))
}
