//! Real virtual machines: boot, commands, network, provisioning, names, faults, crashes. Each test has its own lab and asserts along one
//! story, because booting is the expensive part.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use labctl_tests::{Sandbox, can_boot, kill, kill_supervisor, until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A role with a service that systemd keeps alive, and typical tasks.
const ROLE: &str = r"
- name: Make a folder
  file: {path: /srv/web, state: directory, mode: '0755'}
- name: Write the page
  copy: {content: 'page of {{ inventory_hostname }}', dest: /srv/web/index.html, mode: '0644'}
  notify: restart web
- name: Write the unit
  template: {src: web.service.j2, dest: /etc/systemd/system/web.service, mode: '0644'}
  notify: restart web
- name: Run it
  systemd: {name: web, state: started, enabled: true, daemon_reload: true}
";

const UNIT: &str = r"[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/perl -MIO::Socket::INET -e '$$s=IO::Socket::INET->new(LocalPort=>{{ port }},Listen=>5,Reuse=>1) or die; while($$c=$$s->accept){ 1 while defined($$l=<$$c>) && $$l!~/^\r?$/; print $$c qq(HTTP/1.0 200 OK\r\n\r\npage on {{ inventory_hostname }}\n); close $$c }'
Restart=always
RestartSec=100ms
[Install]
WantedBy=multi-user.target
";

/// Sends every datagram at a port that the lab publishes back.
const UDP_ECHO: &str = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 5353, Proto => 'udp') or die; \
    while ($from = $s->recv($d, 65535)) { $s->send($d, 0, $from) }";

fn two_nodes(sandbox: &Sandbox, internet: bool) {
    let lab = format!(
        "name: story\nnetwork: {{domain: story.test, internet: {internet}}}\nvariables: {{port: 8080}}\nnodes:\n  - name: node{{index}}\n    count: 2\n    memory: 384M\n    hostnames: ['n{{index}}.story.test']\n    groups: [web]\n    publish: [8080, 5353/udp]\n    sync: [{{from: ./files, to: /lab/files}}]\nprovision:\n  - hosts: web\n    roles: [web]\n"
    );
    sandbox.write("lab.yml", &lab);
    sandbox.write("files/deep/hello.txt", "hello\n");
    sandbox.write("roles/web/tasks/main.yml", ROLE);
    sandbox.write("roles/web/templates/web.service.j2", UNIT);
    sandbox.write("roles/web/handlers/main.yml", "- name: restart web\n  systemd: {name: web, state: restarted, daemon_reload: true}\n");
    sandbox.write(
        "kill_web.yml",
        "name: kill-web\nsteady_state:\n  - name: first\n    http: {node: node1, port: 8080, contains: page}\n  - name: second\n    http: {node: node2, port: 8080, contains: page}\nmethod:\n  - kill: {units: [web.service], on: [web]}\nrecover_within: 60s\n",
    );
}

/// Files are printed as they are, and what a node uses is measured in it and on the host.
fn looked_at_from_outside(sandbox: &Sandbox) {
    assert_eq!(sandbox.good(&["cat", "node2", "/lab/files/deep/hello.txt", "/lab/files/deep/hello.txt"]), "hello\nhello\n");
    let half = sandbox.run(&["cat", "node1", "/nowhere", "/lab/files/deep/hello.txt", "/etc"]);
    let said = String::from_utf8_lossy(&half.stderr).into_owned();
    assert_eq!(String::from_utf8_lossy(&half.stdout), "hello\n");
    assert!(!half.status.success() && said.contains("node1:/nowhere: ") && said.contains("node1:/etc: "), "{said}");
    let one = sandbox.json(&["cat", "node1", "/lab/files/deep/hello.txt"]);
    assert_eq!((&one["content"], &one["encoding"]), (&"hello\n".into(), &"utf-8".into()));

    let usage = sandbox.json(&["top"]);
    for node in usage["nodes"].as_array().unwrap() {
        let (used, all) = (node["memory_used_mib"].as_u64().unwrap(), node["memory_mib"].as_u64().unwrap());
        assert!(0 < used && used < all && all <= 384, "{node}");
        assert!((0.0..=100.0).contains(&node["cpu_percent"].as_f64().unwrap()), "{node}");
        assert!(node["host_memory_mib"].as_u64().unwrap() > 0 && node["host_cpu_percent"].as_f64().unwrap() >= 0.0, "{node}");
    }
    assert_eq!(usage["nodes"].as_array().unwrap().len(), 2);
    let (code, said) = sandbox.bad(&["top", "--fit", "cpu=20,memory=20"]);
    assert!(code == 6 && said.contains("no running node publishes port 4646"), "{said}");
}

