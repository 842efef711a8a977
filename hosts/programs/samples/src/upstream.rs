//! Other services that this one asks: their instances stand in a file, one `ADDRESS:PORT` a line, that Nomad renders from Consul's catalogue
//! whenever they move (`template` in the job). It is read at each request, so no signal and no restart is needed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::client;

/// How long an instance may be silent before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// The instances of a service.
#[derive(Debug)]
pub struct Upstream {
    file: PathBuf,
    turn: AtomicUsize,
}

impl Upstream {
    /// Those in a file, which may not exist yet.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), turn: AtomicUsize::new(0) }
    }

    /// All instances that are known now.
    pub fn instances(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
    }

    /// The answer of the first instance that answers, in turn; none if there is no such instance. Instances that have just gone are passed over.
    pub fn ask(&self, path: &str) -> Option<String> {
        let instances = self.instances();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..instances.len()).find_map(|step| client::get(&instances[(first + step) % instances.len()], path, PATIENCE).ok())
    }

    /// What each instance answers; none for those that do not.
    pub fn ask_all(&self, path: &str) -> Vec<(String, Option<String>)> {
        let ask = |instance: String| {
            let answer = client::get(&instance, path, PATIENCE).ok();
            (instance, answer)
        };
        self.instances().into_iter().map(ask).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Response;
    use crate::server::{Server, Service};

    #[test]
    fn an_instance_that_has_gone_is_passed_over() {
        let service = |_| -> Service { Box::new(|_| Response::text("here")) };
        let server = Server::bind("127.0.0.1:0", service).unwrap();
        let (address, handle) = (server.address(), server.handle());
        let running = std::thread::spawn(move || server.run());
        // A port that nobody listens on: bound once, and free again.
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = std::env::temp_dir().join(format!("samples-upstream-{}", std::process::id()));
        std::fs::write(&file, format!("# two\n{gone}\n\n{address}\n")).unwrap();
        let upstream = Upstream::new(&file);
        assert_eq!(upstream.instances(), [gone.to_string(), address.to_string()]);
        for _ in 0..3 {
            assert_eq!(upstream.ask("/").as_deref(), Some("here"));
        }
        assert_eq!(upstream.ask_all("/"), [(gone.to_string(), None), (address.to_string(), Some("here".to_owned()))]);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(upstream.ask("/"), None, "nothing is known yet");
        handle.stop();
        running.join().unwrap();
    }
}
