//! Forwards queries to the host's name servers.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{Names, failure};

/// Timeout for one name server. Two of them fit into a resolver's usual five seconds (resolv.conf(5), `timeout`).
const PATIENCE: Duration = Duration::from_millis(2000);

/// Limit on name servers that are tried (resolv.conf(5), `MAXNS`).
const MOST_SERVERS: usize = 3;

/// File that lists the host's name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

impl Names {
    /// Tries the host's name servers in turn; returns a failure response if none of them answers, `None` if `question`
    /// is not a DNS message.
    pub(crate) async fn forward(&self, question: &[u8]) -> Option<Vec<u8>> {
        self.ask_all(question, Transport::Udp).await
    }

    /// The same over TCP, for responses that do not fit in a datagram.
    pub(super) async fn forward_stream(&self, question: &[u8]) -> Option<Vec<u8>> {
        self.ask_all(question, Transport::Tcp).await
    }

    async fn ask_all(&self, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
        // Too many concurrent queries: the guest's resolver will retry.
        let Ok(_permit) = self.forwards.try_acquire() else { return failure(question) };
        for server in self.servers().await.into_iter().take(MOST_SERVERS) {
            let asked = async {
                match transport {
                    Transport::Udp => ask_udp(server, question).await,
                    Transport::Tcp => ask_tcp(server, question).await,
                }
            };
            match timeout(PATIENCE, asked).await {
                Ok(Ok(reply)) => return Some(reply),
                Ok(Err(error)) => tracing::debug!(%server, %error, "name server failed"),
                Err(_) => tracing::debug!(%server, "name server did not answer"),
            }
        }
        failure(question)
    }

    /// The name servers. Read again each time, because laptops change networks.
    async fn servers(&self) -> Vec<SocketAddr> {
        if !self.upstream.is_empty() {
            return self.upstream.clone();
        }
        tokio::fs::read_to_string(RESOLV_CONF).await.map(|text| parse_servers(&text)).unwrap_or_default()
    }
}

enum Transport {
    Udp,
    Tcp,
}

/// The `nameserver` lines of a resolv.conf(5).
fn parse_servers(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(|word| word.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

async fn ask_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Each query has its own port, chosen by the kernel, and its own id, so that responses are hard to forge (RFC
    // 5452).
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let (ours, theirs) = exchange_id(question)?;
    socket.send(&ours).await?;
    let mut buffer = vec![0; 65535];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if length >= 12 && buffer[..2] == ours[..2] {
            buffer.truncate(length);
            buffer[..2].copy_from_slice(&theirs);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    // In one write: some servers want the length and the message in the same segment (RFC 7766, 8).
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

/// The query with a new id, and its original id.
fn exchange_id(question: &[u8]) -> io::Result<(Vec<u8>, [u8; 2])> {
    let [high, low, ..] = *question else { return Err(io::ErrorKind::InvalidData.into()) };
    let [first, second, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
    let mut ours = question.to_vec();
    ours[..2].copy_from_slice(&[first, second]);
    Ok((ours, [high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_resolv_conf() {
        let text = "# nameserver 9.9.9.9\nsearch home\nnameserver 127.0.0.53\n nameserver\t2001:db8::1 # x\nnameserver fe80::1%eth0\n";
        let servers: Vec<String> = parse_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["127.0.0.53:53", "[2001:db8::1]:53"]);
    }
}
