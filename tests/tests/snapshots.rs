//! Snapshots of a whole lab: what they bring back, what they refuse, and what a crash in the middle leaves.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use labctl_tests::{Sandbox, can_boot, kill, kill_supervisor, until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

const LAB: &str = "name: past\nnodes: [{name: 'past{index}', count: 2, memory: 256M}]\n";

/// Takes one connection and notes every line with its own time.
const SERVER: &str = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 7000, Listen => 1, ReuseAddr => 1) or die; \
    open $f, '>>', '/run/lines'; $f->autoflush; $c = $s->accept; while (<$c>) { print $f $_ } print $f qq(closed\\n)";

/// Sends a line every tenth of a second over one connection.
const CLIENT: &str = "use IO::Socket::INET; until ($c = IO::Socket::INET->new('past2:7000')) { select undef, undef, undef, 0.1 } \
    $c->autoflush; $SIG{PIPE} = 'IGNORE'; while (1) { print $c ++$n, qq(\\n) or last; select undef, undef, undef, 0.1 } \
    open $f, '>', '/run/broken'";

fn run_in_background(sandbox: &Sandbox, node: &str, program: &str) {
    sandbox.good(&["exec", node, "--", "systemd-run", "-q", "perl", "-e", program]);
}

/// The number of the last line that came over the connection.
fn last_line(sandbox: &Sandbox) -> u64 {
    let said = sandbox.run(&["exec", "past2", "--", "tail", "-n1", "/run/lines"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(!said.contains("closed"), "the connection broke");
    said.trim().parse().unwrap_or(0)
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    let listed: Value = sandbox.json(&["snapshot", "list"]);
    listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

fn layers(sandbox: &Sandbox) -> usize {
    fs::read_dir(sandbox.home().join("layers")).map_or(0, Iterator::count)
}

fn all_run(sandbox: &Sandbox) -> bool {
    sandbox.status()["nodes"].as_array().unwrap().iter().all(|node| node["state"] == "running")
}

#[test]
fn a_lab_goes_back_to_what_it_was() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    let file = sandbox.write("lab.yml", LAB);
    sandbox.good(&["up"]);
    run_in_background(&sandbox, "past2", SERVER);
    run_in_background(&sandbox, "past1", CLIENT);
    until("a connection between the nodes", Duration::from_secs(30), || last_line(&sandbox) > 3);
    sandbox.good(&["exec", "past1", "--", "sh", "-c", "echo one > /root/word; echo kept > /run/memory; sync"]);

    let saved: Value = sandbox.json(&["snapshot", "save", "one"]);
    assert_eq!(saved["nodes"], 2);
    println!("saved: {} ms of pause, {} KiB of memory", saved["pause_ms"], saved["memory_bytes"].as_u64().unwrap() >> 10);
    let at_save = last_line(&sandbox);
    sandbox.good(&[
        "exec",
        "past1",
        "--",
        "sh",
        "-c",
        "echo two > /root/word; echo more > /root/more; dd if=/dev/urandom of=/root/big bs=1M count=8 2>/dev/null; sync",
    ]);
    let different = sandbox.good(&["snapshot", "diff", "one"]);
    assert!(different.contains("past1: its disk has grown by") && different.contains("the lab file is the same"), "{different}");
    assert!(sandbox.bad(&["snapshot", "save", "one"]).1.contains("there is a snapshot `one` already"));

    // Back: files, memory, the connection, the clock.
    for _ in 0..2 {
        let start = Instant::now();
        sandbox.good(&["snapshot", "restore", "one"]);
        println!("restored in {:.2} s", start.elapsed().as_secs_f64());
        let before = seconds();
        let said: f64 = sandbox.good(&["exec", "past1", "--", "date", "+%s.%N"]).trim().parse().unwrap();
        assert!(said > before - 0.2 && said < seconds() + 0.2, "the clock says {said}, here it is {before}");
        assert_eq!(sandbox.good(&["exec", "past1", "--", "sh", "-c", "cat /root/word /run/memory; ls /root"]), "one\nkept\nword\n");
        let back = last_line(&sandbox);
        assert!(back > 0 && back < at_save + 300, "{back} lines, {at_save} when it was saved");
        until("the connection goes on", Duration::from_secs(20), || last_line(&sandbox) > back + 3);
        assert!(!sandbox.run(&["exec", "past1", "--", "test", "-e", "/run/broken"]).status.success());
    }

    // Suspended, everything is on the disk; awake, everything goes on.
    sandbox.good(&["suspend"]);
    assert_eq!(sandbox.machines(), Vec::<i32>::new());
    assert_eq!(sandbox.status()["nodes"][0]["state"], "suspended");
    sandbox.good(&["resume"]);
    let back = last_line(&sandbox);
    until("the connection goes on after suspend", Duration::from_secs(20), || last_line(&sandbox) > back + 3);
    assert!(sandbox.bad(&["resume"]).1.contains("is not suspended"));

    // Nothing of what is refused changes anything.
    let place = sandbox.home().join("labs/past/snapshots/one");
    let (state, about) = (place.join("past2/state"), place.join("snapshot.json"));
    let (whole, text) = (fs::read(&state).unwrap(), fs::read_to_string(&about).unwrap());
    fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    assert!(sandbox.bad(&["snapshot", "restore", "one"]).1.contains("is damaged"));
    assert!(sandbox.bad(&["clone", "past", "anna", "--snapshot", "one"]).1.contains("is damaged"));
    assert!(!sandbox.home().join("labs/anna").exists(), "half a clone");
    fs::write(&state, &whole).unwrap();
    let mut other: Value = serde_json::from_str(&text).unwrap();
    other["qemu"] = "QEMU emulator version 3.1".into();
    fs::write(&about, other.to_string()).unwrap();
    let said = sandbox.bad(&["snapshot", "restore", "one"]).1;
    assert!(said.contains("QEMU emulator version 3.1") && said.contains("--cold"), "{said}");
    let said = sandbox.bad(&["clone", "past", "anna", "--snapshot", "one", "--subnet", "10.99.0.0/24"]).1;
    assert!(said.contains("QEMU emulator version 3.1") && !sandbox.home().join("labs/anna").exists(), "{said}");
    other["version"] = 99.into();
    fs::write(&about, other.to_string()).unwrap();
    assert!(sandbox.bad(&["snapshot", "restore", "one"]).1.contains("format 99"));
    fs::write(&about, &text[..text.len() / 2]).unwrap();
    let said = sandbox.bad(&["snapshot", "restore", "one"]).1;
    assert!(said.contains("snapshot.json"), "{said}");
    fs::write(&about, &text).unwrap();
    fs::write(&file, LAB.replace("count: 2", "count: 3")).unwrap();
    let said = sandbox.bad(&["snapshot", "restore", "one"]).1;
    assert!(said.contains("the lab file changed since snapshot `one`") && said.contains("past3"), "{said}");
    fs::write(&file, LAB).unwrap();
    assert!(sandbox.bad(&["snapshot", "restore", "none"]).1.contains("known: one"));
    assert!(sandbox.bad(&["snapshot", "save", "../x"]).1.contains("cannot be the name"));
    assert!(all_run(&sandbox));
    until("the connection goes on after all that", Duration::from_secs(20), || last_line(&sandbox) > back + 3);

    // A node that is down is named; from a lab that is off, everything comes back.
    sandbox.good(&["halt", "past2"]);
    let said = sandbox.bad(&["snapshot", "save", "two"]).1;
    assert!(said.contains("past2 is off"), "{said}");
    assert_eq!(names(&sandbox), ["one"]);
    sandbox.good(&["halt"]);
    sandbox.good(&["snapshot", "restore", "one"]);
    assert!(all_run(&sandbox));
    until("the connection goes on after halt", Duration::from_secs(20), || last_line(&sandbox) > 3);

    // The disks alone: the nodes boot with the files of then.
    sandbox.good(&["exec", "past1", "--", "sh", "-c", "echo three > /root/word; sync"]);
    sandbox.good(&["snapshot", "restore", "one", "--cold"]);
    assert_eq!(sandbox.good(&["exec", "past1", "--", "sh", "-c", "cat /root/word; ls /run/memory 2>/dev/null; hostname"]), "one\npast1\n");

    sandbox.good(&["snapshot", "rm", "one"]);
    assert_eq!(names(&sandbox), Vec::<String>::new());
    sandbox.good(&["destroy", "--force"]);
    assert_eq!(layers(&sandbox), 0, "nobody rests on a layer any more");
}

/// kill -9 of the command, the supervisor or a machine while a snapshot is saved or restored: it is there whole or not at all, and the
/// lab comes up.
#[test]
fn a_snapshot_that_is_cut_off_is_whole_or_absent() {
    if !can_boot() {
        return;
    }
    let mut random = StdRng::seed_from_u64(labctl_tests::seed(7));
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", LAB);
    sandbox.good(&["up"]);
    sandbox.good(&["exec", "past1", "--", "sh", "-c", "echo good > /root/word; sync"]);
    sandbox.good(&["snapshot", "save", "good"]);
    for round in 0..8 {
        let saving = round % 2 == 0;
        let args: &[&str] = if saving { &["snapshot", "save", "cut", "--replace"] } else { &["snapshot", "restore", "good"] };
        let mut command = sandbox.start(args);
        let moment = Duration::from_millis(random.random_range(5..1500));
        std::thread::sleep(moment);
        let victim = random.random_range(0..3);
        println!("round {round}: {} and after {moment:?} kill {}", args[1], ["the command", "the supervisor", "a QEMU"][victim]);
        match victim {
            0 => command.kill().unwrap(),
            1 => kill_supervisor(&sandbox),
            _ => {
                if let Some(pid) = sandbox.machines().first() {
                    kill(*pid);
                }
            }
        }
        command.wait().unwrap();
        sandbox.good(&["up"]);
        assert!(all_run(&sandbox), "round {round}");
        assert_eq!(sandbox.machines().len(), 2, "round {round}: a machine too many or too few");
        assert_eq!(sandbox.good(&["exec", "past1", "--", "cat", "/root/word"]), "good\n", "round {round}");
        for name in names(&sandbox) {
            sandbox.good(&["snapshot", "restore", &name]);
            assert_eq!(sandbox.good(&["exec", "past1", "--", "cat", "/root/word"]), "good\n", "round {round}: {name}");
        }
    }
    sandbox.good(&["destroy", "--force"]);
    assert_eq!(sandbox.machines(), Vec::<i32>::new());
    assert_eq!(layers(&sandbox), 0);
}

/// The second `up` of a lab from the same inputs restores it; from others it provisions.
#[test]
fn a_provisioned_lab_comes_back_without_provisioning() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    let lab =
        "name: kept\nvariables: {word: first}\nnodes: [{name: k, count: 2, memory: 256M}]\nprovision:\n  - hosts: all\n    roles: [say]\n";
    sandbox.write("lab.yml", lab);
    sandbox.write(
        "roles/say/tasks/main.yml",
        "- copy: {content: '{{ word }}', dest: /root/word}\n- shell: cat /proc/sys/kernel/random/uuid > /root/once\n",
    );
    let once = |sandbox: &Sandbox| sandbox.good(&["exec", "k1", "--", "cat", "/root/once", "/root/word"]);
    let up = |sandbox: &Sandbox, args: &[&str]| {
        let output = sandbox.run(&[&["up"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout))
    };
    up(&sandbox, &[]);
    let first = once(&sandbox);
    sandbox.good(&["exec", "k1", "--", "sh", "-c", "echo spoilt > /root/word"]);
    sandbox.good(&["destroy", "--force"]);

    let said = up(&sandbox, &[]);
    assert!(said.contains("restored as it was provisioned"), "{said}");
    assert_eq!(once(&sandbox), first);
    assert!(all_run(&sandbox));
    sandbox.good(&["destroy", "--force"]);

    let said = up(&sandbox, &["--no-cache"]);
    assert!(!said.contains("restored as"), "{said}");
    let second = once(&sandbox);
    assert_ne!(second, first);
    sandbox.good(&["destroy", "--force"]);

    sandbox.write("lab.yml", &lab.replace("first", "other"));
    let said = up(&sandbox, &[]);
    assert!(!said.contains("restored as"), "{said}");
    assert!(once(&sandbox).ends_with("other"));
}

/// Says hello to everybody at a port that the lab publishes.
const PAGE: &str = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 7000, Listen => 5, ReuseAddr => 1) or die; \
    while ($c = $s->accept) { print $c qq(hello\\n); close $c }";

/// All that has to do with a node's addresses, one a line: what must be the same after a reboot.
const ADDRESSES: &str = "ip -4 -o addr show dev eth0 | awk '/10[.]99/ {print $4}'; ip route show default; grep nameserver /etc/resolv.conf; \
    getent hosts past1 past2; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub";

/// Asks the name service itself for past2.past: /etc/hosts would answer any other question.
const ASK: &str = "use IO::Socket::INET; $s = IO::Socket::INET->new(PeerAddr => shift, PeerPort => 53, Proto => 'udp') or die; alarm 5; \
    $s->send(pack('n6', 1, 256, 1, 0, 0, 0) . join('', map { pack 'C/a*', $_ } qw(past2 past)) . pack('Cnn', 0, 1, 1)); \
    $s->recv($a, 512); print join '.', unpack 'C4', substr $a, -4";

/// What the node's page says on the host.
fn page(node: &Value) -> String {
    let mut said = String::new();
    let stream = TcpStream::connect((node["loopback"].as_str().unwrap(), 7000));
    let read =
        stream.and_then(|mut stream| stream.set_read_timeout(Some(Duration::from_secs(5))).and_then(|()| stream.read_to_string(&mut said)));
    if read.is_ok() { said } else { String::new() }
}

/// A clone in another subnet: everything that has to do with addresses follows, and the lab that it was made from notices nothing.
fn clones_in_other_subnets(sandbox: &Sandbox) {
    let of = |lab: &str, node: &str, script: &str| sandbox.good(&["--lab", lab, "exec", node, "--", "sh", "-c", script]);
    let status = |lab: &str| -> Value { sandbox.json(&["--lab", lab, "status"]) };
    // An address that is nobody's business stays, and stands in nobody's way.
    sandbox.good(&["exec", "past1", "--", "ip", "addr", "add", "10.200.0.5/32", "dev", "eth0"]);
    run_in_background(sandbox, "past1", PAGE);
    until("the page", Duration::from_secs(20), || page(&status("past")["nodes"][0]) == "hello\n");
    let origin = [of("past", "past1", ADDRESSES), of("past", "past1", "ip -4 addr; ip route; cat /etc/hosts")];

    for (subnet, code, said) in [
        (
            status("past")["nodes"][0]["address"].as_str().unwrap().rsplit_once('.').unwrap().0.to_owned() + ".0/24",
            3,
            "is the subnet of lab `past`",
        ),
        ("8.8.8.0/24".to_owned(), 3, "belongs to the internet"),
        ("10.99.0.0/29".to_owned(), 3, "too small"),
        ("10.99.0.0".to_owned(), 3, "no prefix length"),
    ] {
        let (found, text) = sandbox.bad(&["clone", "past", "carla", "--subnet", &subnet]);
        assert!(found == code && text.contains(said) && text.contains("nothing was changed"), "{subnet}: {found} {text}");
    }
    let (_, said) = sandbox.bad(&["clone", "past", "carla", "dora", "--subnet", "10.99.0.0/24"]);
    assert!(said.contains("is for one lab") && said.contains("auto"), "{said}");
    assert!(!sandbox.home().join("labs/carla").exists() && !sandbox.home().join("labs/past/snapshots/+cloned").exists());

    let start = Instant::now();
    let cloned = sandbox.run(&["clone", "past", "carla", "--subnet", "10.99.0.0/24"]);
    let said = String::from_utf8_lossy(&cloned.stderr);
    assert!(cloned.status.success() && said.contains("keeps it") && said.contains("labctl --lab carla provision"), "{said}");
    println!("cloned into another subnet in {:.2} s", start.elapsed().as_secs_f64());
    let carla = status("carla");
    let addresses: Vec<&str> = carla["nodes"].as_array().unwrap().iter().map(|node| node["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["10.99.0.10", "10.99.0.11"]);
    let inside = of("carla", "past1", ADDRESSES);
    let lines: Vec<&str> = inside.lines().collect();
    assert_eq!(lines[..3], ["10.99.0.10/24", "default via 10.99.0.1 dev eth0 ", "nameserver 10.99.0.1"]);
    assert!(lines[3].starts_with("10.99.0.10 ") && lines[4].starts_with("10.99.0.11 "), "{inside}");
    // The same machines: ids and keys are those of the first lab.
    assert_eq!(lines[5..], origin[0].lines().collect::<Vec<_>>()[4..]);
    assert!(of("carla", "past1", "ip -4 addr").contains("10.200.0.5/32"));
    // The routes are those of the new subnet alone.
    let old =
        origin[1].lines().find_map(|line| line.trim().strip_prefix("inet ")?.strip_prefix("10.")?.split('.').next()).unwrap().to_owned();
    let now = of("carla", "past1", "ip -4 addr; ip route; cat /etc/hosts /etc/resolv.conf");
    assert!(!now.contains(&format!("10.{old}.")), "{now}");
    assert!(of("carla", "past2", "ping -c1 -W5 past1; ping -c1 -W5 10.99.0.1").contains("from past1 (10.99.0.10)"));
    assert_eq!(sandbox.good(&["--lab", "carla", "exec", "past1", "--", "perl", "-e", ASK, "10.99.0.1"]), "10.99.0.11");
    assert!(sandbox.good(&["--lab", "carla", "ssh", "past2", "--", "hostname", "-I"]).contains("10.99.0.11"));
    let known = sandbox.good(&["--lab", "carla", "hosts", "print"]);
    assert!(known.contains(&format!("{} ", carla["nodes"][0]["loopback"].as_str().unwrap())) && known.contains("past1.carla"), "{known}");
    assert_eq!(page(&carla["nodes"][0]), "hello\n", "the published port");

    // It stays there: over a reboot, its own snapshots, halt and up.
    let boot = |node: &str| sandbox.run(&["--lab", "carla", "exec", node, "--", "cat", "/proc/sys/kernel/random/boot_id"]).stdout;
    let before = (boot("past1"), of("carla", "past2", ADDRESSES));
    sandbox.good(&["--lab", "carla", "exec", "past1", "--", "systemctl", "reboot"]);
    until("past1 has rebooted", Duration::from_secs(120), || ![before.0.clone(), Vec::new()].contains(&boot("past1")));
    assert_eq!(of("carla", "past1", ADDRESSES), inside);
    sandbox.good(&["--lab", "carla", "snapshot", "save", "own"]);
    sandbox.good(&["--lab", "carla", "reload", "past2"]);
    assert_eq!(of("carla", "past2", ADDRESSES), before.1);
    sandbox.good(&["--lab", "carla", "snapshot", "restore", "own"]);
    assert_eq!(of("carla", "past1", ADDRESSES), inside);
    assert!(of("carla", "past1", "ping -c1 -W5 past2").contains("10.99.0.11"));

    // A clone of the clone, in the subnet of its name; nobody else gets one that is taken.
    let (code, said) = sandbox.bad(&["clone", "past", "dora", "--subnet", "10.99.0.0/25"]);
    assert!(code == 6 && said.contains("overlaps with 10.99.0.0/24 of lab `carla`"), "{said}");
    sandbox.good(&["clone", "carla", "dora", "--subnet", "auto"]);
    let dora = status("dora")["nodes"][1]["address"].as_str().unwrap().to_owned();
    assert!(!dora.starts_with("10.99.") && of("dora", "past2", "hostname -I").contains(&dora), "{dora}");
    assert!(of("dora", "past1", "ping -c1 -W5 past2").contains(&dora));

    assert_eq!([of("past", "past1", ADDRESSES), of("past", "past1", "ip -4 addr; ip route; cat /etc/hosts")], origin, "undisturbed");
    assert_eq!(page(&status("past")["nodes"][0]), "hello\n");
    for lab in ["carla", "dora"] {
        sandbox.good(&["--lab", lab, "destroy", "--force"]);
    }
}

/// kill -9 of the command, the clone's supervisor or one of its machines: repeated, or brought up, it is the clone that was asked for.
#[test]
fn a_clone_that_is_cut_off_is_repeated_or_finished() {
    if !can_boot() {
        return;
    }
    let mut random = StdRng::seed_from_u64(labctl_tests::seed(13));
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", LAB);
    sandbox.good(&["up"]);
    sandbox.good(&["exec", "past1", "--", "sh", "-c", "echo origin > /run/word; echo kept > /root/word; sync"]);
    let record = sandbox.home().join("labs/anna/lab.json");
    for round in 0..8 {
        let mut subnet = if round % 2 == 0 { "10.99.0" } else { "10.98.0" };
        let mut command = sandbox.start(&["clone", "past", "anna", "--subnet", &format!("{subnet}.0/24")]);
        let moment = Duration::from_millis(random.random_range(5..2000));
        let victim = random.random_range(0..3);
        // All drawn before anything happens: what happens must not change what the seed gives next.
        let (finish, other) = (random.random_bool(0.5), random.random_bool(0.5));
        std::thread::sleep(moment);
        println!("round {round}: after {moment:?} kill {}", ["the command", "the supervisor", "a QEMU"][victim]);
        let status = sandbox.run(&["--lab", "anna", "status", "--json"]).stdout;
        let status: Value = serde_json::from_slice(&status).unwrap_or_default();
        match (victim, status["supervisor"].as_i64(), labctl_tests::machines("/labs/anna/").first()) {
            (1, Some(pid), _) => kill(i32::try_from(pid).unwrap()),
            (2, _, Some(pid)) => kill(*pid),
            _ => command.kill().unwrap(),
        }
        command.wait().unwrap();
        if record.exists() && finish {
            println!("round {round}: up");
            sandbox.good(&["--lab", "anna", "up"]);
        } else {
            // A slip of the first time can be mended by the second.
            let again = if other { "10.97.0" } else { subnet };
            println!("round {round}: again, in {again}.0/24");
            let output = sandbox.run(&["clone", "past", "anna", "--subnet", &format!("{again}.0/24")]);
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                subnet = again;
            } else {
                assert!(said.contains("there is a lab `anna` already"), "{said}");
                println!("round {round}: it was there");
                sandbox.good(&["--lab", "anna", "up"]);
            }
        }
        // A machine that was killed after all was done boots.
        if victim != 2 {
            assert_eq!(sandbox.good(&["--lab", "anna", "exec", "past1", "--", "cat", "/run/word"]), "origin\n", "round {round}");
        }
        let script = "cat /root/word; ping -c1 -W5 past1; grep -c ' past' /etc/hosts";
        let said = sandbox.good(&["--lab", "anna", "exec", "past1", "--", "sh", "-c", script]);
        assert!(said.starts_with("kept\n") && said.contains(&format!("{subnet}.10")) && said.ends_with("\n2\n"), "round {round}: {said}");
        let said = sandbox.good(&["--lab", "anna", "exec", "past2", "--", "ping", "-c1", "-W5", "past1"]);
        assert!(said.contains(&format!("past1 ({subnet}.10)")), "round {round}: {said}");
        assert_eq!(sandbox.machines().len(), 4, "round {round}: a machine too many or too few");
        assert_eq!(sandbox.good(&["exec", "past1", "--", "cat", "/run/word"]), "origin\n", "round {round}");
        sandbox.good(&["--lab", "anna", "destroy", "--force"]);
        assert_eq!(sandbox.machines().len(), 2, "round {round}");
    }
    sandbox.good(&["clone", "past", "anna"]);
    sandbox.good(&["--lab", "anna", "destroy", "--force"]);
    sandbox.good(&["destroy", "--force"]);
    assert_eq!(sandbox.machines(), Vec::<i32>::new());
    assert_eq!(layers(&sandbox), 0);
}

#[test]
fn clones_are_labs_of_their_own() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("lab.yml", &LAB.replace("memory", "publish: [7000], memory"));
    sandbox.good(&["up"]);
    let word = |lab: &str| sandbox.good(&["--lab", lab, "exec", "past1", "--", "cat", "/run/word"]);
    sandbox.good(&["exec", "past1", "--", "sh", "-c", "echo origin > /run/word"]);
    sandbox.good(&["clone", "past", "anna", "berta"]);
    assert_eq!((word("anna").as_str(), word("berta").as_str()), ("origin\n", "origin\n"));
    sandbox.good(&["--lab", "anna", "exec", "past1", "--", "sh", "-c", "echo anna > /run/word"]);
    assert_eq!([word("past"), word("anna"), word("berta")], ["origin\n", "anna\n", "origin\n"]);

    // The same addresses inside, others on the host, and names of their own there.
    let status = |lab: &str| -> Value { sandbox.json(&["--lab", lab, "status"]) };
    let (origin, anna) = (status("past"), status("anna"));
    assert_eq!(origin["nodes"][0]["address"], anna["nodes"][0]["address"]);
    assert_ne!(origin["nodes"][0]["loopback"], anna["nodes"][0]["loopback"]);
    assert!(sandbox.good(&["--lab", "anna", "hosts", "print"]).contains("past1.anna"));
    until("nodes of a clone reach each other", Duration::from_secs(20), || {
        sandbox.run(&["--lab", "anna", "exec", "past1", "--", "ping", "-c1", "-W1", "past2"]).status.success()
    });

    // Each lives and ends by itself.
    sandbox.good(&["--lab", "anna", "reload", "past2"]);
    sandbox.good(&["--lab", "anna", "snapshot", "save", "own"]);
    sandbox.good(&["--lab", "anna", "up"]);
    let (_, said) = sandbox.bad(&["clone", "past", "anna"]);
    assert!(said.contains("there is a lab `anna` already"), "{said}");
    clones_in_other_subnets(&sandbox);
    sandbox.good(&["destroy", "--force"]);
    assert_eq!(word("berta"), "origin\n");
    sandbox.good(&["--lab", "anna", "snapshot", "restore", "own"]);
    assert_eq!(word("anna"), "anna\n");
    for lab in ["anna", "berta"] {
        sandbox.good(&["--lab", lab, "destroy", "--force"]);
    }
    assert_eq!(sandbox.machines(), Vec::<i32>::new());
    assert_eq!(layers(&sandbox), 0);
}

/// The sandbox's home on a small file system of its own; gone with this, and the lab with it.
struct Small<'a>(&'a Sandbox);

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = self.0.run(&["destroy", "--force"]);
        let _ = Command::new("umount").arg("--lazy").arg(self.0.home()).status();
    }
}

