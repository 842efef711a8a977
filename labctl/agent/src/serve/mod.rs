//! Serving a controller: one reader (the calling thread), one thread per request except for those answered at once, one writer behind a
//! lock.
//!
//! ```text
//!            Hello            Request              End of stream / Hello
//! (no session) ──▶ (session) ─────────▶ [request threads] ─────────────▶ all cancelled
//! ```

mod boot;
mod channel;
mod exec;
mod files;
mod port;
mod shot;
mod tree;
mod units;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use labctl_wire::{AgentError, ErrorKind, FromAgent, Reply, Request, ToAgent, Unframer, VERSION, frame};

use crate::identity;
use channel::{Channel, Input};
use shot::Shots;

/// Bytes per read from the stream.
const READ: usize = 256 << 10;

/// Locks, ignoring poison: the data guarded here is replaced whole, so a panic never leaves it half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error from the kernel, with the operation that failed.
fn failed(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> AgentError {
    move |why| AgentError {
        kind: match why.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::TimedOut => ErrorKind::TimedOut,
            _ => ErrorKind::Io,
        },
        message: format!("{what}: {why}"),
    }
}

/// The stream back to the controller. Packets are written whole, one at a time.
#[derive(Clone)]
struct Out(Arc<Mutex<Box<dyn Write + Send>>>);

impl Out {
    /// A failed write means that the stream is gone; the reader notices that and cancels everything.
    fn send(&self, message: &FromAgent) {
        let packet = frame(message);
        let mut stream = lock(&self.0);
        let _ = stream.write_all(&packet).and_then(|()| stream.flush());
    }
}

/// Serves on the virtio-serial port forever.
pub fn on_virtio_port() -> io::Result<()> {
    let file = port::open()?;
    come_first();
    if let Some(kept) = identity::kept(Path::new("/")) {
        // A guest that cannot set up its network must still answer: control does not depend on the network.
        if let Err(why) = identity::apply(&kept) {
            eprintln!("labctl-agent: identity: {why}");
        }
        identity::settle(&kept);
    }
    if let Err(why) = boot::grow_root() {
        eprintln!("labctl-agent: cannot grow the root file system: {why}");
    }
    boot::notify_ready();
    let out = Out(Arc::new(Mutex::new(Box::new(file.try_clone()?))));
    let server = Server::new(out.clone());
    out.send(&ready(0));
    let mut source = file;
    loop {
        server.read_all(&mut source)?;
        // The controller has disconnected. A write blocks until the next one opens its side of the port (drivers/char/virtio_console.c,
        // wait_port_writable), which is the only event that the kernel offers for this.
        out.send(&ready(0));
    }
}

/// Gives the reader priority over everything else in the guest: a fork has its identity before its services react to the new time, and a
/// guest under load still answers. Threads and processes that it starts are scheduled normally.
fn come_first() {
    // SAFETY: `sched_param` is plain data; sched_setscheduler(2) of this thread.
    let outcome = unsafe {
        let mut wanted: libc::sched_param = std::mem::zeroed();
        wanted.sched_priority = 1;
        libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const wanted)
    };
    if outcome != 0 {
        eprintln!("labctl-agent: the reader runs without priority: {}", io::Error::last_os_error());
    }
}

/// Serves on standard input and output until they end.
pub fn on_stdio() -> io::Result<()> {
    let out = Out(Arc::new(Mutex::new(Box::new(io::stdout()))));
    Server::new(out).read_all(&mut io::stdin().lock())
}

fn ready(session: u64) -> FromAgent {
    FromAgent::Ready {
        session,
        version: VERSION,
        boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
        identity: identity::digest(),
    }
}

struct Server {
    out: Out,
    requests: Arc<Mutex<HashMap<u64, Arc<Channel>>>>,
    shots: Arc<Mutex<Shots>>,
}

impl Server {
    fn new(out: Out) -> Self {
        Self { out, requests: Arc::default(), shots: Arc::default() }
    }

