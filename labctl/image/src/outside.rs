//! How the store reaches the outside: by the lab's proxy, else by what the environment says, and with the lab's certificate authorities
//! besides the host's.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use labctl_spec::lab::{Network, Proxy};
use tempfile::NamedTempFile;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

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
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("labctl/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = &self.proxy {
            let of_scheme = if url.starts_with("https:") { &proxy.https } else { &proxy.http };
            let used = of_scheme.as_ref().filter(|_| !is_direct(url, &proxy.no_proxy));
            // The address was checked when the lab file was read.
            config = config.proxy(used.and_then(|proxy| ureq::Proxy::new(proxy.secret()).ok()));
        }
        if !self.authorities.is_empty() {
            config = config.tls_config(TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(self.roots()))).build());
        }
        config.build().new_agent()
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
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).split(':').next().unwrap_or_default();
    no_proxy.iter().any(|entry| {
        let domain = entry.trim_start_matches('.');
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

    #[test]
    fn downloads_go_through_the_labs_proxy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let outside = outside(listener.local_addr().unwrap().port());
        let proxy = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            // ureq opens a tunnel for every scheme.
            ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"].map(|answer| {
                let lines: Vec<String> = (&mut reader).lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
                stream.write_all(answer.as_bytes()).unwrap();
                lines
            })
        });
        let mut answer = outside.agent("http://example.test/x").get("http://example.test/x").call().unwrap();
        assert_eq!(answer.body_mut().read_to_string().unwrap(), "hi");
        let [tunnel, request] = proxy.join().unwrap();
        assert!(tunnel[0].starts_with("CONNECT example.test:80 ") && request[0].starts_with("GET /x "), "{tunnel:?} {request:?}");
        assert!(tunnel.iter().any(|line| line.to_lowercase().starts_with("proxy-authorization: basic ")), "{tunnel:?}");
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
    fn listed_hosts_are_reached_directly() {
        let list = [".corp.test".to_owned(), "single".to_owned()];
        for (url, direct) in [
            ("http://a.corp.test/x", true),
            ("https://corp.test:8443", true),
            ("http://u@single/", true),
            ("http://xcorp.test/", false),
            ("http://other/a.corp.test", false),
        ] {
            assert_eq!(is_direct(url, &list), direct, "{url}");
        }
    }
}
