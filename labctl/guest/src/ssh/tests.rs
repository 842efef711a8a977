//! Sessions with a server in the same process.

use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg, Pty, Sig};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

use super::*;

pub(super) fn key(seed: u8) -> PrivateKey {
    PrivateKey::new(Ed25519Keypair::from_seed(&[seed; 32]).into(), "test").unwrap()
}

pub(super) fn public(seed: u8) -> String {
    key(seed).public_key().to_openssh().unwrap()
}

/// The user's key and the server's key.
pub(super) fn login(user: &str, private: u8, host: u8) -> Login {
    let private_key = key(private).to_openssh(LineEnding::LF).unwrap().to_string();
    Login { user: user.into(), private_key, host_key: format!("{} root@a\n", public(host)) }
}

const USER: u8 = 1;
const HOST: u8 = 2;

struct Guest;

impl server::Handler for Guest {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, shown: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        let known = user == "root" && shown.public_key.key_data() == key(USER).public_key().key_data();
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<server::Msg>,
        reply: ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        tokio::spawn(serve(channel));
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        kind: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        if kind == "none" { session.channel_failure(channel) } else { session.channel_success(channel) }
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut server::Session) -> Result<(), russh::Error> {
        session.channel_success(channel)
    }

    async fn exec_request(&mut self, channel: ChannelId, line: &[u8], session: &mut server::Session) -> Result<(), russh::Error> {
        if line == b"forbidden" { session.channel_failure(channel) } else { session.channel_success(channel) }
    }
}

/// Simulates the guest's side of a channel, depending on the command.
async fn serve(mut channel: Channel<server::Msg>) -> Option<()> {
    let mut terminal = String::new();
    let command = loop {
        match channel.wait().await? {
            ChannelMsg::RequestPty { term, col_width, row_height, .. } => terminal = format!("{term} {col_width}x{row_height}"),
            ChannelMsg::Exec { command, .. } => break String::from_utf8(command).unwrap(),
            ChannelMsg::RequestShell { .. } => break "shell".into(),
            _ => {}
        }
    };
    let mut code = 0;
    match command.as_str() {
        "shell" => channel.data(format!("shell on {terminal}\n").as_bytes()).await.ok()?,
        "fail" => {
            channel.data(&b"out"[..]).await.ok()?;
            channel.extended_data(1, &b"err"[..]).await.ok()?;
            code = 7;
        }
        "cat" => loop {
            match channel.wait().await? {
                ChannelMsg::Data { data } => channel.data_bytes(data).await.ok()?,
                ChannelMsg::Eof => break channel.data(&b"END"[..]).await.ok()?,
                _ => {}
            }
        },
        "much" => channel.data(&much()[..]).await.ok()?,
        "resize" => loop {
            if let ChannelMsg::WindowChange { col_width, row_height, .. } = channel.wait().await? {
                break channel.data(format!("{col_width}x{row_height}").as_bytes()).await.ok()?;
            }
        },
        "interrupted" => loop {
            if let ChannelMsg::Signal { signal: Sig::INT } = channel.wait().await? {
                code = 130;
                break;
            }
        },
        "vanish" => return channel.close().await.ok(),
        _ => code = 127,
    }
    channel.exit_status(code).await.ok()?;
    channel.eof().await.ok()?;
    channel.close().await.ok()
}

/// More than all windows and buffers together can hold.
pub(super) fn much() -> Vec<u8> {
    (0..6_000_000_u32).map(|n| (n % 251) as u8).collect()
}

/// The other end of a connection to a guest.
fn guest() -> DuplexStream {
    let (near, far) = duplex(64 << 10);
    let config = server::Config {
        keys: vec![key(HOST)],
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        ..Default::default()
    };
    tokio::spawn(async move {
        if let Ok(session) = server::run_stream(Arc::new(config), far, Guest).await {
            let _ = session.await;
        }
    });
    near
}

pub(super) fn command(line: &str) -> Request {
    Request { command: Some(line.into()), terminal: None }
}

/// Exit, standard output and standard error of a request with that input.
pub(super) async fn ask(session: &Session, request: Request, input: &[u8]) -> Result<(Exit, Vec<u8>, Vec<u8>), SshError> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (_keep, control) = mpsc::channel(1);
    let exit = session.run(&request, input, &mut out, &mut err, control).await?;
    Ok((exit, out, err))
}

async fn entered() -> Session {
    connect(guest(), login("root", USER, HOST)).await.unwrap()
}

#[tokio::test]
async fn another_host_key_is_refused() {
    let why = connect(guest(), login("root", USER, 9)).await.err().unwrap();
    let (found, wanted) = (key(HOST).fingerprint(HashAlg::Sha256), key(9).fingerprint(HashAlg::Sha256));
    assert_eq!(why.to_string(), format!("the SSH server is not the expected one: its host key is {found}, expected {wanted}"));
}

