//! How the store reaches the outside: by the lab's proxy, else by what the environment says, and with the lab's certificate authorities
//! besides the host's.

mod forward;

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use forward::ForwardConnector;
use labctl_spec::lab::{Network, Proxy};
use tempfile::NamedTempFile;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, RustlsConnector, TcpConnector};

/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// Where distributions keep the certificates that the host trusts.
const BUNDLES: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The way to the outside. The default is what the environment says.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    proxy: Option<Proxy>,
    /// Certificates of the lab's authorities, in PEM.
    authorities: String,
}

impl Outside {
    /// The way that a lab's file describes.
    pub fn of(network: &Network) -> Self {
        Self { proxy: network.proxy.clone(), authorities: network.ca.iter().map(|ca| format!("{}\n", ca.pem.trim_end())).collect() }
    }

    /// An HTTP client for an address; it never waits forever.
    pub(crate) fn agent(&self, url: &str) -> ureq::Agent {
        let tls = match self.authorities.is_empty() {
            true => TlsConfig::default(),
            false => TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(self.roots()))).build(),
        };
        let config = |proxy| {
            ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_connect(Some(SILENCE))
                .timeout_recv_response(Some(SILENCE))
                .timeout_per_read(Some(SILENCE))
                .user_agent(concat!("labctl/", env!("CARGO_PKG_VERSION")))
                .tls_config(tls.clone())
                .proxy(proxy)
                .build()
        };
        let connector = ForwardConnector::new(config(None))
            .chain(ConnectProxyConnector::default())
            .chain(TcpConnector::default())
            .chain(RustlsConnector::default());
        let proxy = self.proxy_for(url, |name| std::env::var(name).ok());
        ureq::Agent::with_parts(config(proxy), connector, DefaultResolver::default())
    }

    /// The proxy for an address: the lab's, else the environment's; `variable` reads one of its variables. An address of a proxy that means
    /// nothing to us is ignored, if it is the environment's; the lab's was checked when its file was read.
    fn proxy_for(&self, url: &str, variable: impl Fn(&str) -> Option<String>) -> Option<ureq::Proxy> {
        let scheme = if url.starts_with("https:") { "https" } else { "http" };
        let (address, no_proxy) = match &self.proxy {
            Some(proxy) => {
                let of_scheme = if scheme == "https" { &proxy.https } else { &proxy.http };
                (of_scheme.as_ref().map(|proxy| proxy.secret().to_owned()), proxy.no_proxy.clone())
            }
            None => {
                // In both cases, the lower one first, as curl does.
                let read = |name: &str| {
                    [name.to_owned(), name.to_uppercase()].iter().find_map(|name| variable(name).filter(|text| !text.is_empty()))
                };
                let list = read("no_proxy").unwrap_or_default();
                let list = list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
                (read(&format!("{scheme}_proxy")).or_else(|| read("all_proxy")), list)
            }
        };
        address.filter(|_| !is_direct(url, &no_proxy)).and_then(|address| ureq::Proxy::new(&address).ok())
    }

    fn roots(&self) -> Vec<Certificate<'static>> {
        let certificate = |item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        };
        parse_pem(self.bundle().as_bytes()).filter_map(certificate).collect()
    }

    /// The host's certificates and the lab's.
    fn bundle(&self) -> String {
        let host = BUNDLES.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        format!("{host}\n{}", self.authorities)
    }

    /// Whether a proxy is named; the environment's and apt's then do not count.
    pub(crate) fn has_proxy(&self) -> bool {
        self.proxy.is_some()
    }

    /// Lets a program use this way. The result must be kept until it has ended.
    pub(crate) fn lead(&self, command: &mut Command) -> std::io::Result<Option<NamedTempFile>> {
        if let Some(proxy) = &self.proxy {
            let no_proxy = proxy.no_proxy.join(",");
            let url = |url: &Option<labctl_spec::proxy::ProxyUrl>| url.as_ref().map(|url| url.secret().to_owned());
            // In the environment, where other users do not see a password, unlike on a command line.
            for (name, value) in [("http_proxy", url(&proxy.http)), ("https_proxy", url(&proxy.https)), ("no_proxy", Some(no_proxy))] {
                let upper = name.to_uppercase();
                match value.filter(|value| !value.is_empty()) {
                    Some(value) => command.env(name, &value).env(upper, value),
                    None => command.env_remove(name).env_remove(upper),
                };
            }
            command.env_remove("all_proxy").env_remove("ALL_PROXY");
        }
        if self.authorities.is_empty() {
            return Ok(None);
        }
        let mut file = NamedTempFile::with_prefix("labctl-ca-")?;
        file.write_all(self.bundle().as_bytes())?;
        // Certificates are no secret, and the program may become another user: apt does, and in a namespace mmdebstrap is one.
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        // Go's, OpenSSL's and curl's names for it; and cargo's.
        for name in ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "CARGO_HTTP_CAINFO"] {
            command.env(name, file.path());
        }
        Ok(Some(file))
    }
}