/// Whatever a working folder holds comes to the nodes, and nothing that is gone stays; copies both ways.
fn files_come_and_go(sandbox: &Sandbox) {
    use std::os::unix::ffi::OsStrExt;
    let files = sandbox.folder().join("files");
    std::os::unix::fs::symlink("me@host.123:456", files.join(".#lock")).unwrap();
    std::os::unix::fs::symlink("..", files.join("up")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(files.join("app.sock")).unwrap();
    std::fs::write(files.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "latin").unwrap();
    std::fs::create_dir(files.join("empty")).unwrap();
    let said = sandbox.run(&["sync", "web"]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("not copied: app.sock (a socket)"), "{said}");
    let look = "cd /lab/files && readlink .#lock up && cat caf* && test -d empty && test ! -e app.sock && touch made-here";
    assert_eq!(sandbox.good(&["exec", "node1", "--", "sh", "-c", look]), "me@host.123:456\n..\nlatin");
    std::fs::remove_file(files.join(".#lock")).unwrap();
    std::fs::remove_dir(files.join("empty")).unwrap();
    sandbox.good(&["sync"]);
    let left = "cd /lab/files && test ! -L .#lock && test ! -e empty && test -e made-here && rm made-here";
    sandbox.good(&["exec", "node1", "--", "sh", "-c", left]);

    sandbox.good(&["cp", "files", "node1:/srv/copy"]);
    sandbox.good(&["cp", "node1:/srv/copy", "node2:/srv"]);
    sandbox.good(&["cp", "node2:/srv/copy", "back"]);
    assert_eq!(std::fs::read_to_string(sandbox.folder().join("back/deep/hello.txt")).unwrap(), "hello\n");
    let mut piped = sandbox.command(&["cp", "-", "node1:/srv/piped"]);
    let mut piped = piped.stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut piped.stdin.take().unwrap(), &[7; 300_000]).unwrap();
    assert!(piped.wait().unwrap().success());
    assert_eq!(sandbox.run(&["cp", "node1:/srv/piped", "-"]).stdout, vec![7; 300_000]);
    // Names are bytes, there and back.
    let latin = |begin: &[u8]| std::ffi::OsStr::from_bytes(&[begin, b"caf\xe9"].concat()).to_owned();
    for (from, to) in [(latin(b"files/"), latin(b"node1:/srv/")), (latin(b"node1:/srv/"), latin(b"back/"))] {
        assert!(sandbox.command(&["cp"]).args([&from, &to]).status().unwrap().success(), "{}", from.display());
    }
    assert_eq!(std::fs::read(sandbox.folder().join(latin(b"back/"))).unwrap(), b"latin");
    assert_eq!(sandbox.command(&["cp"]).args([latin(b"node1:/srv/"), "-".into()]).output().unwrap().stdout, b"latin");
    let (code, said) = sandbox.bad(&["cp", "node1:/srv/none", "."]);
    assert!(code == 5 && said.contains("node1:/srv/none: "), "{code}: {said}");
}

fn get(address: &str) -> String {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    let mut text = String::new();
    let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").and_then(|()| stream.read_to_string(&mut text));
    text
}

