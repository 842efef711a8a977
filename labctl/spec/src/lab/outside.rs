//! How guests and image building reach the outside: a proxy, and certificate authorities besides the usual ones.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Authority, Proxy, ProxyFile, files};
use crate::proxy::ProxyUrl;
use crate::report::Report;

const AT: &str = "/network/proxy";

/// Limit on a certificate file in bytes: the whole bundle of a distribution has a quarter of this.
const LARGEST: u64 = 1 << 20;

/// What begins a certificate in PEM (RFC 7468).
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// The proxy, if the file names one.
pub(super) fn proxy(written: Option<&ProxyFile>, host_loopback: bool, report: &mut Report) -> Option<Proxy> {
    let (http, https, no_proxy) = match written? {
        ProxyFile::One(url) => {
            let url = url_at(url, AT, report);
            (url.clone(), url, Vec::new())
        }
        ProxyFile::Each(each) => {
            let mut url = |key: &str, url: &Option<String>| url.as_ref().and_then(|url| url_at(url, &format!("{AT}/{key}"), report));
            let (http, https) = (url("http", &each.http), url("https", &each.https));
            if each.http.is_none() && each.https.is_none() {
                report.add(
                    AT,
                    "no proxy is named",
                    "give `http`, `https` or both; one address for both can stand alone: `proxy: http://HOST:PORT`",
                );
            }
            (http, https, each.no_proxy.clone())
        }
    };
    for (position, entry) in no_proxy.iter().enumerate() {
        if entry.is_empty() || entry.chars().any(|c| c.is_whitespace() || c.is_control() || "\"'`\\$#,<>".contains(c)) {
            let hint = "write one host, one domain such as `.corp.example`, or one subnet in each entry";
            report.add(&format!("{AT}/no_proxy/{position}"), format!("`{entry}` is not a host, domain or subnet"), hint);
        }
    }
    if let Some(url) = [&http, &https].into_iter().flatten().find(|url| url.is_loopback() && !host_loopback) {
        let hint =
            "add `host_loopback: true`, which opens all services on the host's loopback to guests, or give an address that guests reach";
        report.add(AT, format!("guests cannot reach `{url}`, which is this computer's loopback"), hint);
    }
    Some(Proxy { http, https, no_proxy })
}

fn url_at(text: &str, at: &str, report: &mut Report) -> Option<ProxyUrl> {
    ProxyUrl::parse(text).map_err(|(reason, hint)| report.add(at, reason, hint)).ok()
}

/// The certificates of the authorities, read now: a lab needs its file's neighbours only when the file is read.
pub(super) fn authorities(written: &[PathBuf], folder: &Path, report: &mut Report) -> Vec<Authority> {
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for (position, path) in written.iter().enumerate() {
        let at = format!("/network/ca/{position}");
        let file = files::absolute(folder, path);
        let pem = match read(&file, path) {
            Ok(pem) => pem,
            Err((reason, hint)) => {
                report.add(&at, reason, hint);
                continue;
            }
        };
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let plain: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        if !names.insert(plain.clone()) {
            let hint = "the file names become names in the guests, so each must be different; certificates can also stand one after the other in one file";
            report.add(&at, format!("two files are called `{plain}`"), hint);
        }
        all.push(Authority { name: plain, pem });
    }
    all
}

fn read(file: &Path, written: &Path) -> Result<String, (String, String)> {
    if !file.exists() {
        return Err(files::missing(file, written));
    }
    let about =
        std::fs::metadata(file).map_err(|why| (format!("cannot read {}: {why}", file.display()), "correct its permissions".to_owned()))?;
    let hint = || {
        "give a file with certificates in PEM, which begin with `-----BEGIN CERTIFICATE-----`; `openssl x509 -inform der` converts others"
            .to_owned()
    };
    if !about.is_file() || about.len() > LARGEST {
        return Err((format!("{} is not a file with a few certificates", file.display()), hint()));
    }
    let text =
        std::fs::read(file).map_err(|why| (format!("cannot read {}: {why}", file.display()), "correct its permissions".to_owned()))?;
    let text = String::from_utf8_lossy(&text);
    if text.contains("PRIVATE KEY-----") {
        let hint = "a private key must not be given to guests: name a file that contains only certificates";
        return Err((format!("{} contains a private key", file.display()), hint.to_owned()));
    }
    if !text.contains(BEGIN) {
        return Err((format!("{} contains no certificate", file.display()), hint()));
    }
    Ok(text.into_owned())
}
