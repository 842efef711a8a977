//! The proxy, for everything that starts in the guest: login sessions and cron by /etc/environment (pam_env(8)), services by systemd's
//! default environment, apt by its own configuration. What the agent starts itself gets it from [`super::environment`].

use std::fs;
use std::io;
use std::path::Path;

use labctl_wire::{Identity, Proxy};

use super::files::{replace, with_block};

const ENVIRONMENT: &str = "etc/environment";
const SYSTEMD: &str = "etc/systemd/system.conf.d/50-labctl-proxy.conf";
const APT: &str = "etc/apt/apt.conf.d/95labctl-proxy";

/// Writes the files below `root`. A guest that neither has nor had a proxy is left alone, so that forks touch nothing.
pub(super) fn write(root: &Path, before: Option<&Identity>, now: &Identity) -> io::Result<()> {
    let proxy = now.proxy.as_ref();
    if proxy.is_none() && before.is_none_or(|before| before.proxy.is_none()) {
        return Ok(());
    }
    let path = root.join(ENVIRONMENT);
    let text = fs::read_to_string(&path).unwrap_or_default();
    replace(&path, with_block(&text, &session(proxy)).as_bytes(), 0o644)?;
    whole(root, SYSTEMD, proxy.map(defaults))?;
    if root.join("etc/apt").is_dir() {
        whole(root, APT, proxy.map(apt))?;
    }
    Ok(())
}

/// Writes a file that is all ours, or removes it.
fn whole(root: &Path, file: &str, text: Option<String>) -> io::Result<()> {
    let path = root.join(file);
    match text {
        Some(text) => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            replace(&path, text.as_bytes(), 0o644)
        }
        None => match fs::remove_file(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
            _ => Ok(()),
        },
    }
}

fn session(proxy: Option<&Proxy>) -> Vec<String> {
    let all = proxy.map(Proxy::environment).unwrap_or_default();
    all.into_iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect()
}

/// systemd expands `%` (systemd-system.conf(5), `DefaultEnvironment=`).
fn defaults(proxy: &Proxy) -> String {
    let all: Vec<String> =
        proxy.environment().into_iter().map(|(name, value)| format!("\"{name}={}\"", value.replace('%', "%%"))).collect();
    format!("[Manager]\nDefaultEnvironment={}\n", all.join(" "))
}

/// apt reads `no_proxy` only from the environment, and applies it to these as well.
fn apt(proxy: &Proxy) -> String {
    let all = [("http", &proxy.http), ("https", &proxy.https)].into_iter().filter(|(_, url)| !url.is_empty());
    all.map(|(scheme, url)| format!("Acquire::{scheme}::Proxy \"{url}\";\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_comes_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("etc/apt/apt.conf.d")).unwrap();
        fs::write(root.join(ENVIRONMENT), "LANG=C\n").unwrap();
        let none = Identity::default();
        write(root, None, &none).unwrap();
        assert_eq!(fs::read_to_string(root.join(ENVIRONMENT)).unwrap(), "LANG=C\n", "untouched");
        let proxy = Proxy { http: "http://u:a%23b@p:1".into(), https: String::new(), no_proxy: ".demo,::1".into() };
        let with = Identity { proxy: Some(proxy), ..none.clone() };
        write(root, Some(&none), &with).unwrap();
        assert_eq!(
            fs::read_to_string(root.join(ENVIRONMENT)).unwrap(),
            "LANG=C\n# labctl begin\nhttp_proxy=\"http://u:a%23b@p:1\"\nHTTP_PROXY=\"http://u:a%23b@p:1\"\nno_proxy=\".demo,::1\"\n\
             NO_PROXY=\".demo,::1\"\n# labctl end\n"
        );
        let systemd = fs::read_to_string(root.join(SYSTEMD)).unwrap();
        assert!(systemd.starts_with("[Manager]\nDefaultEnvironment=\"http_proxy=http://u:a%%23b@p:1\" "), "{systemd}");
        assert_eq!(fs::read_to_string(root.join(APT)).unwrap(), "Acquire::http::Proxy \"http://u:a%23b@p:1\";\n");
        write(root, Some(&with), &none).unwrap();
        assert_eq!(fs::read_to_string(root.join(ENVIRONMENT)).unwrap(), "LANG=C\n# labctl begin\n# labctl end\n");
        assert!(!root.join(SYSTEMD).exists() && !root.join(APT).exists());
    }
}
