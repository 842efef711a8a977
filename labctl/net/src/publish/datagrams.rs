//! A published UDP port. Each client is a flow of its own: the guest sees it as a port of the gateway and answers there.

use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV4};

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, WeakSender};

use super::AFTER_ERROR;
use crate::command::Command;
use crate::flow::exchange::Exchange;

/// Longest UDP payload in bytes.
const LONGEST: usize = 65535;

/// Datagrams that may wait for one client's flow; more are lost, as on any network.
const BACKLOG: usize = 64;

/// Answers of guests that may wait for the socket.
const ANSWERS: usize = 256;

/// Passes datagrams of clients to the guest at `to`, and its answers back. Only this task holds the socket, so that the port is free when
/// the task has ended.
pub(super) async fn serve(socket: UdpSocket, to: SocketAddrV4, commands: WeakSender<Command>) {
    let mut clients: HashMap<SocketAddr, mpsc::Sender<Bytes>> = HashMap::new();
    let (answers_to, mut answers) = mpsc::channel(ANSWERS);
    let mut buffer = vec![0; LONGEST];
    loop {
        tokio::select! {
            // Never closed, because `answers_to` is a sender.
            Some((client, answer)) = answers.recv() => {
                let answer: Bytes = answer;
                if let Err(error) = socket.send_to(&answer, client).await {
                    tracing::debug!(%to, %client, %error, "cannot answer a client of a published port");
                }
            }
            received = socket.recv_from(&mut buffer) => match received {
                Ok((length, client)) => {
                    let datagram = Bytes::copy_from_slice(&buffer[..length]);
                    if let Some(known) = clients.get(&client).filter(|known| !known.is_closed()) {
                        let _ = known.try_send(datagram);
                        continue;
                    }
                    clients.retain(|_, client| !client.is_closed());
                    let (sender, datagrams) = mpsc::channel(BACKLOG);
                    // The channel is empty, so this cannot fail.
                    let _ = sender.try_send(datagram);
                    clients.insert(client, sender);
                    let exchange = Exchange { client, datagrams, answers: answers_to.clone() };
                    let Some(commands) = commands.upgrade() else { return };
                    if commands.send(Command::Exchange { to, exchange }).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%to, %error, "cannot receive on a published port");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            },
        }
    }
}