/// A guest reaches the host by none of the addresses that it might have, over IPv4 or IPv6.
fn no_way_to_the_host(sandbox: &Sandbox, published: &str) {
    // Not every host has IPv6.
    let listeners: Vec<_> = ["0.0.0.0:0", "[::]:0"].iter().filter_map(|address| std::net::TcpListener::bind(address).ok()).collect();
    assert!(!listeners.is_empty());
    let lab = labctl_spec::load_lab(&sandbox.folder().join("lab.yml")).unwrap();
    let gateway = lab.network.gateway;
    let prefix = lab.network.ipv6_of(gateway).unwrap();
    // The guest's own loopback, the gateway, link-local addresses, published addresses, the gateway's place in IPv6, mapped addresses.
    let mut addresses: Vec<String> = ["127.0.0.1", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:127.0.0.1", published, "127.64.0.10"]
        .into_iter()
        .map(str::to_owned)
        .chain([gateway.to_string(), prefix.to_string(), format!("::ffff:{gateway}")])
        .collect();
    // The host's own addresses, as it would choose them. Nothing is sent.
    for (any, documentation) in [("0.0.0.0:0", "203.0.113.1:9"), ("[::]:0", "[2001:db8::1]:9")] {
        if let Ok(route) = std::net::UdpSocket::bind(any)
            && route.connect(documentation).is_ok()
        {
            addresses.push(route.local_addr().unwrap().ip().to_string());
        }
    }
    for listener in &listeners {
        let port = listener.local_addr().unwrap().port();
        let dials: Vec<String> = addresses
            .iter()
            .map(|address| format!("timeout 20 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null && echo {address} & "))
            .collect();
        let reached = sandbox.good(&["exec", "node1", "--", "bash", "-c", &format!("{} wait", dials.concat())]);
        assert_eq!(reached, "", "reached from a guest");
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "a connection reached the host");
    }
}

/// Fails unless the machine's process has a system call filter, and nothing open but its own files, devices and sockets.
fn confined(pid: i32, sandbox: &Sandbox) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Seccomp:\t2"), "{status}");
    let store = std::fs::canonicalize(sandbox.home().join("store")).unwrap();
    let own = [sandbox.home(), store].map(|path| path.display().to_string());
    let devices = ["/dev/null", "/dev/urandom", "/dev/kvm"];
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let target = target.display().to_string();
        let allowed = devices.contains(&target.as_str())
            || own.iter().any(|folder| target.starts_with(folder))
            || ["anon_inode:", "socket:"].iter().any(|kind| target.starts_with(kind));
        assert!(allowed, "descriptor {:?} is {target}", entry.file_name());
    }
}