#[tokio::test]
async fn another_key_or_user_is_refused() {
    for (user, private) in [("root", 9), ("nobody", USER)] {
        let why = connect(guest(), login(user, private, HOST)).await.err().unwrap();
        assert_eq!(why.to_string(), format!("the SSH server refuses the key of user `{user}`"));
    }
}

#[tokio::test]
async fn keys_that_are_none_are_told() {
    let good = login("root", USER, HOST);
    let why = connect(guest(), Login { private_key: "x".into(), ..good.clone() }).await.err().unwrap();
    assert!(matches!(why, SshError::Key { which: "private key", .. }), "{why}");
    let why = connect(guest(), Login { host_key: "ssh-ed25519 AAAA".into(), ..good }).await.err().unwrap();
    assert!(matches!(why, SshError::Key { which: "pinned host key", .. }), "{why}");
}

#[tokio::test]
async fn a_stream_that_ends_is_told() {
    let (near, far) = duplex(1024);
    drop(far);
    let why = connect(near, login("root", USER, HOST)).await.err().unwrap();
    assert!(matches!(why, SshError::Disconnected | SshError::Protocol(_)), "{why:?}");
}

#[tokio::test]
async fn output_errors_and_code_come_apart() {
    let session = entered().await;
    let (exit, out, err) = ask(&session, command("fail"), b"").await.unwrap();
    assert_eq!((exit.code(), &out[..], &err[..]), (7, &b"out"[..], &b"err"[..]));
    // One connection carries several commands.
    let (exit, out, _) = ask(&session, command("unknown"), b"").await.unwrap();
    assert_eq!((exit, &out[..]), (Exit::Code(127), &b""[..]));
    session.disconnect().await.unwrap();
}

#[tokio::test]
async fn input_goes_through_to_its_end() {
    let session = entered().await;
    let (exit, out, _) = ask(&session, command("cat"), &much()).await.unwrap();
    assert_eq!(exit, Exit::Code(0));
    assert!(out == [&much()[..], b"END"].concat(), "{} bytes came back", out.len());
}

#[tokio::test]
async fn much_output_comes_whole() {
    let session = entered().await;
    let (exit, out, _) = ask(&session, command("much"), b"").await.unwrap();
    assert_eq!(exit, Exit::Code(0));
    assert!(out == much(), "{} bytes came", out.len());
}

#[tokio::test]
async fn a_command_that_does_not_read_ends_all_the_same() {
    let session = entered().await;
    let (exit, ..) = ask(&session, command("fail"), &much()).await.unwrap();
    assert_eq!(exit, Exit::Code(7));
}

#[tokio::test]
async fn a_terminal_is_asked_for_with_its_size() {
    let session = entered().await;
    let terminal = |kind: &str| Some(Terminal { kind: kind.into(), size: Size { columns: 123, rows: 45 } });
    let (_, out, _) = ask(&session, Request { command: None, terminal: terminal("xterm-256color") }, b"").await.unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "shell on xterm-256color 123x45\n");
    let why = ask(&session, Request { command: None, terminal: terminal("none") }, b"").await.unwrap_err();
    assert_eq!(why.to_string(), "the SSH server refuses a terminal");
}

#[tokio::test]
async fn sizes_and_signals_are_passed_on() {
    let session = entered().await;
    let cases = [("resize", Control::Resize(Size { columns: 10, rows: 20 }), "10x20", 0), ("interrupted", Control::Interrupt, "", 130)];
    for (line, told, wanted, code) in cases {
        let (tell, control) = mpsc::channel(1);
        tell.send(told).await.unwrap();
        let mut out = Vec::new();
        let (input, _keep) = duplex(1);
        let exit = session.run(&command(line), input, &mut out, tokio::io::sink(), control).await.unwrap();
        assert_eq!((String::from_utf8(out).unwrap().as_str(), exit.code()), (wanted, code), "{line}");
    }
}

#[tokio::test]
async fn leaving_ends_a_command_that_does_not() {
    let session = entered().await;
    let (tell, control) = mpsc::channel(1);
    tell.send(Control::Leave(255)).await.unwrap();
    let (mut keep, input) = duplex(1);
    let ended = session.run(&command("cat"), input, tokio::io::sink(), tokio::io::sink(), control).await;
    assert!(matches!(ended, Err(SshError::Left { code: 255 })), "{ended:?}");
    keep.shutdown().await.unwrap();
}

#[tokio::test]
async fn no_exit_and_no_leave_are_told() {
    let session = entered().await;
    let why = ask(&session, command("vanish"), b"").await.unwrap_err();
    assert!(matches!(why, SshError::Disconnected), "{why}");
    let why = ask(&session, command("forbidden"), b"").await.unwrap_err();
    assert_eq!(why.to_string(), "the SSH server refuses the command");
}

#[test]
fn codes_are_a_shells() {
    for (exit, code) in [(Exit::Code(0), 0), (Exit::Code(256), 0), (Exit::Signal("KILL".into()), 137), (Exit::Signal("X".into()), 255)] {
        assert_eq!(exit.code(), code, "{exit:?}");
    }
}
