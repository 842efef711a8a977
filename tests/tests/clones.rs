//! Clones of a lab: separate labs, with the same addresses inside or others, whatever is killed on the way.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use labctl_tests::writers::Writers;
use labctl_tests::{Sandbox, can_boot, kill, until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

const LAB: &str = "name: past\nnodes: [{name: 'past{index}', count: 2, memory: 256M}]\n";

/// Answers hello to every connection on a port that the lab publishes.
const PAGE: &str = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 7000, Listen => 5, ReuseAddr => 1) or die; \
    while ($c = $s->accept) { print $c qq(hello\\n); close $c }";

/// Everything related to a node's addresses, one item a line: this must be the same after a reboot.
const ADDRESSES: &str = "ip -4 -o addr show dev eth0 | awk '/10[.]99/ {print $4}'; ip route show default; grep nameserver /etc/resolv.conf; \
    getent ahostsv4 past1 | head -n1; getent ahostsv4 past2 | head -n1; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub";

/// Asks the name service itself for past2.past: /etc/hosts would answer any other query.
const ASK: &str = "use IO::Socket::INET; $s = IO::Socket::INET->new(PeerAddr => shift, PeerPort => 53, Proto => 'udp') or die; alarm 5; \
    $s->send(pack('n6', 1, 256, 1, 0, 0, 0) . join('', map { pack 'C/a*', $_ } qw(past2 past)) . pack('Cnn', 0, 1, 1)); \
    $s->recv($a, 512); print join '.', unpack 'C4', substr $a, -4";

/// The node's page as seen from the host.
fn page(node: &Value) -> String {
    let mut said = String::new();
    let stream = TcpStream::connect((node["loopback"].as_str().unwrap(), 7000));
    let read =
        stream.and_then(|mut stream| stream.set_read_timeout(Some(Duration::from_secs(5))).and_then(|()| stream.read_to_string(&mut said)));
    if read.is_ok() { said } else { String::new() }
}

