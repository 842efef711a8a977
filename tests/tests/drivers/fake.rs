//! A driver whose machines are only sockets and a state. It can neither save nor load memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use labctl_machine::MachineError;
use labctl_machine::accel::{Accel, Finding};
use labctl_machine::driver::{BoxFuture, Driver, Ending, Incident, Notes, Orphan, Running};
use labctl_machine::driver_name::DriverName;
use labctl_machine::machine::{Machine, try_lock};
use labctl_machine::vitals::{Process, Share};
use labctl_wire::{AgentError, ErrorKind, FromAgent, Reply, Request, ToAgent, Unframer, VERSION, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::watch;

/// The driver, with the machines that it runs. They live on a runtime of their own, as they would outlive a supervisor.
#[derive(Debug)]
pub struct Fake {
    runtime: Handle,
    machines: Mutex<BTreeMap<String, Arc<FakeMachine>>>,
    /// What was asked of it, in order.
    asked: Mutex<Vec<String>>,
    /// Whether its machines cannot be adopted.
    deaf: AtomicBool,
    /// The machine that does not answer for now.
    hangs: watch::Sender<Option<String>>,
}

#[derive(Debug)]
struct FakeMachine {
    label: String,
    active: Mutex<bool>,
    full: AtomicBool,
    ended: watch::Sender<bool>,
    lock: Mutex<Option<File>>,
}

impl Fake {
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, machines: Mutex::default(), asked: Mutex::default(), deaf: AtomicBool::new(false), hangs: watch::Sender::new(None) }
    }

    /// What was asked of it since the last call, sorted: nodes are started side by side.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.sort();
        asked
    }

    /// From now on its machines can be adopted, or cannot.
    pub fn be_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
    }

    /// From now on the machine with that label does not answer whoever adopts it; those that wait get their answer when it is none.
    pub fn hang(&self, label: Option<&str>) {
        self.hangs.send_replace(label.map(str::to_owned));
    }

    /// The host's disk is full, or has room again: its machine with that label stands still, or goes on.
    pub fn fill(&self, label: &str, full: bool) {
        let machines = self.machines.lock().unwrap();
        let machine = machines.values().find(|machine| machine.label == label).unwrap();
        machine.full.store(full, Ordering::SeqCst);
        *machine.active.lock().unwrap() = !full;
    }

    fn note(&self, what: &str, machine: &Machine) {
        self.asked.lock().unwrap().push(format!("{what} {}", machine.label));
    }
}

impl Driver for Fake {
    fn name(&self) -> DriverName {
        "fake".into()
    }

    fn version<'a>(&'a self, _: &'a Notes) -> BoxFuture<'a, Result<String, MachineError>> {
        Box::pin(async { Ok("fake 1".to_owned()) })
    }

    fn accel<'a>(&'a self, _: &'a Notes, _: &'a str) -> BoxFuture<'a, Result<Finding, MachineError>> {
        Box::pin(async { Ok(Finding { accel: Accel::Tcg, why: "it runs nothing".into(), circumstances: String::new() }) })
    }

    fn forget(&self, _: &Notes) {}

    fn launch<'a>(&'a self, machine: &'a Machine, _: Orphan) -> BoxFuture<'a, Result<Arc<dyn Running>, MachineError>> {
        Box::pin(async move {
            self.note("launch", machine);
            let lock = try_lock(&machine.files.lock)?.ok_or_else(|| MachineError::InUse(machine.files.lock.clone()))?;
            let running = Arc::new(FakeMachine {
                label: machine.label.clone(),
                active: Mutex::new(true),
                full: AtomicBool::new(false),
                ended: watch::Sender::new(false),
                lock: Mutex::new(Some(lock)),
            });
            // The listeners belong to the runtime of the machines, not to that of the supervisor.
            let _machines = self.runtime.enter();
            serve(&running, &machine.files.agent, answer_as_an_agent);
            serve(&running, &machine.files.net, swallow);
            serve(&running, &machine.files.console, swallow);
            self.machines.lock().unwrap().insert(machine.uuid.clone(), running.clone());
            Ok(running as Arc<dyn Running>)
        })
    }

    fn end_unreachable<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<(), MachineError>> {
        Box::pin(async move {
            self.note("end", machine);
            if let Some(running) = self.machines.lock().unwrap().get(&machine.uuid) {
                running.stop();
            }
            Ok(())
        })
    }

    fn adopt<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<Option<Arc<dyn Running>>, MachineError>> {
        Box::pin(async move {
            self.note("adopt", machine);
            if self.deaf.load(Ordering::SeqCst) {
                return Err(MachineError::Unreachable { pid: 1, why: "it is deaf".into() });
            }
            let mut hangs = self.hangs.subscribe();
            hangs.wait_for(|hangs| hangs.as_deref() != Some(&*machine.label)).await.unwrap();
            let running = self.machines.lock().unwrap().get(&machine.uuid).cloned();
            Ok(running.filter(|running| !*running.ended.borrow()).map(|running| running as Arc<dyn Running>))
        })
    }
}

