//! The hybrid mesh's API: statistics that consul-template writes on the node (`STATS_FILE`), and which instance passed them on.

use std::process::ExitCode;

use samples::http::Response;
use samples::json::quoted;
use samples::run;

fn main() -> ExitCode {
    let file = std::env::var("STATS_FILE").unwrap_or_else(|_| "/etc/stats/stats.json".to_owned());
    run::service("stats", |identity| {
        Box::new(move |_| match std::fs::read_to_string(&file) {
            Ok(stats) => Response::json(format!("{{{},\"stats\":{}}}\n", identity.members(), stats.trim())),
            Err(why) => Response::json(format!("{{\"error\":{}}}\n", quoted(&format!("{file}: {why}")))).with_status(503),
        })
    })
}