/// A clone in another subnet: everything related to addresses follows, and the original lab is unaffected.
fn clones_in_other_subnets(sandbox: &Sandbox) {
    let of = |lab: &str, node: &str, script: &str| sandbox.good(&["--lab", lab, "exec", node, "--", "sh", "-c", script]);
    let status = |lab: &str| -> Value { sandbox.json(&["--lab", lab, "status"]) };
    // An unrelated address stays, and does not interfere.
    sandbox.good(&["exec", "past1", "--", "ip", "addr", "add", "10.200.0.5/32", "dev", "eth0"]);
    sandbox.run_perl("past1", PAGE);
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

    let writers = Writers::start(sandbox, "past", &["past1", "past2"], 8);
    let start = Instant::now();
    let cloned = sandbox.run(&["clone", "past", "carla", "--subnet", "10.99.0.0/24"]);
    let said = String::from_utf8_lossy(&cloned.stderr);
    assert!(cloned.status.success() && said.contains("keeps it") && said.contains("labctl --lab carla provision"), "{said}");
    println!("cloned into another subnet in {:.2} s", start.elapsed().as_secs_f64());
    writers.assert_whole();
    writers.cloned("carla").assert_whole();
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
    // Only the routes of the new subnet exist.
    let old =
        origin[1].lines().find_map(|line| line.trim().strip_prefix("inet ")?.strip_prefix("10.")?.split('.').next()).unwrap().to_owned();
    let now = of("carla", "past1", "ip -4 addr; ip route; cat /etc/hosts /etc/resolv.conf");
    assert!(!now.contains(&format!("10.{old}.")), "{now}");
    assert!(of("carla", "past2", "ping -c1 -W5 past1; ping -c1 -W5 10.99.0.1").contains("from past1.past (10.99.0.10)"));
    // IPv6 follows as well.
    let six = |lab: &str| of(lab, "past1", "ip -6 -o addr show dev eth0 scope global | awk '{print $4}'");
    let (before, after) = (six("past"), six("carla"));
    assert!(before != after && after.starts_with("fd") && after.ends_with("::a/64\n"), "{before} {after}");
    assert!(of("carla", "past2", "ping -6 -c1 -W5 past1; cat /etc/hosts").contains(&format!("({})", after.trim_end_matches("/64\n"))));
    assert_eq!(sandbox.good(&["--lab", "carla", "exec", "past1", "--", "perl", "-e", ASK, "10.99.0.1"]), "10.99.0.11");
    assert!(sandbox.good(&["--lab", "carla", "ssh", "past2", "--", "hostname", "-I"]).contains("10.99.0.11"));
    let known = sandbox.good(&["--lab", "carla", "hosts", "print"]);
    assert!(known.contains(&format!("{} ", carla["nodes"][0]["loopback"].as_str().unwrap())) && known.contains("past1.carla"), "{known}");
    assert_eq!(page(&carla["nodes"][0]), "hello\n", "the published port");

    // It keeps its subnet: over a reboot, its own snapshots, halt and up.
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

    // A clone of the clone, in the subnet of its name; a subnet that is already taken is refused.
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

/// kill -9 of the command, the clone's supervisor or one of its machines: after a retry or an `up`, the requested clone exists.
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
        // All random numbers are drawn first: what happens must not change what the seed gives next.
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
            // A mistake in the first attempt can be corrected in the second.
            let again = if other { "10.97.0" } else { subnet };
            println!("round {round}: again, in {again}.0/24");
            let output = sandbox.run(&["clone", "past", "anna", "--subnet", &format!("{again}.0/24")]);
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                subnet = again;
            } else {
                assert!(said.contains("lab `anna` already exists"), "{said}");
                println!("round {round}: it was there");
                sandbox.good(&["--lab", "anna", "up"]);
            }
        }
        // A machine that was killed after everything was done boots.
        if victim != 2 {
            assert_eq!(sandbox.good(&["--lab", "anna", "exec", "past1", "--", "cat", "/run/word"]), "origin\n", "round {round}");
        }
        let script = "cat /root/word; ping -c1 -W5 past1; grep -c ' past' /etc/hosts";
        let said = sandbox.good(&["--lab", "anna", "exec", "past1", "--", "sh", "-c", script]);
        assert!(said.starts_with("kept\n") && said.contains(&format!("{subnet}.10")) && said.ends_with("\n4\n"), "round {round}: {said}");
        let said = sandbox.good(&["--lab", "anna", "exec", "past2", "--", "ping", "-c1", "-W5", "past1"]);
        assert!(said.contains(&format!("past1.past ({subnet}.10)")), "round {round}: {said}");
        assert_eq!(sandbox.machines().len(), 4, "round {round}: a machine too many or too few");
        assert_eq!(sandbox.good(&["exec", "past1", "--", "cat", "/run/word"]), "origin\n", "round {round}");
        sandbox.good(&["--lab", "anna", "destroy", "--force"]);
        assert_eq!(sandbox.machines().len(), 2, "round {round}");
    }
    sandbox.good(&["clone", "past", "anna"]);
    sandbox.good(&["--lab", "anna", "destroy", "--force"]);
    sandbox.good(&["destroy", "--force"]);
    assert_eq!(sandbox.machines(), Vec::<i32>::new());
    assert_eq!(sandbox.disk_layers(), 0);
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

    // The same addresses inside, others on the host, and separate names there.
    let status = |lab: &str| -> Value { sandbox.json(&["--lab", lab, "status"]) };
    let (origin, anna) = (status("past"), status("anna"));
    assert_eq!(origin["nodes"][0]["address"], anna["nodes"][0]["address"]);
    assert_ne!(origin["nodes"][0]["loopback"], anna["nodes"][0]["loopback"]);
    assert!(sandbox.good(&["--lab", "anna", "hosts", "print"]).contains("past1.anna"));
    until("nodes of a clone reach each other", Duration::from_secs(20), || {
        sandbox.run(&["--lab", "anna", "exec", "past1", "--", "ping", "-c1", "-W1", "past2"]).status.success()
    });

    // Each lab lives and stops independently.
    sandbox.good(&["--lab", "anna", "reload", "past2"]);
    sandbox.good(&["--lab", "anna", "snapshot", "save", "own"]);
    sandbox.good(&["--lab", "anna", "up"]);
    let (_, said) = sandbox.bad(&["clone", "past", "anna"]);
    assert!(said.contains("lab `anna` already exists"), "{said}");
    clones_in_other_subnets(&sandbox);
    sandbox.good(&["destroy", "--force"]);
    assert_eq!(word("berta"), "origin\n");
    sandbox.good(&["--lab", "anna", "snapshot", "restore", "own"]);
    assert_eq!(word("anna"), "anna\n");
    for lab in ["anna", "berta"] {
        sandbox.good(&["--lab", lab, "destroy", "--force"]);
    }
    assert_eq!(sandbox.machines(), Vec::<i32>::new());
    assert_eq!(sandbox.disk_layers(), 0);
}
