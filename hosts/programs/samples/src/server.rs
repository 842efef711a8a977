//! Listener, connections and a clean end: a thread for each connection, a bound on their number.
//!
//! `stop` ends the accept loop; requests that are being answered are finished, idle connections are dropped.

use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::http::{Request, Response, read_request, write_response};

/// Connections at a time: a thread's stack each (touched pages only), far more than one proxy opens.
const MOST_CONNECTIONS: usize = 256;
/// How long a client may be silent or slow.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a request that is being answered may hold up the end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Answers requests; called from several threads at once.
pub type Service = Box<dyn Fn(&Request) -> Response + Send + Sync>;

/// A listening server.
pub struct Server {
    listener: TcpListener,
    state: Arc<State>,
}

/// Stops a server from another thread.
pub struct Handle(Arc<State>);

struct State {
    address: SocketAddr,
    service: Service,
    stopping: AtomicBool,
    connections: AtomicUsize,
    /// Requests that are being answered.
    answering: Mutex<usize>,
    answered: Condvar,
}

impl Server {
    /// Listens; the service is made once the address is known, because port 0 means any.
    ///
    /// # Errors
    /// What binding said.
    pub fn bind(listen: &str, service: impl FnOnce(SocketAddr) -> Service) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let state = State {
            address,
            service: service(address),
            stopping: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            answering: Mutex::new(0),
            answered: Condvar::new(),
        };
        Ok(Self { listener, state: Arc::new(state) })
    }

    /// The address with its actual port.
    pub fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// To stop it.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.state))
    }

    /// Serves until it is stopped.
    pub fn run(self) {
        for stream in self.listener.incoming() {
            if self.state.stopping.load(Ordering::SeqCst) {
                break;
            }
            // A connection that died before it was accepted concerns nobody.
            let Ok(stream) = stream else { continue };
            let state = Arc::clone(&self.state);
            if state.connections.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
                state.connections.fetch_sub(1, Ordering::SeqCst);
                refuse(stream);
                continue;
            }
            let spawned = std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
                let _ = serve(stream, &state);
                state.connections.fetch_sub(1, Ordering::SeqCst);
            });
            if spawned.is_err() {
                self.state.connections.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let answering = self.state.answering.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.state.answered.wait_timeout_while(answering, LAST_ANSWERS, |count| *count > 0);
    }
}

impl Handle {
    /// Ends the server's accept loop.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
        // accept(2) waits on; a connection of its own wakes it.
        let mut address = self.0.address;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let _ = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    }
}

fn refuse(mut stream: TcpStream) {
    let busy = Response { status: 503, ..Response::text("too many connections\n") };
    let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
    let _ = write_response(&mut stream, &busy, false, false);
}

fn serve(mut stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(1 << 10, stream.try_clone()?);
    loop {
        let request = match read_request(&mut reader) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let response = Response { status: 400, ..Response::text(&format!("{error}\n")) };
                return write_response(&mut stream, &response, false, false);
            }
            Err(error) => return Err(error),
        };
        let _answering = Answering::begin(state);
        let keep_alive = request.keep_alive && !state.stopping.load(Ordering::SeqCst);
        write_response(&mut stream, &(state.service)(&request), keep_alive, request.method == "HEAD")?;
        if !keep_alive {
            return Ok(());
        }
    }
}

/// Counts a request as being answered for as long as it lives.
struct Answering<'a>(&'a State);

impl<'a> Answering<'a> {
    fn begin(state: &'a State) -> Self {
        *state.answering.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(state)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        *self.0.answering.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.answered.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn start() -> (SocketAddr, Handle, std::thread::JoinHandle<()>) {
        let service = |_| -> Service { Box::new(|request| Response::text(&format!("{}?{}\n", request.path, request.query))) };
        let server = Server::bind("127.0.0.1:0", service).unwrap();
        let (address, handle) = (server.address(), server.handle());
        (address, handle, std::thread::spawn(move || server.run()))
    }

    fn ask(address: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn answers_over_one_connection_and_ends_cleanly() {
        let (address, handle, running) = start();
        let answers = ask(address, "GET /a?n=20 HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answers}");
        assert!(answers.contains("\r\n\r\n/a?n=20\n") && answers.ends_with("\r\n\r\n/health?\n"), "{answers}");

        // An idle connection must not hold up the end.
        let idle = TcpStream::connect(address).unwrap();
        handle.stop();
        running.join().unwrap();
        drop(idle);
        assert!(TcpStream::connect(address).is_err(), "the port must be free again");
    }

    #[test]
    fn nonsense_is_refused_and_the_server_lives_on() {
        let (address, handle, running) = start();
        assert!(ask(address, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
        assert!(ask(address, "GET /health HTTP/1.0\r\n\r\n").ends_with("/health?\n"));
        handle.stop();
        running.join().unwrap();
    }
}
