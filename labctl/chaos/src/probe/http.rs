//! An HTTP request over the lab's network.

use std::time::Duration;

use labctl_spec::scenario::HttpCheck;

use super::{Answer, excerpt};
use crate::target::ProbeTarget;

pub(super) async fn ask(check: &HttpCheck, target: &dyn ProbeTarget, limit: Duration) -> Answer {
    let path = check.path.as_deref().unwrap_or("/");
    let answer = match target.http(&check.node, check.port, path, limit).await {
        Ok(answer) => answer,
        Err(error) => return Answer::no(error.message),
    };
    let status_fits = match check.status {
        Some(status) => answer.status == status,
        None => (200..300).contains(&answer.status),
    };
    if !status_fits {
        let wanted = check.status.map_or("2xx".to_owned(), |s| s.to_string());
        return Answer::no(format!("status {} instead of {wanted}: {}", answer.status, excerpt(&answer.body)));
    }
    if let Some(text) = &check.contains
        && !holds(&answer.body, text)
    {
        return Answer::no(format!("status {}, but `{text}` is not in the response: {}", answer.status, excerpt(&answer.body)));
    }
    Answer::yes(format!("status {}, {} bytes", answer.status, answer.body.len()))
}

/// Whether the bytes contain the text.
pub(super) fn holds(bytes: &[u8], text: &str) -> bool {
    text.is_empty() || bytes.windows(text.len()).any(|part| part == text.as_bytes())
}
