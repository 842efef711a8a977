//! A manager played by a thread of a test.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

pub(crate) use super::message::{Arg, Message};
use super::message::{Body, marshal};
use super::reader::read_message;

/// What the peer sends for one call, in order.
pub(crate) enum Answer {
    /// The reply: its signature and values.
    Reply(&'static str, Vec<Arg>),
    /// An error: its name and text.
    Refusal(&'static str, &'static str),
    /// A signal of the manager: member, signature and values.
    Signal(&'static str, &'static str, Vec<Arg>),
    /// The connection is closed.
    Close,
}

/// Answers calls.
pub(crate) type Script = dyn FnMut(&Message) -> Vec<Answer> + Send;

pub(crate) fn text(text: &str) -> Arg {
    Arg::Text(text.to_owned())
}

/// Serves at systemd's private socket under `root` until the test ends.
pub(crate) fn play(root: &Path, script: impl FnMut(&Message) -> Vec<Answer> + Send + 'static) {
    play_at(&root.join("run/systemd/private"), script);
}

/// Serves at a socket.
pub(crate) fn play_at(socket: &Path, script: impl FnMut(&Message) -> Vec<Answer> + Send + 'static) {
    std::fs::create_dir_all(socket.parent().expect("a socket has a folder")).expect("a folder");
    let listener = UnixListener::bind(socket).expect("a socket");
    let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(script));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let script = script.clone();
            std::thread::spawn(move || serve(stream, &script));
        }
    });
}

fn serve(mut stream: UnixStream, script: &Mutex<Script>) -> std::io::Result<()> {
    let mut line = Vec::new();
    while !line.ends_with(b"BEGIN\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    stream.write_all(b"OK 0123456789abcdef\r\n")?;
    let mut serial = 100;
    loop {
        let call = read_message(&mut stream)?;
        let answers = script.lock().expect("the script did not panic")(&call);
        for answer in answers {
            serial += 1;
            let bytes = match answer {
                Answer::Reply(signature, values) => marshal(2, serial, call.serial, &[], &Body::of(signature, &values)),
                Answer::Refusal(name, text) => marshal(3, serial, call.serial, &[(4, 's', name)], &Body::default().text(text)),
                Answer::Signal(member, signature, values) => marshal(4, serial, 0, &[(3, 's', member)], &Body::of(signature, &values)),
                Answer::Close => return Ok(()),
            };
            stream.write_all(&bytes)?;
        }
    }
}
