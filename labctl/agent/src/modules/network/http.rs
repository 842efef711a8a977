//! HTTP for modules such as `get_url` and `uri`. TLS trusts the guest's own certificates (`/etc/ssl/certs`).

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use ureq::http;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy};

use crate::modules::call::outcome::{Attempt, Fault};
use crate::modules::call::task::Task;

/// Where distributions keep the certificate bundle.
const BUNDLES: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Maximum number of redirections to follow (Python's urllib has 10 too).
const REDIRECTS: u32 = 10;

/// A request as described by a task.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) timeout: Duration,
    pub(crate) redirects: bool,
    pub(crate) verify: bool,
    proxy: Option<String>,
    bundle: Option<std::path::PathBuf>,
}

/// The response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The reason phrase of the status line.
    pub(crate) reason: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The URL after all redirections.
    pub(crate) url: String,
    body: ureq::Body,
}

impl Request {
    /// A GET with the task's timeout, headers, user and proxies.
    pub(crate) fn get(task: &Task<'_>, url: &str) -> Self {
        let args = &task.args;
        let env = |name: &str| {
            let lower = task.call.environment.get(name);
            lower.or_else(|| task.call.environment.get(&name.to_uppercase())).cloned()
        };
        let scheme = if url.starts_with("https:") { "https_proxy" } else { "http_proxy" };
        let use_proxy = args.maybe("use_proxy").unwrap_or(true) && !direct(url, env("no_proxy").as_deref());
        let mut headers = Vec::new();
        if let Some(given) = args.dict("headers") {
            headers.extend(given.iter().map(|(key, value)| (key.clone(), crate::modules::call::arguments::as_text(value))));
        }
        if let Some(user) = args.filled("url_username") {
            let pair = format!("{user}:{}", args.str("url_password"));
            headers.push(("Authorization".into(), format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))));
        }
        let agent = args.filled("http_agent").unwrap_or("ansible-httpget");
        headers.push(("User-Agent".into(), agent.to_owned()));
        let bundle = args.filled("ca_path").map(std::path::PathBuf::from);
        let bundle = bundle.or_else(|| BUNDLES.iter().map(|path| task.root.join(path)).find(|path| path.is_file()));
        Self {
            method: "GET".into(),
            url: url.to_owned(),
            headers,
            body: None,
            timeout: Duration::from_secs(args.int("timeout").unwrap_or(30).max(1) as u64),
            redirects: true,
            verify: args.maybe("validate_certs").unwrap_or(true),
            proxy: env(scheme).filter(|_| use_proxy),
            bundle,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn roots(&self) -> RootCerts {
        let Some(pem) = self.bundle.as_ref().and_then(|path| std::fs::read(path).ok()) else {
            return RootCerts::WebPki;
        };
        let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if certificates.is_empty() { RootCerts::WebPki } else { RootCerts::Specific(Arc::new(certificates)) }
    }

    /// Sends the request. A response with any status is a result, not a fault.
    pub(crate) fn send(&self) -> Result<Response, Fault> {
        let fault = |why: String| Fault::from(format!("Request failed: {why}")).with("url", self.url.as_str()).with("status", -1);
        let tls = match self.url.starts_with("https:") {
            true => TlsConfig::builder().root_certs(self.roots()).disable_verification(!self.verify).build(),
            false => TlsConfig::default(),
        };
        let proxy = self.proxy.as_deref().map(Proxy::new).transpose();
        let proxy = proxy.map_err(|err| fault(format!("proxy: {err}")))?;
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(if self.redirects { REDIRECTS } else { 0 })
            .max_redirects_will_error(false)
            .timeout_connect(Some(self.timeout))
            .timeout_recv_response(Some(self.timeout))
            .timeout_per_read(Some(self.timeout))
            .save_redirect_history(true)
            .tls_config(tls)
            .proxy(proxy)
            .user_agent("")
            .build()
            .into();
        let mut request = http::Request::builder().method(self.method.as_str()).uri(&self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = match &self.body {
            Some(body) => agent.run(request.body(&body[..]).map_err(|err| fault(err.to_string()))?),
            None => agent.run(request.body(()).map_err(|err| fault(err.to_string()))?),
        };
        let answer = answer.map_err(|err| fault(err.to_string()))?;
        use ureq::ResponseExt;
        let url = answer.get_uri().to_string();
        let (parts, body) = answer.into_parts();
        let headers =
            parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        Ok(Response {
            status: parts.status.as_u16(),
            reason: parts.status.canonical_reason().unwrap_or_default().to_owned(),
            headers: headers.collect(),
            url,
            body,
        })
    }

    /// Downloads into a new file at `path`; anything but success is a fault and leaves no file behind.
    pub(crate) fn save(&self, path: &Path) -> Result<Response, Fault> {
        let mut response = self.send()?;
        if response.status == 304 {
            return Ok(response);
        }
        if !(200..300).contains(&response.status) {
            let msg = format!("HTTP Error {}: {}", response.status, response.reason);
            return Err(Fault::from(format!("Request failed: {msg}"))
                .with("status_code", response.status)
                .with("response", msg)
                .with("url", self.url.as_str()));
        }
        response.save(path).attempt("save", path).inspect_err(|_| {
            let _ = std::fs::remove_file(path);
        })?;
        Ok(response)
    }
}

/// Whether `no_proxy` names the URL's host.
fn direct(url: &str, no_proxy: Option<&str>) -> bool {
    let host = url.split("://").nth(1).unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
    no_proxy.is_some_and(|list| {
        crate::modules::text::comma_list(list)
            .iter()
            .any(|suffix| suffix == "*" || host == suffix || host.ends_with(&format!(".{}", suffix.trim_start_matches('.'))))
    })
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn save(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::create(path)?;
        let mut reader = self.body.as_reader();
        io::copy(&mut reader, &mut file)?;
        file.flush()
    }

    /// The body, up to 64 MiB of it.
    pub(crate) fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.body.as_reader().take(64 << 20).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
