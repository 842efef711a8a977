//! The backend: JSON with some values of its environment (`BACKEND_*`), and which instance it is.

use std::process::ExitCode;

use samples::http::Response;
use samples::json::quoted;
use samples::run;

fn main() -> ExitCode {
    let mut values: Vec<(String, String)> = std::env::vars().filter(|(name, _)| name.starts_with("BACKEND_")).collect();
    values.sort();
    let values: Vec<String> = values.iter().map(|(name, value)| format!("{}:{}", quoted(name), quoted(value))).collect();
    let values = values.join(",");
    run::service("backend", |identity| {
        Box::new(move |_| Response::json(format!("{{{},\"environment\":{{{values}}}}}\n", identity.members())))
    })
}
