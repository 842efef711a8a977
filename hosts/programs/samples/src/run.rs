//! The part of `main` that all services share.

use std::process::ExitCode;

use crate::http::{Request, Response};
use crate::identity::Identity;
use crate::server::{Server, Service};
use crate::stop;

/// Runs a service until it is told to stop. It listens on `--listen ADDRESS:PORT`, or where Nomad says. `/health` is answered for it, and methods
/// other than GET and HEAD are refused.
pub fn service(name: &'static str, make: impl FnOnce(Identity) -> Service) -> ExitCode {
    let usage = format!(
        "usage: {name} [--listen ADDRESS:PORT]\nWithout --listen: the address that Nomad gives by NOMAD_IP_http and NOMAD_PORT_http."
    );
    let environment = |name: &str| std::env::var(name).ok();
    let listen = match listen_address(std::env::args().skip(1), &environment) {
        Ok(Some(listen)) => listen,
        Ok(None) => {
            println!("{usage}");
            return ExitCode::SUCCESS;
        }
        Err(reason) => {
            eprintln!("{name}: {reason}\n{usage}");
            return ExitCode::from(2);
        }
    };
    match run(name, &listen, make) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{name}: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &'static str, listen: &str, make: impl FnOnce(Identity) -> Service) -> Result<(), String> {
    let service = |address| -> Service {
        let service = make(Identity::from_environment(address));
        Box::new(move |request| common(request).unwrap_or_else(|| service(request)))
    };
    let server = Server::bind(listen, service).map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let handle = server.handle();
    stop::on_signal(move |signal| {
        eprintln!("{name}: signal {signal}, stopping");
        handle.stop();
    })
    .map_err(|error| format!("cannot listen for signals: {error}"))?;
    eprintln!("{name}: listening on {}", server.address());
    server.run();
    Ok(())
}

/// The answer that is the same for all services.
fn common(request: &Request) -> Option<Response> {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET" | "HEAD", "/health") => Some(Response::text("ok\n")),
        ("GET" | "HEAD", _) => None,
        _ => Some(Response::json("{\"error\":\"only GET and HEAD are understood\"}\n".to_owned()).with_status(405)),
    }
}

/// The address to listen on; none if the usage was asked for.
fn listen_address(mut args: impl Iterator<Item = String>, environment: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
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
    match (environment("NOMAD_IP_http"), environment("NOMAD_PORT_http")) {
        (Some(ip), Some(port)) => Ok(Some(format!("{ip}:{port}"))),
        _ => Err("no address to listen on: neither --listen nor Nomad's environment is there".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Option<String>, String> {
        listen_address(args.iter().map(ToString::to_string), &|_| None)
    }

    #[test]
    fn takes_the_address_in_both_spellings_and_from_nomad() {
        assert_eq!(parse(&["--listen", "127.0.0.1:1"]), Ok(Some("127.0.0.1:1".to_owned())));
        assert_eq!(parse(&["--listen=127.0.0.1:2"]), Ok(Some("127.0.0.1:2".to_owned())));
        assert_eq!(parse(&["--help"]), Ok(None));
        let nomad = |name: &str| Some(if name == "NOMAD_IP_http" { "127.0.0.1" } else { "3" }.to_owned());
        assert_eq!(listen_address([].into_iter(), &nomad), Ok(Some("127.0.0.1:3".to_owned())));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(parse(&["--port", "1"]).unwrap_err().contains("--port"));
        assert!(parse(&["--listen"]).is_err());
        assert!(parse(&[]).is_err());
    }

    #[test]
    fn health_and_methods_are_the_same_for_all() {
        let ask = |method: &str, path: &str| {
            common(&Request { method: method.into(), path: path.into(), query: String::new(), keep_alive: false })
                .map(|answer| answer.status)
        };
        assert_eq!((ask("GET", "/health"), ask("POST", "/"), ask("GET", "/")), (Some(200), Some(405), None));
    }
}
