//! A TCP connection over the lab's network.

use std::time::Duration;

use labctl_spec::scenario::TcpCheck;

use super::Answer;
use crate::target::ProbeTarget;

pub(super) async fn ask(check: &TcpCheck, target: &dyn ProbeTarget, limit: Duration) -> Answer {
    match target.tcp(&check.node, check.port, limit).await {
        Ok(()) => Answer::yes(format!("{}:{} accepts connections", check.node, check.port)),
        Err(error) => Answer::no(error.message),
    }
}
