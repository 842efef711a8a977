//! `uri`: an HTTP request and its response.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{as_text, dict, flag, int, list, on, path, raw, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::content::Content;
use crate::modules::files::ownership::describe;
use crate::modules::network::http::Request;
use crate::modules::text::python_json;

pub(crate) const MODULE: Module = Module {
    names: &["uri"],
    params: &[
        text("url").must(),
        path("dest"),
        text("method").or("GET"),
        raw("body"),
        text("body_format").of(&["form-urlencoded", "form-multipart", "json", "raw"]).or("raw"),
        path("src"),
        flag("return_content"),
        text("follow_redirects").of(&["all", "no", "none", "safe", "urllib2", "yes"]).or("safe"),
        path("creates"),
        path("removes"),
        list("status_code").or("200"),
        int("timeout").or("30"),
        dict("headers"),
        text("url_username").aka(&["user"]),
        text("url_password").aka(&["password"]),
        flag("force_basic_auth"),
        text("http_agent").or("ansible-httpget"),
        on("use_proxy"),
        on("validate_certs"),
        path("ca_path"),
        path("client_cert"),
        path("client_key"),
        path("unix_socket"),
        flag("remote_src"),
        flag("force").aka(&["thirsty"]),
        list("ciphers"),
        on("decompress"),
        flag("use_gssapi"),
        on("use_netrc"),
        list("unredirected_headers"),
    ],
    files: true,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    args.exclusive(&["body", "src"])?;
    for (key, wanted, word) in [("creates", true, "exists"), ("removes", false, "does not exist")] {
        if let Some(pattern) = args.filled(key)
            && crate::modules::files::find_glob::any(Path::new(pattern)) == wanted
        {
            return Ok(json!({"changed": false, "msg": format!("skipped, since '{pattern}' {word}")}).into());
        }
    }
    if args.has("unix_socket") {
        return Err("unix_socket is not supported by labctl's uri module".into());
    }
    if task.check {
        return Ok(json!({"changed": false, "skipped": true, "msg": "remote module (uri) does not support check mode"}).into());
    }
    let mut request = Request::get(task, args.str("url"));
    request.method = args.str("method").to_uppercase();
    request.redirects = match args.str("follow_redirects") {
        "none" | "no" => false,
        "all" | "yes" | "urllib2" => true,
        _ => matches!(request.method.as_str(), "GET" | "HEAD"),
    };
    let has_type = request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let (body, kind) = body(task)?;
    request.body = body;
    if let Some(kind) = kind.filter(|_| !has_type) {
        request = request.header("Content-Type", &kind);
    }
    let mut response = request.send()?;
    let accepted: Vec<String> = args.list("status_code");
    let mut result = Map::new();
    for (name, value) in &response.headers {
        let key = name.replace('-', "_");
        let value = match result.get(&key).and_then(Value::as_str) {
            Some(earlier) => format!("{earlier}, {value}"),
            None => value.clone(),
        };
        result.insert(key, value.into());
    }
    let text = format!("HTTP Error {}: {}", response.status, response.reason);
    let length = response.header("content-length").unwrap_or("unknown");
    let msg = if response.status < 400 { format!("OK ({length} bytes)") } else { text };
    result.insert("msg".into(), msg.clone().into());
    result.insert("status".into(), response.status.into());
    result.insert("url".into(), response.url.clone().into());
    result.insert("redirected".into(), (response.url != args.str("url")).into());
    result.insert("changed".into(), false.into());
    result.insert("elapsed".into(), 0.into());
    let bytes = response.bytes().attempt("read the answer of", args.str("url"))?;
    let content = String::from_utf8_lossy(&bytes).into_owned();
    let is_json = response.header("content-type").is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.ends_with("/json") || kind.ends_with("+json") || kind.ends_with("/javascript")
    });
    if is_json && let Ok(value) = serde_json::from_str::<Value>(&content) {
        result.insert("json".into(), value);
    }
    let status = response.status.to_string();
    if !accepted.contains(&status) {
        let list = accepted.join(", ");
        result.insert("content".into(), content.into());
        result.remove("msg");
        return Err(Fault { msg: format!("Status code was {status} and not [{list}]: {msg}"), extra: result });
    }
    if let Some(dest) = args.filled("dest") {
        save(task, Path::new(dest), &bytes, &mut result)?;
    }
    if args.flag("return_content") {
        result.insert("content".into(), content.into());
    }
    Ok(Done::from(result))
}

