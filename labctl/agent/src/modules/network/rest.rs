//! Requests to the HTTP interfaces of Consul and Nomad.

use crate::modules::call::outcome::{Attempt, Fault};
use crate::modules::call::task::Task;
use crate::modules::network::http::{Request, Response};

pub(crate) fn talk(task: &Task<'_>, method: &str, url: &str, header: &str, body: Option<Vec<u8>>) -> Result<Response, Fault> {
    let mut request = Request::get(task, url);
    if let Some(token) = task.args.filled("token") {
        request = request.header(header, token);
    }
    request.method = method.to_owned();
    request.body = body;
    request.send()
}

pub(crate) fn read(response: &mut Response, url: &str) -> Result<String, Fault> {
    let bytes = response.bytes().attempt("read the answer of", url)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match response.status {
        200..300 => Ok(text),
        status => Err(format!("{url} answered {status}: {}", text.trim()).into()),
    }
}

pub(crate) fn quote(text: &str) -> String {
    text.bytes().fold(String::new(), |mut quoted, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'_' | b'.' | b'-' | b'~' => quoted.push(byte.into()),
            other => quoted.push_str(&format!("%{other:02X}")),
        }
        quoted
    })
}
