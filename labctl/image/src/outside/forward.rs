//! Requests for `http://` addresses through an HTTP proxy, in the form that proxies expect: with the whole address in the request line
//! (RFC 9112, 3.2.2). ureq opens a tunnel instead, which many proxies refuse for any port but 443.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::config::Config;
use ureq::http::uri::Scheme;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Proxy};

/// Connects to the proxy for `http://` addresses. Leaves all others to the connectors after it.
#[derive(Debug)]
pub(super) struct ForwardConnector {
    /// How the proxy itself is reached.
    direct: Config,
}

impl ForwardConnector {
    /// `direct`: a configuration without a proxy.
    pub(super) fn new(direct: Config) -> Self {
        Self { direct }
    }
}

impl Connector for ForwardConnector {
    type Out = Box<dyn Transport>;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Self::Out>, Error> {
        let (Some(proxy), Some(authority)) = (details.config.proxy(), details.uri.authority()) else { return Ok(None) };
        if details.uri.scheme() != Some(&Scheme::HTTP) || !["http", "https"].contains(&proxy.uri().scheme_str().unwrap_or_default()) {
            return Ok(None);
        }
        let to_proxy = ConnectionDetails {
            uri: proxy.uri(),
            addrs: details.resolver.resolve(proxy.uri(), &self.direct, details.timeout)?,
            config: &self.direct,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::clone(&details.run_connector),
            register_shutdown: Arc::clone(&details.register_shutdown),
        };
        let inner = (details.run_connector)(&to_proxy)?;
        Ok(Some(Box::new(Forward { inner, host: authority.to_string(), credentials: credentials(proxy), at_head: true })))
    }
}

fn credentials(proxy: &Proxy) -> String {
    match (proxy.username(), proxy.password()) {
        (None, None) => String::new(),
        (user, password) => {
            let word = BASE64_STANDARD.encode(format!("{}:{}", user.unwrap_or_default(), password.unwrap_or_default()));
            format!("Proxy-Authorization: Basic {word}\r\n")
        }
    }
}

/// A connection to the proxy for requests to one host, none of which has a body.
struct Forward {
    inner: Box<dyn Transport>,
    host: String,
    /// A header line, or nothing.
    credentials: String,
    /// The next bytes begin a request.
    at_head: bool,
}

/// Without the password.
impl std::fmt::Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forward").field("inner", &self.inner).field("host", &self.host).finish_non_exhaustive()
    }
}

impl Transport for Forward {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.inner.buffers().output();
        let begins = std::mem::replace(&mut self.at_head, output[..amount].ends_with(b"\r\n\r\n"));
        if !begins {
            return self.inner.transmit_output(amount, timeout);
        }
        let whole = with_whole_address(&output[..amount], &self.host, &self.credentials);
        let Some(room) = output.get_mut(..whole.len()) else {
            return Err(Error::Io(std::io::Error::other("the request is too long for a proxy")));
        };
        room.copy_from_slice(&whole);
        self.inner.transmit_output(whole.len(), timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// The beginning of a request, `GET /path HTTP/1.1\r\n...`, as a proxy wants it.
fn with_whole_address(request: &[u8], host: &str, credentials: &str) -> Vec<u8> {
    let target = request.iter().position(|byte| *byte == b' ').map_or(request.len(), |space| space + 1);
    let line = request.windows(2).position(|two| two == b"\r\n").map_or(request.len(), |end| end + 2);
    let address = format!("http://{host}");
    [&request[..target], address.as_bytes(), &request[target..line], credentials.as_bytes(), &request[line..]].concat()
}
