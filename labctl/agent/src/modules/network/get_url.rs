//! `get_url`: downloads a file.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::modules::call::arguments::{dict, flag, int, list, on, path, text};
use crate::modules::call::outcome::{Attempt, Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::atomic_write::{beside, replace_with};
use crate::modules::files::content::back_up;
use crate::modules::files::digest;
use crate::modules::files::ownership::describe;
use crate::modules::network::http::{Request, Response};

pub(crate) const MODULE: Module = Module {
    names: &["get_url"],
    params: &[
        text("url").must(),
        path("dest").must(),
        path("tmp_dest"),
        flag("force").aka(&["thirsty"]),
        flag("backup"),
        text("checksum").or(""),
        int("timeout").or("10"),
        dict("headers"),
        text("url_username").aka(&["username"]),
        text("url_password").aka(&["password"]),
        flag("force_basic_auth"),
        text("http_agent").or("ansible-httpget"),
        on("use_proxy"),
        on("validate_certs"),
        path("client_cert"),
        path("client_key"),
        list("ciphers"),
        flag("use_gssapi"),
        on("use_netrc"),
        list("unredirected_headers"),
        on("decompress"),
    ],
    files: true,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let url = args.str("url");
    let dest = args.path("dest").unwrap_or_default();
    let checksum = match args.filled("checksum") {
        None => None,
        Some(text) => Some(wanted_sum(task, text, url)?),
    };
    let mut result = Map::new();
    result.insert("url".into(), url.into());
    let mut path = if dest.is_dir() { dest.join(name_of(url)) } else { dest.clone() };
    result.insert("dest".into(), path.to_string_lossy().into());
    if path.exists() && !dest.is_dir() || checksum.is_some() && path.exists() {
        let matches = match &checksum {
            Some((algorithm, sum)) => sum_of(&path, algorithm)? == *sum,
            None => false,
        };
        if matches || (checksum.is_none() && !args.flag("force")) {
            let changed = attributes(task, &path, &mut result)?;
            result.insert("changed".into(), changed.into());
            let msg = if changed { "file already exists but file attributes changed" } else { "file already exists" };
            result.insert("msg".into(), msg.into());
            if let Some((_, sum)) = &checksum {
                result.insert("checksum_dest".into(), sum.as_str().into());
                result.insert("checksum_src".into(), sum.as_str().into());
            }
            return Ok(result.into());
        }
    }
    if task.check {
        result.insert("changed".into(), true.into());
        result.insert("msg".into(), "OK".into());
        return Ok(result.into());
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    if !parent.is_dir() {
        return Err(format!("Destination {} does not exist", parent.display()).into());
    }
    let temporary = beside(&path);
    let local = url.strip_prefix("file://");
    let response = match local {
        Some(local) => {
            let local = Path::new(local);
            fs::copy(local, &temporary).attempt("read", local).inspect_err(|_| {
                let _ = fs::remove_file(&temporary);
            })?;
            None
        }
        None => Some(Request::get(task, url).save(&temporary)?),
    };
    if dest.is_dir()
        && let Some(name) = response.as_ref().and_then(disposition)
    {
        path = dest.join(name);
        result.insert("dest".into(), path.to_string_lossy().into());
    }
    let done = place(task, &temporary, &path, checksum.as_ref(), &mut result);
    let _ = fs::remove_file(&temporary);
    done?;
    result.insert("status_code".into(), response.as_ref().map_or(Value::Null, |response| response.status.into()));
    let size = fs::metadata(&path).map_or(0, |meta| meta.len());
    let said = match &response {
        Some(response) => response.header("content-length").map_or_else(|| "unknown".to_owned(), str::to_owned),
        None => size.to_string(),
    };
    result.insert("msg".into(), format!("OK ({said} bytes)").into());
    result.insert("size".into(), size.into());
    Ok(Done::from(result))
}

/// Moves the download into place if its checksum is right and it differs from the existing file.
fn place(
    task: &Task<'_>,
    temporary: &Path,
    path: &Path,
    checksum: Option<&(String, String)>,
    result: &mut Map<String, Value>,
) -> Result<(), Fault> {
    if let Some((algorithm, wanted)) = checksum {
        let got = sum_of(temporary, algorithm)?;
        if got != *wanted {
            let shown = path.display();
            return Err(Fault::from(format!("The checksum for {shown} did not match {wanted}; it was {got}.")));
        }
    }
    let sums = digest::sums(temporary).attempt("read", temporary)?;
    result.insert("checksum_src".into(), sums.sha1.clone().into());
    let there = path.exists().then(|| digest::sums(path)).transpose().attempt("read", path)?;
    result.insert("checksum_dest".into(), there.as_ref().map_or(Value::Null, |sums| sums.sha1.clone().into()));
    let mut changed = there.as_ref() != Some(&sums);
    if changed {
        if task.args.flag("backup") && path.exists() {
            result.insert("backup_file".into(), back_up(path)?.to_string_lossy().into());
        }
        let meta = fs::metadata(path).ok();
        let files = task.file_args()?.resolve(meta.as_ref(), false);
        replace_with(path, temporary, &files).attempt("write", path)?;
        describe(task.root, path, result);
    } else {
        changed = attributes(task, path, result)?;
    }
    result.insert("changed".into(), changed.into());
    Ok(())
}

fn attributes(task: &Task<'_>, path: &Path, result: &mut Map<String, Value>) -> Result<bool, Fault> {
    let changed = task.file_args()?.enforce(path, task.check, &mut json!({}), &mut json!({}))?;
    describe(task.root, path, result);
    Ok(changed)
}

fn sum_of(path: &Path, algorithm: &str) -> Result<String, Fault> {
    digest::by_name(path, algorithm).ok_or_else(|| Fault::from(format!("unknown checksum algorithm {algorithm}")))?.attempt("read", path)
}

/// `algorithm:sum`, or `algorithm:URL` of a list that contains the file's name.
fn wanted_sum(task: &Task<'_>, text: &str, url: &str) -> Result<(String, String), Fault> {
    let bad = || Fault::from("The checksum parameter has to be in format <algorithm>:<checksum>");
    let (algorithm, sum) = text.split_once(':').ok_or_else(bad)?;
    let (algorithm, sum) = (algorithm.trim().to_lowercase(), sum.trim());
    if !sum.contains("://") {
        return Ok((algorithm, sum.to_lowercase().replace(|c: char| !c.is_alphanumeric(), "")));
    }
    let mut response = Request::get(task, sum).send()?;
    if response.status != 200 {
        return Err(format!("Request failed: HTTP Error {}: {sum}", response.status).into());
    }
    let list = response.bytes().attempt("read", sum)?;
    let list = String::from_utf8_lossy(&list).into_owned();
    let name = name_of(url);
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    if let [only] = &lines[..]
        && let [sum] = only[..]
    {
        return Ok((algorithm, sum.to_lowercase()));
    }
    lines
        .iter()
        .find_map(|words| match words[..] {
            [sum, file, ..] => {
                let file = file.trim_start_matches(['*']).trim_start_matches("./");
                (file == name || file.ends_with(&format!("/{name}"))).then(|| sum.to_lowercase())
            }
            _ => None,
        })
        .map(|sum| (algorithm.clone(), sum))
        .ok_or_else(|| format!("Unable to find a checksum for file '{name}' in '{sum}'").into())
}

fn name_of(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    if name.is_empty() { "index.html".to_owned() } else { name.to_owned() }
}

/// The file name that the server proposes, without any folders.
fn disposition(response: &Response) -> Option<String> {
    let value = response.header("content-disposition")?;
    let name = value.split(';').find_map(|part| part.trim().strip_prefix("filename="))?;
    let name = PathBuf::from(name.trim_matches('"')).file_name()?.to_string_lossy().into_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
