//! Serving one connection: one call.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use labctl_guest::relay::relay;
use labctl_lab::control::{Answer, Call, Up};
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::NodeName;
use labctl_wire::{Unframer, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::UnixStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use crate::clients::Client;
use crate::{Supervisor, lock, ports, rewinding, saving};

/// Reads the call and carries it out. The connection counts as `client` meanwhile.
pub async fn serve(supervisor: Arc<Supervisor>, mut stream: UnixStream, client: Client) {
    let mut unframer = Unframer::new();
    let call = match read(&mut stream, &mut unframer).await {
        Ok(Some(call)) => call,
        Ok(None) => return,
        Err(why) => {
            let _ = answer(&mut stream, &Answer::Failed(why)).await;
            return;
        }
    };
    let outcome = match call {
        Call::Stay => {
            let told = answer(&mut stream, &Answer::Done).await;
            // The client sends nothing more: a read returns when it disconnects.
            let _ = told.is_ok() && stream.read(&mut [0; 1]).await.is_ok();
            return;
        }
        Call::Status => Ok(Answer::Status(supervisor.status())),
        Call::Watch => {
            // A watcher does not count as a client: a dashboard left open does not keep the supervisor alive.
            drop(client);
            return watch(&supervisor, stream).await;
        }
        Call::Up(up) => with_events(&supervisor, &mut stream, done(up_nodes(supervisor.clone(), *up))).await,
        Call::Halt { nodes, force } => with_events(&supervisor, &mut stream, done(halt(supervisor.clone(), nodes, force))).await,
        Call::GoOn { nodes } => with_events(&supervisor, &mut stream, done(go_on(supervisor.clone(), nodes))).await,
        Call::Save { name, verify } => with_events(&supervisor, &mut stream, saving::save(supervisor.clone(), name, verify)).await,
        Call::Rewind(rewind) => with_events(&supervisor, &mut stream, done(rewinding::rewind(supervisor.clone(), *rewind))).await,
        Call::Agent { node } => return agent(&supervisor, stream, &node).await,
        Call::Dial { node, port } => return dial(&supervisor, stream, &node, port).await,
        Call::Hold { limit_ms } => return hold(&supervisor, stream, unframer, Duration::from_millis(limit_ms)).await,
        Call::Impair(edges) => {
            supervisor.impair(*edges).await;
            Ok(Answer::Done)
        }
        Call::Mend { id } => {
            supervisor.mend(&id).await;
            Ok(Answer::Done)
        }
        Call::Impaired { id } => {
            supervisor.impaired(&id).await.map(Answer::Impaired).map_err(|why| Failure::new(Kind::Conflict, why.message))
        }
        Call::Release => Err(Failure::new(Kind::Internal, "this connection does not hold the network")),
        Call::Leave => {
            // Clients that connect from now on start another supervisor.
            let _ = std::fs::remove_file(supervisor.home.supervisor_socket());
            let _ = answer(&mut stream, &Answer::Done).await;
            // Crash-only: exiting is no different from being killed.
            std::process::exit(0);
        }
    };
    // A client that has disconnected needs no answer.
    let _ = answer(&mut stream, &outcome.unwrap_or_else(Answer::Failed)).await;
}

/// The call that a client makes; `None` if it disconnects first.
///
/// # Errors
/// It sent something that is no call of this version.
async fn read(stream: &mut UnixStream, unframer: &mut Unframer) -> Result<Option<Call>, Failure> {
    let mut buffer = vec![0; 64 << 10];
    let mut packet = None;
    while packet.is_none() {
        let Some(length) = stream.read(&mut buffer).await.ok().filter(|length| *length > 0) else { return Ok(None) };
        unframer.feed(&buffer[..length], |received| packet = Some(received));
    }
    packet.transpose().map_err(|why| {
        Failure::new(Kind::Conflict, format!("the lab's supervisor does not understand this call: {why}"))
            .hint("the supervisor may be from a different version of labctl; repeat the command with that version")
    })
}

async fn answer(stream: &mut UnixStream, answer: &Answer) -> std::io::Result<()> {
    stream.write_all(&frame(answer)).await
}

/// Runs `work` and reports events to the client meanwhile. If the client disconnects, the work still runs to completion.
async fn with_events(
    supervisor: &Arc<Supervisor>,
    stream: &mut UnixStream,
    work: impl Future<Output = Result<Answer, Failure>> + Send + 'static,
) -> Result<Answer, Failure> {
    let mut events = supervisor.events.listen();
    let mut work = tokio::spawn(work);
    loop {
        let event = tokio::select! {
            biased;
            event = events.recv() => event,
            done = &mut work => {
                return done.unwrap_or_else(|why| Err(Failure::new(Kind::Internal, why.to_string())));
            }
        };
        // Lagging behind loses events, never the result.
        if let Ok(stamped) = event
            && answer(stream, &Answer::Event(stamped.event)).await.is_err()
        {
            // The client has disconnected; finish the work.
            return work.await.unwrap_or_else(|why| Err(Failure::new(Kind::Internal, why.to_string())));
        }
    }
}

/// Reports events to a watcher until it disconnects.
async fn watch(supervisor: &Arc<Supervisor>, mut stream: UnixStream) {
    let (kept, mut events) = supervisor.events.watch();
    let mut told = answer(&mut stream, &Answer::Status(supervisor.status())).await;
    for stamped in kept {
        told = told.and(answer(&mut stream, &Answer::Watched(stamped)).await);
    }
    let mut word = [0; 1];
    while told.is_ok() {
        told = tokio::select! {
            event = events.recv() => match event {
                Ok(stamped) => match answer(&mut stream, &Answer::Watched(stamped)).await {
                    // What the event changed, and what it does not mention: ports, process ids.
                    Ok(()) => answer(&mut stream, &Answer::Status(supervisor.status())).await,
                    gone => gone,
                },
                // The status includes whatever was lost.
                Err(RecvError::Lagged(_)) => answer(&mut stream, &Answer::Status(supervisor.status())).await,
                Err(RecvError::Closed) => break,
            },
            // A watcher sends nothing more: a read returns when it disconnects.
            _ = stream.read(&mut word) => break,
        };
    }
}

async fn done(work: impl Future<Output = Result<(), Failure>>) -> Result<Answer, Failure> {
    work.await.map(|()| Answer::Done)
}

async fn up_nodes(supervisor: Arc<Supervisor>, up: Up) -> Result<(), Failure> {
    up.record.save(&supervisor.home)?;
    *lock(&supervisor.record) = Arc::new(up.record.clone());
    *lock(&supervisor.accel) = Some(up.accel);
    supervisor.switch.rename(&super::names(&up.record)).await;
    ports::publish_all(&supervisor, &up.nodes).await?;
    let up = Arc::new(up);
    let mut starts = JoinSet::new();
    for name in up.nodes.clone() {
        let (slot, supervisor, up) = (supervisor.slot(&name)?, supervisor.clone(), up.clone());
        starts.spawn(async move { slot.start(&supervisor, &up).await });
    }
    gather(starts).await?;
    // The other nodes learn of changed names and addresses as well. One that does not listen learns of them once it does.
    let others: Vec<_> =
        lock(&supervisor.slots).iter().filter(|(name, _)| !up.nodes.contains(name)).map(|(_, slot)| slot.clone()).collect();
    let told = others.iter().map(|slot| slot.tell(&supervisor));
    futures_util::future::join_all(told).await;
    if !up.templates.later.is_empty() {
        tokio::spawn(make_templates(supervisor, up));
    }
    Ok(())
}

/// Makes the templates that the next `up` will fork from. Nothing waits for them; if interrupted, they are made again at some later time.
async fn make_templates(supervisor: Arc<Supervisor>, up: Arc<Up>) {
    for shape in &up.templates.later {
        let each = |event| supervisor.emit(event);
        if let Err(why) = labctl_template::make(&supervisor.root, shape, &each).await {
            tracing::warn!("{why}");
        }
    }
}

async fn halt(supervisor: Arc<Supervisor>, nodes: Vec<NodeName>, force: bool) -> Result<(), Failure> {
    let nodes = match nodes.is_empty() {
        true => supervisor.record().existing().map(|node| node.name.clone()).collect(),
        false => nodes,
    };
    let mut halts = JoinSet::new();
    for name in nodes {
        let (slot, supervisor) = (supervisor.slot(&name)?, supervisor.clone());
        halts.spawn(async move { slot.halt(&supervisor, force).await });
    }
    gather(halts).await
}

async fn go_on(supervisor: Arc<Supervisor>, nodes: Vec<NodeName>) -> Result<(), Failure> {
    let mut resumed = JoinSet::new();
    for name in nodes {
        let (slot, supervisor) = (supervisor.slot(&name)?, supervisor.clone());
        resumed.spawn(async move {
            slot.go_on_with_room(&supervisor).await?;
            slot.answered(&supervisor).await
        });
    }
    gather(resumed).await
}

/// Waits for all tasks and merges all failures into one.
async fn gather(mut tasks: JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    let mut failures: Vec<Failure> = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(Ok(())) => {}
            Ok(Err(why)) => failures.push(why),
            Err(why) => failures.push(Failure::new(Kind::Internal, why.to_string())),
        }
    }
    let Some(first) = failures.first().cloned() else { return Ok(()) };
    let messages: Vec<String> = failures.into_iter().map(|failure| failure.message).collect();
    Err(Failure { message: messages.join("\n"), ..first })
}

