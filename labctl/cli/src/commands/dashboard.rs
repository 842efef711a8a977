//! `labctl dashboard`.

use std::process::{Command, ExitCode, Stdio};

use labctl_lab::Failure;
use labctl_web::{Dashboard, LabSource};

use crate::session::Session;

/// Arguments of `labctl dashboard`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// TCP port on 127.0.0.1 [default: a free one]
    #[arg(long, short, default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Open it in the browser
    #[arg(long)]
    open: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<ExitCode, Failure> {
    let home = session.home()?;
    let lab = session.known_lab(&home)?;
    let dashboard = Dashboard::bind(args.port).await?;
    let (source, _following) = LabSource::follow(home, lab).await?;
    let url = dashboard.url();
    session.out.result(&serde_json::json!({ "event": "dashboard", "url": url, "address": dashboard.address() }), || url.clone());
    session.out.say("Anyone with this address can see the lab. Ctrl-C stops the dashboard, not the lab.");
    if args.open
        && let Err(why) = open(&url)
    {
        session.out.say(&format!("warning: the browser could not be opened: {why}; open the address by hand"));
    }
    tokio::select! {
        served = dashboard.serve(source) => served?,
        // If the signal cannot be caught, the process can only be killed, which is just as good.
        Ok(()) = tokio::signal::ctrl_c() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the desktop to open the browser.
fn open(url: &str) -> Result<(), String> {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(opener);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Not waited for, because some openers run as long as the browser does.
    command.spawn().map(drop).map_err(|why| format!("{opener}: {why}"))
}