#[test]
fn a_lab_from_nothing_to_killed_and_recovered() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    two_nodes(&sandbox, true);
    sandbox.good(&["up"]);

    // Commands, in one node and in a group.
    assert_eq!(sandbox.good(&["exec", "node1", "--", "hostname"]), "node1\n");
    assert_eq!(sandbox.run(&["exec", "node1", "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    let both = sandbox.good(&["exec", "web", "--", "hostname"]);
    assert!(both.contains("node1: node1") && both.contains("node2: node2"), "{both}");
    assert_eq!(sandbox.good(&["exec", "node2", "--", "cat", "/lab/files/deep/hello.txt"]), "hello\n");
    assert_eq!(sandbox.good(&["exec", "node1", "--", "hostname", "-f"]), "node1.story.test\n");

    looked_at_from_outside(&sandbox);
    files_come_and_go(&sandbox);

    // Names inside the lab, and connections from node to node.
    let page = "exec 3<>/dev/tcp/n2.story.test/8080; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    until("the page of node2 from node1", Duration::from_secs(30), || {
        String::from_utf8_lossy(&sandbox.run(&["exec", "node1", "--", "bash", "-c", page]).stdout).contains("page on node2")
    });

    // IPv6 inside the lab, beside IPv4, which programs prefer; and no way out by it, so that nothing waits for one.
    let six = sandbox.good(&["exec", "node1", "--", "ping", "-6", "-c1", "-W20", "n2.story.test"]);
    assert!(six.contains("node2.story.test (fd") && six.contains("1 received"), "{six}");
    assert!(sandbox.good(&["exec", "node1", "--", "getent", "ahosts", "node2"]).starts_with("10."), "IPv4 first");
    assert_eq!(sandbox.good(&["exec", "node1", "--", "ip", "-6", "route", "show", "default"]), "");

    // The host sees published ports on each node's own loopback address; its own loopback is closed to guests.
    let status = sandbox.status();
    let loopback = status["nodes"][0]["loopback"].as_str().unwrap().to_owned();
    until("node1's page on the host", Duration::from_secs(30), || get(&format!("{loopback}:8080")).contains("page on node1"));
    sandbox.run_perl("node1", UDP_ECHO);
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut answer = vec![0; 5000];
    until("a datagram comes back, in fragments both ways", Duration::from_secs(30), || {
        client.send_to(&[7; 4000], format!("{loopback}:5353")).unwrap();
        client.recv(&mut answer).is_ok_and(|length| answer[..length] == [7; 4000])
    });
    no_way_to_the_host(&sandbox, &loopback);

    // Provisioning again changes nothing.
    let again = sandbox.run(&["provision"]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.success() && !said.contains("changed:") && said.contains("changed=0"), "{said}");

    // The hosts file: only our block, removed without a trace.
    let hosts = sandbox.write("hosts", "127.0.0.1 localhost\n");
    let file = hosts.to_str().unwrap();
    sandbox.good(&["hosts", "apply", "--file", file]);
    let text = std::fs::read_to_string(&hosts).unwrap();
    assert!(text.contains(&loopback) && text.contains("n1.story.test") && text.starts_with("127.0.0.1 localhost\n"), "{text}");
    sandbox.good(&["hosts", "remove", "--file", file]);
    assert_eq!(std::fs::read_to_string(&hosts).unwrap(), "127.0.0.1 localhost\n");

    // SSH, with the pinned host key; OpenSSH with those of the other kinds, and `sudo`, which is in every image.
    assert_eq!(sandbox.good(&["ssh", "node2", "--", "hostname"]), "node2\n");
    let config = sandbox.write("ssh.conf", &sandbox.good(&["ssh-config"]));
    for kind in ["rsa-sha2-512", "ecdsa-sha2-nistp256"] {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(&config).args(["-o", &format!("HostKeyAlgorithms={kind}"), "node2", "sudo -n hostname"]);
        ssh.env("LABCTL_HOME", sandbox.home()).env("XDG_RUNTIME_DIR", sandbox.folder()).stdin(Stdio::null());
        let output = ssh.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "node2\n", "{kind}: {said}");
    }

    // A guest that took over its QEMU would find it without a way to start programs, and without a descriptor that leads elsewhere.
    let machines = sandbox.machines();
    assert_eq!(machines.len(), 2);
    machines.into_iter().for_each(|pid| confined(pid, &sandbox));

    // Kill the service on all nodes at once: it dies, comes back with another pid, and the report shows that.
    let report = sandbox.json(&["scenario", "run", "kill_web.yml", "--seed", "1"]);
    assert_eq!(report["verdict"], "passed", "{report:#}");
    let targets = report["faults"][0]["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 2);
    for target in targets {
        assert!(target["old_pid"].as_i64().unwrap() > 0 && target["new_pid"].as_i64().unwrap() > 0, "{target}");
        assert_ne!(target["old_pid"], target["new_pid"]);
    }

    // What is saved while a node is down is in it when it is up again.
    let mut watcher = sandbox.start(&["sync", "--watch"]);
    let said = || std::fs::read_to_string(sandbox.folder().join("started.log")).unwrap_or_default();
    until("both nodes are watched", Duration::from_secs(30), || said().matches("/lab/files: unchanged").count() == 2);
    sandbox.write("files/deep/saved.txt", "saved\n");
    until("the saved file", Duration::from_secs(10), || said().matches("/lab/files: 1 file, 6 B").count() == 2);
    assert_eq!(sandbox.good(&["exec", "node2", "--", "cat", "/lab/files/deep/saved.txt"]), "saved\n");

    // A reboot keeps the identity, and the service comes back by itself.
    let before = sandbox.good(&["exec", "node1", "--", "cat", "/etc/machine-id", "/proc/sys/kernel/random/boot_id"]);
    sandbox.good(&["exec", "node1", "--", "systemctl", "reboot"]);
    std::fs::rename(sandbox.folder().join("files/deep/saved.txt"), sandbox.folder().join("files/renamed.txt")).unwrap();
    until("the page after the reboot", Duration::from_secs(120), || {
        let now = sandbox.run(&["exec", "node1", "--", "cat", "/etc/machine-id", "/proc/sys/kernel/random/boot_id"]);
        let now = String::from_utf8_lossy(&now.stdout).into_owned();
        now.lines().next() == before.lines().next()
            && now.lines().nth(1) != before.lines().nth(1)
            && get(&format!("{loopback}:8080")).contains("page")
    });

    until("what the node missed", Duration::from_secs(30), || {
        sandbox
            .run(&["exec", "node1", "--", "sh", "-c", "test -f /lab/files/renamed.txt -a ! -e /lab/files/deep/saved.txt"])
            .status
            .success()
    });
    rustix::process::kill_process(rustix::process::Pid::from_child(&watcher), rustix::process::Signal::INT).unwrap();
    assert!(watcher.wait().unwrap().success(), "{}", said());

    // Halt keeps the disks, destroy keeps nothing.
    sandbox.good(&["halt"]);
    assert_eq!(sandbox.machines(), Vec::<i32>::new());
    assert_eq!(sandbox.status()["nodes"][0]["state"], "off");
    sandbox.good(&["destroy", "--force"]);
    assert!(!sandbox.home().join("labs/story").exists());
}

