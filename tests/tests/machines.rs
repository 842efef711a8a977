//! Real virtual machines: boot, commands, network, provisioning, names, faults, crashes. Each test has its own lab and asserts along one
//! story, because booting is the expensive part.

use std::net::TcpStream;
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

fn get(address: &str) -> String {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    let mut text = String::new();
    let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").and_then(|()| stream.read_to_string(&mut text));
    text
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

    // Names inside the lab, and connections from node to node.
    let page = "exec 3<>/dev/tcp/n2.story.test/8080; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    until("the page of node2 from node1", Duration::from_secs(30), || {
        String::from_utf8_lossy(&sandbox.run(&["exec", "node1", "--", "bash", "-c", page]).stdout).contains("page on node2")
    });

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
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port();
    let lab = labctl_spec::load_lab(&sandbox.folder().join("lab.yml")).unwrap();
    for address in ["127.0.0.1".to_owned(), lab.network.gateway.to_string()] {
        let dial = format!("exec 3<>/dev/tcp/{address}/{port}");
        assert!(!sandbox.run(&["exec", "node1", "--", "bash", "-c", &dial]).status.success(), "{address} must be closed");
    }

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

    // SSH, with the pinned host key.
    assert_eq!(sandbox.good(&["ssh", "node2", "--", "hostname"]), "node2\n");

    // Kill the service on all nodes at once: it dies, comes back with another pid, and the report shows that.
    let report = sandbox.json(&["scenario", "run", "kill_web.yml", "--seed", "1"]);
    assert_eq!(report["verdict"], "passed", "{report:#}");
    let targets = report["faults"][0]["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 2);
    for target in targets {
        assert!(target["old_pid"].as_i64().unwrap() > 0 && target["new_pid"].as_i64().unwrap() > 0, "{target}");
        assert_ne!(target["old_pid"], target["new_pid"]);
    }

    // A reboot keeps the identity, and the service comes back by itself.
    let before = sandbox.good(&["exec", "node1", "--", "cat", "/etc/machine-id", "/proc/sys/kernel/random/boot_id"]);
    sandbox.good(&["exec", "node1", "--", "systemctl", "reboot"]);
    until("the page after the reboot", Duration::from_secs(120), || {
        let now = sandbox.run(&["exec", "node1", "--", "cat", "/etc/machine-id", "/proc/sys/kernel/random/boot_id"]);
        let now = String::from_utf8_lossy(&now.stdout).into_owned();
        now.lines().next() == before.lines().next()
            && now.lines().nth(1) != before.lines().nth(1)
            && get(&format!("{loopback}:8080")).contains("page")
    });

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

    sandbox.write("lab.yml", "name: closed\nnetwork: {internet: false}\nnodes: [{name: a, memory: 384M}]\n");
    sandbox.good(&["up"]);
    let tried = sandbox.run(&["exec", "a", "--", "bash", "-c", "getent hosts deb.debian.org || exec 3<>/dev/tcp/192.0.2.1/80"]);
    assert!(!tried.status.success(), "something left a lab without internet");
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
