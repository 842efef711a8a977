//! The frontend: a page with values of its own environment (`FRONTEND_*`), and what a backend answers. Backends may come and go; without one the
//! page says so.

use std::process::ExitCode;

use samples::http::Response;
use samples::page::{escaped, page, table};
use samples::run;
use samples::upstream::Upstream;

fn main() -> ExitCode {
    let backends = Upstream::new(std::env::var("BACKENDS").unwrap_or_else(|_| "local/backends".to_owned()));
    let mut values: Vec<(String, String)> = std::env::vars().filter(|(name, _)| name.starts_with("FRONTEND_")).collect();
    values.sort();
    run::service("frontend", |identity| {
        Box::new(move |_| {
            let own = [("node", identity.node.clone()), ("address", identity.address.clone()), ("instance", identity.instance.clone())];
            let rows = own.into_iter().chain(values.iter().map(|(name, value)| (name.as_str(), value.clone())));
            let backend = match backends.ask("/") {
                Some(answer) => format!("<pre id=\"backend\">{}</pre>", escaped(answer.trim())),
                None => "<p id=\"backend\">There is no backend now.</p>".to_owned(),
            };
            Response::html(page("Frontend", &format!("{}<h2>Backend</h2>\n{backend}", table(rows))))
        })
    })
}
