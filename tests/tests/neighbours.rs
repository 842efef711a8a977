//! Two labs on one host: a guest of one finds no way into the other, whatever it does to its own network.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use labctl_tests::{Sandbox, can_boot, until};

/// A program that greets everybody who connects to a port.
fn greeter(port: u16) -> String {
    format!(
        "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => {port}, Listen => 5, ReuseAddr => 1) or die; \
         while ($c = $s->accept) {{ print $c 'the neighbour'; close $c }}"
    )
}

fn greeting(address: &str, port: u16) -> String {
    let Ok(mut stream) = TcpStream::connect((address, port)) else { return String::new() };
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

/// Which of these addresses the guest can connect to.
fn reached(sandbox: &Sandbox, addresses: &[&str], port: u16) -> Vec<String> {
    let dials: Vec<String> = addresses
        .iter()
        .map(|address| format!("timeout 10 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null && echo {address} & "))
        .collect();
    let said = sandbox.good(&["exec", "a", "--", "bash", "-c", &format!("{} wait", dials.concat())]);
    said.lines().map(str::to_owned).collect()
}

#[test]
fn a_guest_finds_no_way_into_another_lab() {
    if !can_boot() {
        return;
    }
    // One that nobody uses on the host's loopback.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let neighbour = Sandbox::new();
    let lab = format!("name: neighbour\nnetwork: {{internet: false}}\nnodes: [{{name: b, memory: 256M, publish: [{port}]}}]\n");
    neighbour.write("lab.yml", &lab);
    neighbour.good(&["up"]);
    neighbour.run_perl("b", &greeter(port));
    let status = neighbour.status();
    let [published, inside] = ["loopback", "address"].map(|key| status["nodes"][0][key].as_str().unwrap().to_owned());
    until("the neighbour's port on the host", Duration::from_secs(60), || greeting(&published, port) == "the neighbour");
    let gateway = labctl_spec::load_lab(&neighbour.folder().join("lab.yml")).unwrap().network.gateway.to_string();

    let sandbox = Sandbox::new();
    for (network, internet) in
        [("{internet: false}", false), ("{internet: false, host_loopback: true}", false), ("{host_loopback: true}", true)]
    {
        // The network cannot change while nodes run.
        sandbox.run(&["destroy", "--yes"]);
        sandbox.write("lab.yml", &format!("name: own\nnetwork: {network}\nnodes: [{{name: a, memory: 256M}}]\n"));
        sandbox.good(&["up"]);
        let own = labctl_spec::load_lab(&sandbox.folder().join("lab.yml")).unwrap().network.gateway.to_string();
        assert_ne!(own, gateway);
        // A guest's kernel keeps these addresses to itself, unless it is told otherwise: then they come to the switch.
        let routes = format!(
            "sysctl -qw net.ipv4.conf.all.route_localnet=1; ip route del local 127.0.0.0/8 dev lo table local 2>/dev/null; \
             ip route replace local 127.0.0.1 dev lo table local; ip route replace {published} via {own} && ip route get {published}"
        );
        let way = sandbox.good(&["exec", "a", "--", "sh", "-c", &routes]);
        assert!(way.contains(&own), "{way}");
        // With a way to the internet, addresses of other labs would be dialled outside, where no labs are.
        let addresses = [&published, &own, &inside, &gateway].map(String::as_str);
        let tried = if internet { &addresses[..2] } else { &addresses[..] };
        assert_eq!(reached(&sandbox, tried, port), Vec::<String>::new(), "{network}");
    }
    assert_eq!(greeting(&published, port), "the neighbour", "it was there all the time");
    // The same dial does reach what the lab lets its guests reach: a port of the host's own loopback.
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let own = labctl_spec::load_lab(&sandbox.folder().join("lab.yml")).unwrap().network.gateway.to_string();
    assert_eq!(reached(&sandbox, &[&own], port), std::slice::from_ref(&own));
}
