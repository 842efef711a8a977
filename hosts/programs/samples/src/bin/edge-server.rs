//! The edge of the world: `/info` says who it is, and what each of the demo servers behind it says.

use std::process::ExitCode;

use samples::http::Response;
use samples::json::quoted;
use samples::run;
use samples::upstream::Upstream;

fn main() -> ExitCode {
    let servers = Upstream::new(std::env::var("UPSTREAMS").unwrap_or_else(|_| "local/upstreams".to_owned()));
    let version = std::env::var("VERSION").unwrap_or_else(|_| "-".to_owned());
    run::service("edge-server", |identity| {
        Box::new(move |request| match request.path.as_str() {
            "/info" => {
                let upstreams = servers.ask_all("/info").into_iter().map(|(address, answer)| {
                    let info = answer.map_or_else(|| "null".to_owned(), |answer| answer.trim().to_owned());
                    format!("{{\"address\":{},\"info\":{info}}}", quoted(&address))
                });
                let upstreams: Vec<String> = upstreams.collect();
                let (version, upstreams) = (quoted(&version), upstreams.join(","));
                Response::json(format!("{{{},\"version\":{version},\"upstreams\":[{upstreams}]}}\n", identity.members()))
            }
            path => match servers.ask(path) {
                Some(answer) => Response::text(&answer),
                None => Response::text("there is no demo server now\n").with_status(502),
            },
        })
    })
}