#[test]
fn packages_come_through_the_uplink_and_nothing_leaves_without_it() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", "name: open\nnodes: [{name: a, memory: 384M}]\nprovision:\n  - hosts: all\n    tasks:\n      - apt: {name: hello, update_cache: true}\n");
    sandbox.good(&["up"]);
    assert!(sandbox.good(&["exec", "a", "--", "hello"]).contains("Hello"));
    sandbox.good(&["destroy", "--force"]);

    let closed = |more: &str| {
        let text = format!("name: closed\nnetwork: {{internet: false, host_loopback: true{more}}}\nnodes: [{{name: a, memory: 384M}}]\n");
        sandbox.write("lab.yml", &text);
        sandbox.good(&["up"]);
    };
    closed("");
    let tried = sandbox.run(&["exec", "a", "--", "bash", "-c", "getent hosts deb.debian.org || exec 3<>/dev/tcp/192.0.2.1/80"]);
    assert!(!tried.status.success(), "something left a lab without internet");

    // A proxy and an authority reach the node while it runs, in the same way as at a boot.
    sandbox.write("corp.pem", AUTHORITY);
    closed(&format!(", proxy: 'http://u:secret@127.0.0.1:{}', ca: [corp.pem]", proxy()));
    let said = |script: &str| sandbox.good(&["exec", "a", "--", "sh", "-c", script]);
    let get = "curl -sS http://example.test/x";
    assert_eq!(said(get), "from the proxy\n");
    assert_eq!(said(&format!("systemd-run -q --pipe --wait {get}")), "from the proxy\n");
    assert_eq!(sandbox.good(&["ssh", "a", "--", get]), "from the proxy\n");
    assert!(said("apt-config dump").contains("Acquire::http::Proxy \"http://u:secret@"));
    let trusted = "openssl verify -no_check_time -CApath /etc/ssl/certs /usr/local/share/ca-certificates/labctl-corp.crt";
    assert!(said(trusted).contains(": OK"), "programs that look for links");
    let bundle = "tr -d '\\n' < /etc/ssl/certs/ca-certificates.crt";
    assert!(said(bundle).contains(&AUTHORITY.replace('\n', "")), "programs that read the bundle");
    closed("");
    assert!(!sandbox.run(&["exec", "a", "--", "sh", "-c", get]).status.success(), "the proxy is gone");
}

