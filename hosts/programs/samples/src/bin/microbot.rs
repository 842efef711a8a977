//! A page that shows which container served it: the container's host name is its id.

use std::process::ExitCode;

use samples::http::Response;
use samples::page::{page, table};
use samples::run;

fn main() -> ExitCode {
    let host = std::env::var("HOSTNAME").ok().or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    let host = host.map_or_else(|| "-".to_owned(), |host| host.trim().to_owned());
    run::service("microbot", |identity| {
        Box::new(move |_| {
            let rows = [("Container", host.clone()), ("Address", identity.address.clone()), ("Node", identity.node.clone())];
            Response::html(page("Microbot", &table(rows)))
        })
    })
}