fn save(task: &Task<'_>, dest: &Path, bytes: &[u8], result: &mut Map<String, Value>) -> Result<(), Fault> {
    let name = task.args.str("url").split(['?', '#']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let path: PathBuf = if dest.is_dir() { dest.join(name) } else { dest.to_owned() };
    let content = Content::Bytes(bytes.to_vec());
    let files = task.file_args()?;
    let changed = if content.is_at(&path).attempt("compare", &path)? {
        files.enforce(&path, false, &mut json!({}), &mut json!({}))?
    } else {
        content.put(&path, &files.resolve(std::fs::metadata(&path).ok().as_ref(), false), false)?;
        true
    };
    result.insert("changed".into(), changed.into());
    result.insert("path".into(), path.to_string_lossy().into());
    describe(task.root, &path, result);
    Ok(())
}

type Coded = (Option<Vec<u8>>, Option<String>);

fn body(task: &Task<'_>) -> Result<Coded, Fault> {
    let args = &task.args;
    if let Some(content) = Content::announced(task)? {
        return Ok((content.bytes(usize::MAX), None));
    }
    if let Some(src) = args.filled("src") {
        return Ok((Some(std::fs::read(src).attempt("read", src)?), None));
    }
    let Some(body) = args.get("body").filter(|body| !body.is_null()) else {
        return Ok((None, None));
    };
    match args.str("body_format") {
        "json" => {
            let text = match body {
                Value::String(text) => text.clone(),
                other => python_json(other),
            };
            Ok((Some(text.into_bytes()), Some("application/json".to_owned())))
        }
        "form-urlencoded" => {
            let text = match body {
                Value::Object(fields) => {
                    let pairs = fields.iter().flat_map(|(key, value)| match value {
                        Value::Array(items) => items.iter().map(|item| pair(key, item)).collect(),
                        other => vec![pair(key, other)],
                    });
                    pairs.collect::<Vec<_>>().join("&")
                }
                other => as_text(other),
            };
            Ok((Some(text.into_bytes()), Some("application/x-www-form-urlencoded".to_owned())))
        }
        "form-multipart" => {
            let Value::Object(fields) = body else {
                return Err("failed to parse body as form-multipart: body must be mapping".into());
            };
            // Long and unlikely: no part may contain it.
            let boundary = format!("labctl{}", crate::modules::files::digest::md5_of(python_json(body).as_bytes()));
            let mut text = Vec::new();
            for (name, value) in fields {
                text.extend_from_slice(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"").as_bytes());
                let content = match value {
                    Value::Object(part) => {
                        if let Some(file) = part.get("filename").map(as_text) {
                            let shown = Path::new(&file).file_name().map(|n| n.to_string_lossy().into_owned());
                            text.extend_from_slice(format!("; filename=\"{}\"", shown.unwrap_or_default()).as_bytes());
                        }
                        match (part.get("content"), part.get("filename")) {
                            (Some(content), _) => as_text(content).into_bytes(),
                            (None, Some(file)) => std::fs::read(as_text(file)).attempt("read", as_text(file))?,
                            _ => Vec::new(),
                        }
                    }
                    other => as_text(other).into_bytes(),
                };
                text.extend_from_slice(b"\r\n\r\n");
                text.extend_from_slice(&content);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
            Ok((Some(text), Some(format!("multipart/form-data; boundary={boundary}"))))
        }
        _ => Ok((Some(as_text(body).into_bytes()), None)),
    }
}

fn pair(key: &str, value: &Value) -> String {
    format!("{}={}", quote(key), quote(&as_text(value)))
}

/// Like Python's `urllib.parse.quote_plus`.
fn quote(text: &str) -> String {
    text.bytes().fold(String::new(), |mut quoted, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => quoted.push(byte.into()),
            b' ' => quoted.push('+'),
            other => quoted.push_str(&format!("%{other:02X}")),
        }
        quoted
    })
}
