//! The proxy that this computer's environment names, for a new lab file.

use labctl_spec::proxy::ProxyUrl;

/// What the environment names.
#[derive(Debug, PartialEq, Eq)]
pub struct HostProxy {
    http: Option<ProxyUrl>,
    https: Option<ProxyUrl>,
    no_proxy: Vec<String>,
    /// What the user must know about it.
    pub notes: Vec<String>,
}

/// The proxy named by the environment; `variable` reads one of its variables. Both cases are looked at, the lower one first, as curl does.
pub fn find(variable: impl Fn(&str) -> Option<String>) -> Option<HostProxy> {
    let read = |name: &str| [name.to_owned(), name.to_uppercase()].iter().find_map(|name| variable(name).filter(|value| !value.is_empty()));
    let mut notes = Vec::new();
    let mut url = |name: &str| {
        let text = read(name)?;
        // Without a scheme it is http, as for curl.
        let text = if text.contains("://") { text } else { format!("http://{text}") };
        match ProxyUrl::parse(&text) {
            Ok(url) if url.has_credentials() => {
                notes.push(format!(
                    "${name} contains a user or password, which was not written; add it to `network.proxy` if guests need it"
                ));
                Some(url.without_credentials())
            }
            Ok(url) => Some(url),
            Err((reason, _)) => {
                notes.push(format!("${name} was not written: {reason}"));
                None
            }
        }
    };
    let (http, https) = (url("http_proxy"), url("https_proxy"));
    let usable = |entry: &&str| !entry.is_empty() && !entry.chars().any(|c| c.is_whitespace() || "\"'`\\$#<>".contains(c));
    let no_proxy = read("no_proxy").unwrap_or_default();
    let no_proxy = no_proxy.split(',').map(str::trim).filter(usable).map(str::to_owned).collect();
    (http.is_some() || https.is_some() || !notes.is_empty()).then_some(HostProxy { http, https, no_proxy, notes })
}

impl HostProxy {
    /// A line that says which proxy was taken, if one was.
    pub fn summary(&self) -> Option<String> {
        let urls: Vec<String> = self.http.iter().chain(&self.https).map(ToString::to_string).collect();
        urls.first().map(|first| format!("guests use this computer's proxy, {first}: see `network.proxy` in the file"))
    }

    /// The lab file `text`, whose `network` is a block of its own or a comment, with the proxy in it.
    pub fn add_to(&self, text: &str) -> String {
        if self.http.is_none() && self.https.is_none() {
            return text.to_owned();
        }
        let mut lines = String::from("network:\n  # From this computer's environment when this file was written.\n");
        if [&self.http, &self.https].into_iter().flatten().any(ProxyUrl::is_loopback) {
            lines += "  # The proxy listens on this computer's loopback address, which guests reach only with this, like all other services there.\n";
            lines += "  host_loopback: true\n";
        }
        lines += "  proxy:\n";
        for (key, url) in [("http", &self.http), ("https", &self.https)] {
            if let Some(url) = url {
                lines += &format!("    {key}: \"{}\"\n", url.secret());
            }
        }
        if !self.no_proxy.is_empty() {
            let quoted: Vec<String> = self.no_proxy.iter().map(|entry| format!("\"{entry}\"")).collect();
            lines += &format!("    no_proxy: [{}]\n", quoted.join(", "));
        }
        let begin = ["\nnetwork:\n", "\n#network:\n"].into_iter().find(|begin| text.contains(begin));
        begin.map_or_else(|| format!("{text}\n{lines}"), |begin| text.replacen(begin, &format!("\n{lines}"), 1))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use labctl_spec::{example_lab, parse_lab};

    use super::*;

    fn found(variables: &[(&str, &str)]) -> Option<HostProxy> {
        find(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_new_lab_has_the_hosts_proxy() {
        assert_eq!(found(&[("no_proxy", "x")]), None);
        let proxy =
            found(&[("HTTP_PROXY", "proxy:3128"), ("https_proxy", "http://127.0.0.1:3129/"), ("NO_PROXY", "localhost, .corp,,a b")])
                .unwrap();
        assert_eq!(proxy.notes, Vec::<String>::new());
        let text = proxy.add_to(&example_lab(&"web".parse().unwrap()));
        let network = parse_lab(&text, Path::new("/nowhere/lab.yml")).unwrap().network;
        let parsed = network.proxy.unwrap();
        assert_eq!(parsed.http.unwrap().secret(), "http://proxy:3128");
        assert_eq!(parsed.https.unwrap().secret(), "http://127.0.0.1:3129");
        assert_eq!(parsed.no_proxy, ["localhost", ".corp"]);
        assert!(network.host_loopback);
        let demo = "name: demo\n\nnetwork:\n  domain: demo\nnodes: [{name: a}]\n";
        let network = parse_lab(&proxy.add_to(demo), Path::new("/nowhere/lab.yml")).unwrap().network;
        assert!(network.proxy.is_some() && network.domain == "demo");
    }

    #[test]
    fn passwords_are_left_out_and_told() {
        let proxy = found(&[("http_proxy", "http://user:secret@proxy:3128"), ("https_proxy", "socks5://u:secret@x")]).unwrap();
        assert_eq!(proxy.notes.len(), 2);
        let text = proxy.add_to("name: t\n#network:\n");
        assert!(text.contains("http: \"http://proxy:3128\"") && !format!("{text} {proxy:?}").contains("secret"), "{text} {proxy:?}");
        let only_wrong = found(&[("http_proxy", "socks5://x")]).unwrap();
        assert_eq!((only_wrong.add_to("x"), only_wrong.summary()), ("x".to_owned(), None));
    }
}
