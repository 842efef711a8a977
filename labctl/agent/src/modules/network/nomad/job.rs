//! `nomad_job`: Nomad jobs, over its HTTP interface.

use serde_json::{Value, json};

use crate::modules::call::arguments::{flag, int, on, path, text};
use crate::modules::call::outcome::{Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::network::rest::{quote, read, talk};

pub(crate) const MODULE: Module = Module {
    names: &["nomad_job"],
    params: &[
        text("host").or("localhost"),
        int("port").or("4646"),
        text("state").must().of(&["absent", "present"]),
        flag("use_ssl"),
        int("timeout").or("5"),
        on("validate_certs"),
        path("client_cert"),
        path("client_key"),
        text("namespace"),
        text("name"),
        text("content_format").of(&["hcl", "json"]).or("hcl"),
        text("content"),
        flag("force_start"),
        text("token"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    args.exclusive(&["name", "content"])?;
    args.one_of(&["name", "content"])?;
    let scheme = if args.flag("use_ssl") { "https" } else { "http" };
    let base = format!("{scheme}://{}:{}/v1", args.str("host"), args.int("port").unwrap_or(4646));
    let space = args.filled("namespace").map_or(String::new(), |space| format!("?namespace={}", quote(space)));
    let ask = |method: &str, path: &str, body: Option<Value>| -> Result<Value, Fault> {
        let url = format!("{base}{path}");
        let body = body.map(|body| body.to_string().into_bytes());
        let mut answer = talk(task, method, &url, "X-Nomad-Token", body)?;
        let text = read(&mut answer, &url)?;
        serde_json::from_str(&text).map_err(|err| format!("{url} did not answer with JSON: {err}").into())
    };
    let definition = match args.filled("content") {
        None => None,
        Some(text) if args.str("content_format") == "json" => {
            let value: Value = serde_json::from_str(text).map_err(|err| Fault::from(format!("content is not JSON: {err}")))?;
            Some(value.get("Job").cloned().unwrap_or(value))
        }
        Some(text) => Some(ask("POST", "/jobs/parse", Some(json!({"JobHCL": text, "Canonicalize": true})))?),
    };
    let name = match (&definition, args.filled("name")) {
        (Some(definition), _) => definition["ID"].as_str().map(str::to_owned),
        (None, name) => name.map(str::to_owned),
    };
    let name = name.ok_or_else(|| Fault::from("the job has no ID"))?;
    let path = format!("/job/{}", quote(&name));
    if args.str("state") == "absent" {
        let mut url_answer = talk(task, "GET", &format!("{base}{path}{space}"), "X-Nomad-Token", None)?;
        let running = if url_answer.status == 404 {
            false
        } else {
            let text = read(&mut url_answer, &path)?;
            !serde_json::from_str::<Value>(&text).is_ok_and(|job| job["Stop"] == true)
        };
        if running && !task.check {
            ask("DELETE", &format!("{path}{space}"), None)?;
        }
        return Ok(json!({"changed": running, "name": name}).into());
    }
    let definition = match definition {
        Some(definition) => definition,
        None => ask("GET", &format!("{path}{space}"), None)?,
    };
    // Nomad itself reports what would change.
    let plan = ask("POST", &format!("{path}/plan{space}"), Some(json!({"Job": definition, "Diff": true})))?;
    let changed = plan["Diff"]["Type"] != "None" || args.flag("force_start");
    if changed && !task.check {
        let mut job = definition.clone();
        if args.flag("force_start") {
            job["Stop"] = false.into();
        }
        ask("POST", &format!("/jobs{space}"), Some(json!({"Job": job})))?;
    }
    let mut result = json!({"changed": changed, "name": name});
    if task.diff {
        result["diff"] = json!({"before": "", "after": "", "prepared": plan["Diff"].to_string()});
    }
    Ok(result.into())
}
