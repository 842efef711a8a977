//! A vendor's cloud image from the download to the running node. The image is a stand-in made from distribution packages and served on this
//! host; it has a boot loader, cloud-init and nothing from labctl, like the vendors' own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use labctl_tests::{Sandbox, can_boot, repository};
use sha2::{Digest, Sha256};

/// The stand-in, made once and kept beside the tests' other products; none, with a printed reason, if it cannot be made.
fn stand_in() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("LABCTL_CLOUD_IMAGE") {
        return Some(named.into());
    }
    let script = repository().join("labctl/image/tests/make_cloud_image.sh");
    let mut hash = Sha256::new();
    hash.update(std::fs::read(&script).unwrap());
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cloud-{}.qcow2", &hex(&hash.finalize())[..16]));
    if !kept.is_file() {
        let made = Command::new("sh").arg(&script).arg(&kept).output();
        if !made.as_ref().is_ok_and(|output| output.status.success()) {
            labctl_skip::skip!("cloud-image", "no stand-in for a vendor's image can be made here (as root, with mmdebstrap): {made:?}");
            return None;
        }
    }
    Some(kept)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Serves the file; the first response breaks off half-way, later ones start at the requested offset.
fn serve(file: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/cloud.qcow2", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let content = std::fs::read(file).unwrap();
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).to_lowercase();
            let from: usize = request.split("range: bytes=").nth(1).and_then(|range| range.split('-').next()?.parse().ok()).unwrap_or(0);
            let head = match from {
                0 => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", content.len()),
                from => format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\n",
                    content.len() - 1,
                    content.len(),
                    content.len() - from
                ),
            };
            let end = if number == 0 { content.len() / 2 } else { content.len() };
            let _ = stream.write_all(format!("{head}Accept-Ranges: bytes\r\nConnection: close\r\n\r\n").as_bytes());
            let _ = stream.write_all(&content[from.min(end)..end]);
        }
    });
    address
}

#[test]
fn a_vendors_image_is_downloaded_booted_and_rebooted() {
    if !can_boot() {
        return;
    }
    let Some(image) = stand_in() else { return };
    let sum = hex(&Sha256::digest(std::fs::read(&image).unwrap()));
    let sandbox = Sandbox::new();
    // A separate store: the image must be downloaded.
    std::fs::remove_file(sandbox.home().join("store")).unwrap();
    let url = serve(image);
    let image_file = |sum: &str| format!("cloud:\n  url: {url}\n  checksum: sha256:{sum}\n");
    sandbox.write(
        "lab.yml",
        "name: vendor\nimage: foreign\nuser: {name: dev, sudo: true}\nnodes: [{name: c1, hostnames: [c1.vendor.test]}]\n",
    );
    sandbox.write("images/foreign.yml", &image_file(&"0".repeat(64)));
    let (code, said) = sandbox.bad(&["up"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("sha256") && said.contains(&sum), "{said}");
    assert!(sandbox.machines().is_empty(), "nothing unchecked is booted");

    sandbox.write("images/foreign.yml", &image_file(&sum));
    sandbox.good(&["up"]);
    let exec = |command: &str| sandbox.good(&["exec", "c1", "--", "sh", "-c", command]);
    assert_eq!(exec("hostname").trim(), "c1");
    assert!(exec("getent ahostsv4 c1.vendor.test").contains("10."), "names");
    let key = exec("systemctl is-system-running --wait >/dev/null; cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub");
    assert!(sandbox.good(&["ssh-config", "c1"]).contains("StrictHostKeyChecking yes"));
    let login = || sandbox.good(&["ssh", "c1", "--", "id", "-un"]);
    assert_eq!(login(), "dev\n", "cloud-init must not have replaced the pinned key");

    sandbox.good(&["reload", "c1"]);
    assert_eq!(exec("cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub"), key);
    assert_eq!(login(), "dev\n");

    // A clone in another subnet: what cloud-init wrote when the first lab booted contains the old address, and must not come back.
    sandbox.good(&["clone", "vendor", "moved", "--subnet", "10.99.0.0/24"]);
    let network =
        || sandbox.good(&["--lab", "moved", "exec", "c1", "--", "sh", "-c", "hostname -I | cut -d' ' -f1; ip route show default"]);
    assert!(network().starts_with("10.99.0.10\ndefault via 10.99.0.1 "), "{}", network());
    sandbox.good(&["--lab", "moved", "reload", "c1"]);
    sandbox.good(&["--lab", "moved", "exec", "c1", "--", "sh", "-c", "systemctl is-system-running --wait >/dev/null; true"]);
    assert!(network().starts_with("10.99.0.10\ndefault via 10.99.0.1 "), "{}", network());
    assert_eq!(sandbox.good(&["--lab", "moved", "ssh", "c1", "--", "echo", "in"]), "in\n");
    sandbox.good(&["--lab", "moved", "destroy", "--force"]);

    sandbox.good(&["halt"]);
    assert!(sandbox.machines().is_empty());
    sandbox.good(&["destroy", "--force"]);
    assert!(!sandbox.home().join("labs/vendor").exists());
}