impl Running for FakeMachine {
    fn process(&self) -> (Process, Option<SystemTime>) {
        Process::of(std::process::id() as i32)
    }

    fn ended(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
        })
    }

    fn has_ended(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { *self.ended.borrow() })
    }

    fn press_power_button(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        Box::pin(async {
            self.stop();
            Ok(())
        })
    }

    fn end(&self) -> BoxFuture<'_, Ending> {
        Box::pin(async {
            if *self.ended.borrow() {
                return Ending::Gone;
            }
            self.stop();
            Ending::Killed
        })
    }

    fn pause(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        self.activate(false)
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        self.activate(true)
    }

    fn is_active(&self) -> BoxFuture<'_, Result<bool, MachineError>> {
        Box::pin(async { Ok(*self.active.lock().unwrap()) })
    }

    fn recover(&self) -> BoxFuture<'_, Result<(), MachineError>> {
        self.activate(true)
    }

    fn incidents(&self) -> UnboundedReceiver<Incident> {
        let (tell, told) = mpsc::unbounded_channel();
        let mut ended = self.ended.subscribe();
        // Nothing happens to it; the channel closes when it ends.
        tokio::spawn(async move {
            let _ = ended.wait_for(|ended| *ended).await;
            drop(tell);
        });
        told
    }

    fn lacks_room(&self) -> BoxFuture<'_, Result<bool, MachineError>> {
        Box::pin(async { Ok(self.full.load(Ordering::SeqCst)) })
    }

    fn shares(&self) -> Option<Vec<Share>> {
        None
    }
}

impl FakeMachine {
    fn stop(&self) {
        *self.lock.lock().unwrap() = None;
        self.ended.send_replace(true);
    }

    fn activate(&self, active: bool) -> BoxFuture<'_, Result<(), MachineError>> {
        *self.active.lock().unwrap() = active;
        Box::pin(async { Ok(()) })
    }
}

/// Listens on a socket until the machine ends, and serves every connection.
fn serve<F>(machine: &Arc<FakeMachine>, socket: &Path, each: fn(UnixStream, Arc<FakeMachine>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).unwrap();
    let (machine, mut ended) = (machine.clone(), machine.ended.subscribe());
    tokio::spawn(async move {
        let accept = async {
            while let Ok((stream, _)) = listener.accept().await {
                let mut ended = machine.ended.subscribe();
                let work = each(stream, machine.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = work => {}
                        _ = ended.wait_for(|ended| *ended) => {}
                    }
                });
            }
        };
        tokio::select! {
            () = accept => {}
            _ = ended.wait_for(|ended| *ended) => {}
        }
    });
}

/// Reads whatever comes.
async fn swallow(mut stream: UnixStream, _: Arc<FakeMachine>) {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}

/// Answers what every guest is asked. It takes any identity, and has no files.
async fn answer_as_an_agent(mut stream: UnixStream, machine: Arc<FakeMachine>) {
    let mut unframer = Unframer::new();
    let mut bytes = [0; 65536];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        let mut answers = Vec::new();
        let mut ends = false;
        unframer.feed(&bytes[..read], |packet| {
            let answer = match packet.unwrap() {
                ToAgent::Hello { session, .. } => {
                    FromAgent::Ready { session, version: VERSION, boot_id: "fake-boot".into(), identity: String::new() }
                }
                ToAgent::Request { id, request: Request::TakeIdentity(_) | Request::Wake { .. } | Request::Ping } => {
                    FromAgent::Done { id, result: Ok(Reply::Done) }
                }
                ToAgent::Request { id, request: Request::PowerOff } => {
                    ends = true;
                    FromAgent::Done { id, result: Ok(Reply::Done) }
                }
                ToAgent::Request { id, .. } => {
                    let message = "a fake has no files and no programs".to_owned();
                    FromAgent::Done { id, result: Err(AgentError { kind: ErrorKind::NotFound, message }) }
                }
                _ => return,
            };
            answers.extend(frame(&answer));
        });
        stream.write_all(&answers).await.unwrap();
        if ends {
            machine.stop();
        }
    }
}