    /// Reads packets until the stream ends, then cancels everything in progress.
    fn read_all(&self, source: &mut dyn Read) -> io::Result<()> {
        let mut unframer = Unframer::new();
        let mut buffer = vec![0; READ];
        loop {
            let length = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) => {
                    self.drop_session();
                    return Err(why);
                }
            };
            unframer.feed(&buffer[..length], |packet| match packet {
                Ok(message) => self.take(message),
                Err(why) => eprintln!("labctl-agent: {why}"),
            });
        }
        self.drop_session();
        Ok(())
    }

    fn take(&self, message: ToAgent) {
        match message {
            ToAgent::Hello { session, .. } => {
                self.drop_session();
                self.out.send(&ready(session));
            }
            ToAgent::Request { id, request } => match at_once(request) {
                Ok(result) => self.out.send(&FromAgent::Done { id, result }),
                Err(request) => self.start(id, request),
            },
            ToAgent::Data { id, bytes } => self.pass(id, |channel| channel.input(Input::Data(bytes.into_vec()))),
            ToAgent::End { id } => self.pass(id, |channel| channel.input(Input::End)),
            ToAgent::Credit { id, bytes } => self.pass(id, |channel| channel.grant(bytes)),
            ToAgent::Signal { id, signal } => self.pass(id, |channel| channel.signal(signal)),
            ToAgent::Resize { id, columns, rows } => self.pass(id, |channel| channel.resize(columns, rows)),
            ToAgent::Cancel { id } => self.pass(id, Channel::cancel),
        }
    }

    /// Passes something to a request; ignored if the request has finished meanwhile.
    fn pass(&self, id: u64, hand: impl FnOnce(&Channel)) {
        let channel = lock(&self.requests).get(&id).cloned();
        if let Some(channel) = channel {
            hand(&channel);
        }
    }

    fn drop_session(&self) {
        for (_, channel) in lock(&self.requests).drain() {
            channel.cancel();
        }
        lock(&self.shots).clear();
    }

    fn start(&self, id: u64, request: Request) {
        let channel = match Channel::new(id, self.out.clone()) {
            Ok(channel) => Arc::new(channel),
            Err(why) => return self.out.send(&FromAgent::Done { id, result: Err(failed("start the request")(why)) }),
        };
        lock(&self.requests).insert(id, channel.clone());
        let (out, requests, shots) = (self.out.clone(), self.requests.clone(), self.shots.clone());
        let working = channel.clone();
        let run = move || {
            let result = unless_it_panics(|| perform(request, &working, &shots));
            // A request of a dropped session is no longer in the table, and the new controller must not hear of it.
            let known = {
                let mut requests = lock(&requests);
                let known = requests.get(&id).is_some_and(|mine| Arc::ptr_eq(mine, &working));
                if known {
                    requests.remove(&id);
                }
                known
            };
            if known {
                out.send(&FromAgent::Done { id, result });
            }
        };
        if let Err(why) = thread::Builder::new().name(format!("request-{id}")).spawn(run) {
            lock(&self.requests).remove(&id);
            self.out.send(&FromAgent::Done { id, result: Err(failed("start a thread")(why)) });
        }
    }
}

fn unless_it_panics(work: impl FnOnce() -> Result<Reply, AgentError>) -> Result<Reply, AgentError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(AgentError { kind: ErrorKind::Internal, message: "the agent failed; see its journal".into() }))
}

/// Handles what a fork is asked on waking, and what its template was asked, on the reader's own thread: starting and stopping another
/// thread would cost an emulated fork a sixth of its wake-up time. Returns any other request.
fn at_once(request: Request) -> Result<Result<Reply, AgentError>, Request> {
    let done =
        |what: &'static str, work: &dyn Fn() -> io::Result<()>| Ok(unless_it_panics(|| work().map(|()| Reply::Done).map_err(failed(what))));
    match request {
        Request::Ping => Ok(Ok(Reply::Done)),
        Request::TakeIdentity(identity) => done("adopt the identity", &|| identity::take(&identity)),
        Request::BecomeTemplate => done("become a template", &identity::template::prepare),
        Request::Wake { entropy, clock_ns } => done("set the time", &|| identity::wake(&entropy, clock_ns)),
        other => Err(other),
    }
}

fn perform(request: Request, channel: &Arc<Channel>, shots: &Mutex<Shots>) -> Result<Reply, AgentError> {
    identity::services::speak();
    match request {
        Request::Ping | Request::TakeIdentity(_) | Request::BecomeTemplate | Request::Wake { .. } => unreachable!("see `at_once`"),
        Request::Exec(exec) => exec::run(&exec, channel),
        Request::Put(put) => files::put(&put, channel),
        Request::Get { path } => files::get(Path::new(OsStr::from_bytes(&path)), channel),
        Request::ReceiveTree(request) => tree::receive(&request, channel),
        Request::SendTree { path } => tree::send(&path, channel),
        Request::Units { units } => units::states(&units).map(Reply::Units),
        Request::Arm { shot, units } => lock(shots).arm(shot, &units),
        Request::Fire { shot, signal } => {
            let armed = lock(shots).take(shot);
            shot::fire(armed, signal)
        }
        Request::Facts => Ok(Reply::Facts(crate::modules::facts::gather())),
        Request::Module(mut call) => {
            // The guest's proxy, unless the task names another.
            for (name, value) in identity::environment() {
                call.environment.entry(name).or_insert(value);
            }
            Ok(Reply::Module(Box::new(crate::modules::run_unless(&|| channel.is_cancelled(), &call))))
        }
        Request::AwaitBooted => boot::await_booted(),
        Request::PowerOff => boot::leave_by("poweroff.target"),
        Request::Reboot => boot::leave_by("reboot.target"),
    }
}