/// Whether a host is reached without the proxy: it or a domain that it is in is listed.
fn is_direct(url: &str, no_proxy: &[String]) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    // An IPv6 address is in brackets (RFC 3986, 3.2.2).
    let host = match place.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => place.split(':').next(),
    };
    let host = host.unwrap_or_default().to_ascii_lowercase();
    no_proxy.iter().any(|entry| {
        let domain = entry.trim_start_matches('.').to_ascii_lowercase();
        entry == "*" || host == domain || host.ends_with(&format!(".{domain}"))
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use super::*;

    fn outside(port: u16) -> Outside {
        let text = format!(
            "name: t\nnetwork: {{host_loopback: true, proxy: {{http: 'http://u:secret@127.0.0.1:{port}', no_proxy: [.direct.test]}}}}\nnodes: [{{name: a}}]\n"
        );
        Outside::of(&labctl_spec::parse_lab(&text, "/nowhere/lab.yml".as_ref()).unwrap().network)
    }

    /// A proxy that answers one connection with these answers, one for each request. Returns the lines of the requests.
    fn proxy(answers: &'static [&'static str]) -> (u16, std::thread::JoinHandle<Vec<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let requests = answers.iter().map(|answer| {
                let lines: Vec<String> = (&mut reader).lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
                stream.write_all(answer.as_bytes()).unwrap();
                lines
            });
            requests.collect()
        });
        (port, proxy)
    }

    #[test]
    fn downloads_go_through_the_labs_proxy() {
        let (port, proxy) = proxy(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyou"]);
        let agent = outside(port).agent("http://example.test/x");
        let get = |url: &str| agent.get(url).call().unwrap().body_mut().read_to_string().unwrap();
        assert_eq!((get("http://example.test/x?y=1"), get("http://example.test/")), ("hi".into(), "you".into()));
        let requests = proxy.join().unwrap();
        for (request, line) in requests.iter().zip(["GET http://example.test/x?y=1 HTTP/1.1", "GET http://example.test/ HTTP/1.1"]) {
            assert_eq!(request[0], line);
            assert!(request.contains(&"Proxy-Authorization: Basic dTpzZWNyZXQ=".to_owned()), "{request:?}");
            assert!(request.iter().any(|line| line.eq_ignore_ascii_case("host: example.test")), "{request:?}");
        }
    }

    #[test]
    fn what_is_encrypted_goes_through_a_tunnel() {
        let (port, proxy) = proxy(&["HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"]);
        let address = format!("http://127.0.0.1:{port}");
        let text = format!("name: t\nnetwork: {{host_loopback: true, proxy: {{https: '{address}'}}}}\nnodes: [{{name: a}}]\n");
        let outside = Outside::of(&labctl_spec::parse_lab(&text, "/nowhere/lab.yml".as_ref()).unwrap().network);
        assert!(outside.agent("https://example.test/x").get("https://example.test/x").call().is_err());
        assert!(proxy.join().unwrap()[0][0].starts_with("CONNECT example.test:443 "));
    }

    #[test]
    fn the_environments_proxy_depends_on_the_scheme() {
        let environment = |name: &str| match name {
            "http_proxy" => Some("http://plain:1".to_owned()),
            "HTTP_PROXY" => Some("http://never:1".to_owned()),
            "HTTPS_PROXY" => Some("http://u:p%23@secure:2".to_owned()),
            "NO_PROXY" => Some(" .corp.test, ".to_owned()),
            _ => None,
        };
        let host = |url: &str| Outside::default().proxy_for(url, environment).map(|proxy| proxy.host().to_owned());
        assert_eq!(host("http://example.test/"), Some("plain".into()));
        assert_eq!(host("https://example.test/"), Some("secure".into()));
        assert_eq!((host("https://a.corp.test/"), host("http://corp.test/")), (None, None));
        let of_all = |name: &str| (name == "ALL_PROXY").then(|| "http://all:3".to_owned());
        assert_eq!(Outside::default().proxy_for("http://x.test/", of_all).unwrap().host(), "all");
        assert!(Outside::default().proxy_for("http://x.test/", |_| None).is_none());
        assert!(outside(1).proxy_for("https://x.test/", environment).is_none(), "the lab's file decides alone");
    }

    #[test]
    fn programs_get_it_in_their_environment_only() {
        let mut command = Command::new("x");
        assert!(outside(3128).lead(&mut command).unwrap().is_none());
        let of = |name: &str| command.get_envs().find(|(key, _)| *key == name).map(|(_, value)| value.map(|value| value.to_str().unwrap()));
        assert_eq!(of("http_proxy"), Some(Some("http://u:secret@127.0.0.1:3128")));
        assert_eq!((of("HTTPS_PROXY"), of("NO_PROXY")), (Some(None), Some(Some(".direct.test"))));
        let mut untouched = Command::new("x");
        Outside::default().lead(&mut untouched).unwrap();
        assert_eq!(untouched.get_envs().count(), 0, "the host's own environment counts");
    }

    #[test]
    fn certificates_can_be_read_by_the_user_that_a_program_becomes() {
        let mut command = Command::new("x");
        let file = Outside { proxy: None, authorities: "PEM\n".into() }.lead(&mut command).unwrap().unwrap();
        assert_eq!(file.as_file().metadata().unwrap().permissions().mode() & 0o777, 0o644);
        assert!(fs::read_to_string(file.path()).unwrap().ends_with("PEM\n"));
        assert!(command.get_envs().any(|(name, value)| name == "SSL_CERT_FILE" && value == Some(file.path().as_os_str())));
    }

    #[test]
    fn listed_hosts_are_reached_directly() {
        let list = [".Corp.test".to_owned(), "single".to_owned(), "fd00::7".to_owned()];
        for (url, direct) in [
            ("http://a.corp.test/x", true),
            ("https://corp.test:8443", true),
            ("http://u@SINGLE/", true),
            ("http://[fd00::7]:80/x", true),
            ("http://[fd00::8]/", false),
            ("http://xcorp.test/", false),
            ("http://other/a.corp.test", false),
        ] {
            assert_eq!(is_direct(url, &list), direct, "{url}");
        }
    }
}