#[test]
fn a_full_disk_costs_the_snapshot_alone() {
    if !can_boot() {
        return;
    }
    let sandbox = Sandbox::new();
    let store = std::fs::read_link(sandbox.home().join("store")).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=290m", "tmpfs"]).arg(sandbox.home()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: only root mounts a small file system");
        return;
    }
    let _small = Small(&sandbox);
    std::os::unix::fs::symlink(store, sandbox.home().join("store")).unwrap();
    sandbox.write("lab.yml", "name: full\nnodes: [{name: a, memory: 256M}]\n");
    sandbox.good(&["up"]);
    // What no template has, more than there is room for.
    sandbox.good(&["exec", "a", "--", "sh", "-c", "head -c 80000000 /dev/urandom > /dev/shm/much; echo kept > /dev/shm/kept"]);
    let filler = sandbox.home().join("filler");
    std::fs::write(&filler, vec![0; 230_000_000]).unwrap();
    let (code, said) = sandbox.bad(&["snapshot", "save", "one"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("No space left on device") && said.contains("free some disk space"), "{said}");
    assert_eq!(sandbox.json(&["snapshot", "list"]).as_array().map(Vec::len), Some(0), "half a snapshot");
    assert_eq!(sandbox.good(&["exec", "a", "--", "cat", "/dev/shm/kept"]), "kept\n", "the node went on");
    std::fs::remove_file(filler).unwrap();
    sandbox.good(&["snapshot", "save", "one"]);
    sandbox.good(&["exec", "a", "--", "rm", "/dev/shm/kept"]);
    sandbox.good(&["snapshot", "restore", "one"]);
    assert_eq!(sandbox.good(&["exec", "a", "--", "cat", "/dev/shm/kept"]), "kept\n");
}
