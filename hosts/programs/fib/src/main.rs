//! The demo lab's service: Fibonacci numbers over HTTP, and which instance computed them.
//!
//! `GET /fib?n=20` answers `{"n":20,"fib":6765,"instance":"1a2b3c4d","node":"client1","address":"10.77.0.12:23456"}`;
//! `GET /health` answers `ok`. Run by Nomad it listens on the address and port that the job's port label `http` was
//! given; by hand, on `--listen ADDRESS:PORT`. Nothing but the standard library, so that it builds static and quickly.

mod answer;
mod http;
mod identity;
mod numbers;
mod server;
mod stop;

use std::process::ExitCode;

use identity::Identity;
use server::Server;

const USAGE: &str = "usage: fib [--listen ADDRESS:PORT]
Without --listen: the address that Nomad gives by NOMAD_IP_http and NOMAD_PORT_http.";

fn main() -> ExitCode {
    let listen = match listen_address(std::env::args().skip(1)) {
        Ok(Some(listen)) => listen,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(reason) => {
            eprintln!("fib: {reason}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&listen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("fib: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(listen: &str) -> Result<(), String> {
    let server = Server::bind(listen, |address| Identity::from_environment(address.to_string()))
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let handle = server.handle();
    stop::on_signal(move |signal| {
        eprintln!("fib: signal {signal}, stopping");
        handle.stop();
    })
    .map_err(|error| format!("cannot listen for signals: {error}"))?;
    eprintln!("fib: listening on {}", server.address());
    server.run();
    Ok(())
}

/// The address to listen on; none if the usage was asked for.
fn listen_address(mut args: impl Iterator<Item = String>) -> Result<Option<String>, String> {
    let mut listen = None;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--listen" => listen = Some(args.next().ok_or("--listen wants ADDRESS:PORT")?),
            "-h" | "--help" => return Ok(None),
            _ => match arg.strip_prefix("--listen=") {
                Some(address) => listen = Some(address.to_owned()),
                None => return Err(format!("`{arg}` is not an option")),
            },
        }
    }
    if let Some(listen) = listen {
        return Ok(Some(listen));
    }
    match (std::env::var("NOMAD_IP_http"), std::env::var("NOMAD_PORT_http")) {
        (Ok(ip), Ok(port)) => Ok(Some(format!("{ip}:{port}"))),
        _ => Err("no address to listen on: neither --listen nor Nomad's environment is there".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::listen_address;

    fn parse(args: &[&str]) -> Result<Option<String>, String> {
        listen_address(args.iter().map(ToString::to_string))
    }

    #[test]
    fn takes_the_address_in_both_spellings() {
        assert_eq!(parse(&["--listen", "127.0.0.1:1"]), Ok(Some("127.0.0.1:1".to_owned())));
        assert_eq!(parse(&["--listen=127.0.0.1:2"]), Ok(Some("127.0.0.1:2".to_owned())));
        assert_eq!(parse(&["--help"]), Ok(None));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(parse(&["--port", "1"]).unwrap_err().contains("--port"));
        assert!(parse(&["--listen"]).is_err());
    }
}
