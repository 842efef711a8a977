//! Text formats, by the schema's `format`. labctl's own formats are parsed by their type, whose message says what is wrong; editors ignore
//! formats that they do not know.

use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::duration::{self, Duration};
use crate::ident::{self, LabName};
use crate::size::{self, Size};

/// Returns a reason and a hint if a text does not have the format.
pub(super) fn check(format: &str, text: &str) -> Result<(), (String, String)> {
    match format {
        ident::FORMAT => parse::<LabName>(text),
        size::FORMAT => parse::<Size>(text),
        duration::FORMAT => parse::<Duration>(text),
        "ipv4" => text
            .parse::<Ipv4Addr>()
            .map(drop)
            .map_err(|_| (format!("`{text}` is not an IPv4 address"), "write four numbers from 0 to 255, such as `10.77.0.10`".to_owned())),
        _ => Ok(()),
    }
}

/// The messages of these types have the form `reason: hint`.
fn parse<T: FromStr<Err: ToString>>(text: &str) -> Result<(), (String, String)> {
    text.parse::<T>().map(drop).map_err(|error| {
        let message = error.to_string();
        match message.rsplit_once(": ") {
            Some((reason, hint)) => (reason.to_owned(), hint.to_owned()),
            None => (message, String::new()),
        }
    })
}