async fn agent(supervisor: &Arc<Supervisor>, mut stream: UnixStream, node: &NodeName) {
    let link = match supervisor.slot(node) {
        Ok(slot) => slot.link(supervisor).await.map(|link| (slot, link)),
        Err(why) => Err(why),
    };
    match link {
        Ok((slot, link)) => {
            if answer(&mut stream, &Answer::Open).await.is_ok() {
                tokio::select! {
                    () = relay(link, stream) => {}
                    // Pending requests will never be answered.
                    () = slot.stuck() => {}
                }
            }
        }
        Err(why) => {
            let _ = answer(&mut stream, &Answer::Failed(why)).await;
        }
    }
}

async fn dial(supervisor: &Arc<Supervisor>, mut stream: UnixStream, node: &NodeName, port: u16) {
    let record = supervisor.record();
    let connected = match record.node(node) {
        Ok(found) => supervisor
            .switch
            .dial(SocketAddrV4::new(found.address, port))
            .await
            .map_err(|why| Failure::new(Kind::Machine, format!("{node}: {why}"))),
        Err(why) => Err(why),
    };
    match connected {
        Ok(mut far) => {
            if answer(&mut stream, &Answer::Open).await.is_ok() {
                // Both sides are closed, however it ends.
                let _ = copy_bidirectional(&mut stream, &mut far).await;
            }
        }
        Err(why) => {
            let _ = answer(&mut stream, &Answer::Failed(why)).await;
        }
    }
}

/// Holds the network for as long as the client stays, at most until it sends `Release` or the limit has passed.
async fn hold(supervisor: &Arc<Supervisor>, mut stream: UnixStream, mut unframer: Unframer, limit: Duration) {
    supervisor.switch.hold().await;
    let told = answer(&mut stream, &Answer::Done).await;
    if told.is_ok() {
        // A client that sends nothing in time is treated like one that has disconnected.
        let _ = tokio::time::timeout(limit, read(&mut stream, &mut unframer)).await;
    }
    let held = supervisor.switch.release().await;
    let _ = answer(&mut stream, &Answer::Held(held)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_decoded_is_an_error_and_a_hang_up_is_none() {
        let (mut client, mut server) = UnixStream::pair().unwrap();
        client.write_all(&frame(&"NoSuchCall")).await.unwrap();
        let refused = read(&mut server, &mut Unframer::new()).await.unwrap_err();
        assert!(refused.message.contains("does not understand this call"), "{refused}");
        client.write_all(&frame(&Call::Status)).await.unwrap();
        assert!(matches!(read(&mut server, &mut Unframer::new()).await, Ok(Some(Call::Status))));
        drop(client);
        assert!(matches!(read(&mut server, &mut Unframer::new()).await, Ok(None)));
    }
}
