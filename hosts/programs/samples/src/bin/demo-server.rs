//! A server behind the edge: `/info` says who it is and which version.

use std::process::ExitCode;

use samples::http::Response;
use samples::json::quoted;
use samples::run;

fn main() -> ExitCode {
    let version = std::env::var("VERSION").unwrap_or_else(|_| "-".to_owned());
    run::service("demo-server", |identity| {
        Box::new(move |request| match request.path.as_str() {
            "/info" => Response::json(format!("{{{},\"version\":{}}}\n", identity.members(), quoted(&version))),
            _ => Response::text(&format!("hello from {}\n", identity.address)),
        })
    })
}