/// An authority that signs nothing.
const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----
MIIBlzCCAT2gAwIBAgIUbiglIej+QYwxTXbnS0977T10SD8wCgYIKoZIzj0EAwIw
IDEeMBwGA1UEAwwVbGFiY3RsIHRlc3QgYXV0aG9yaXR5MCAXDTI2MTIwMTAwMTMx
NFoYDzIxMjYxMTA3MDAxMzE0WjAgMR4wHAYDVQQDDBVsYWJjdGwgdGVzdCBhdXRo
b3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATkD8PXLeQbf86+MBZhuMl/
+7d+bwJwu9uKF24DfKLdx5O5GH6stUoEd9cFecQP8L43mpk1I6aXRu+1Dm6T3gbt
o1MwUTAdBgNVHQ4EFgQUN4RBxkwh7LCq3wP8MRXDpU8vIg4wHwYDVR0jBBgwFoAU
N4RBxkwh7LCq3wP8MRXDpU8vIg4wDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQD
AgNIADBFAiEA3jvmrX8pJKqpJjPGAN4wetxIGQxO3srGD/4WuqR5uoICIGmrCBBu
/Df+k5G1QgAVPY3NcVR+1WEXgJJznTnlUjp+
-----END CERTIFICATE-----
";

/// A proxy on the host's loopback that has one page, for those who name a user; its port.
fn proxy() -> u16 {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines: Vec<String> = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let right = lines.first().is_some_and(|line| line.starts_with("GET http://example.test/x "))
                && lines.iter().any(|line| line.to_lowercase().starts_with("proxy-authorization: basic "));
            let (status, page) = if right { ("200 OK", "from the proxy\n") } else { ("407 Who are you", "") };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}", page.len());
        }
    });
    port
}

/// kill -9 of `labctl up`, of the supervisor and of a QEMU at random moments: the next `up` always reaches the goal.
#[test]
fn whatever_is_killed_the_next_up_reaches_the_goal() {
    if !can_boot() {
        return;
    }
    let mut random = StdRng::seed_from_u64(labctl_tests::seed(20));
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", "name: crash\nnodes: [{name: a, count: 2, memory: 256M}]\n");
    for round in 0..6 {
        let mut up = sandbox.start(&["up"]);
        let moment = Duration::from_millis(random.random_range(5..4000));
        std::thread::sleep(moment);
        let victim = random.random_range(0..3);
        println!("round {round}: after {moment:?} kill {}", ["labctl up", "the supervisor", "a QEMU"][victim]);
        match victim {
            0 => up.kill().unwrap(),
            1 => kill_supervisor(&sandbox),
            _ => {
                if let Some(pid) = sandbox.machines().first() {
                    kill(*pid);
                }
            }
        }
        up.wait().unwrap();
        sandbox.good(&["up"]);
        let status = sandbox.status();
        for node in status["nodes"].as_array().unwrap() {
            assert_eq!(node["state"], "running", "round {round}: {status:#}");
        }
        assert_eq!(sandbox.machines().len(), 2, "round {round}: a machine too many or too few");
        if round % 2 == 1 {
            sandbox.good(&["destroy", "--force"]);
            assert_eq!(sandbox.machines(), Vec::<i32>::new(), "round {round}: an orphan");
            assert!(!sandbox.home().join("labs/crash").exists());
        }
    }
}
