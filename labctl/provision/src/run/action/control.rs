//! `pause`, `wait_for_connection`, `reboot`, `async_status`.

use std::time::{Duration, Instant};

use super::{Action, Done, Stop, result};
use crate::clock;
use crate::controller::stopwatch;
use crate::data::Data;
use crate::lock::lock;

impl Action {
    fn seconds(&self, name: &str) -> Result<Option<f64>, Stop> {
        match self.text(name) {
            None => Ok(None),
            Some(text) => {
                let value: f64 = text.trim().parse().map_err(|_| format!("non-integer value given for {name}: {text}"))?;
                Ok(Some(value.clamp(0.0, 1e9)))
            }
        }
    }

    pub(super) async fn pause(&self) -> Done {
        let wanted = match (self.seconds("minutes")?, self.seconds("seconds")?) {
            (Some(minutes), _) => Some(minutes * 60.0),
            (None, seconds) => seconds,
        };
        // Nobody can press a key: without a time, Ansible also continues at once if its input is not a terminal.
        let wanted = wanted.unwrap_or(0.0);
        let begin = clock::format(stopwatch(), "%Y-%m-%d %H:%M:%S");
        let measured = Instant::now();
        self.play.run.sleep(Duration::from_secs_f64(wanted)).await;
        let stop = clock::format(stopwatch(), "%Y-%m-%d %H:%M:%S");
        Ok(result([
            ("changed", false.into()),
            ("delta", Data::Int(measured.elapsed().as_secs() as i64)),
            ("echo", self.flag("echo", true)?.into()),
            ("rc", Data::Int(0)),
            ("start", begin.into()),
            ("stderr", "".into()),
            ("stdout", format!("Paused for {wanted} seconds").into()),
            ("stop", stop.into()),
            ("user_input", "".into()),
        ]))
    }

    pub(super) async fn wait_for_connection(&self) -> Done {
        let begin = Instant::now();
        self.play.run.sleep(Duration::from_secs_f64(self.seconds("delay")?.unwrap_or(0.0))).await;
        let timeout = Duration::from_secs_f64(self.seconds("timeout")?.unwrap_or(600.0));
        if self.check {
            return Ok(result([("changed", false.into()), ("skipped", true.into())]));
        }
        self.target()?.await_ready(timeout).await.map_err(|error| format!("timed out waiting for ping module test: {error}"))?;
        Ok(result([("changed", false.into()), ("elapsed", Data::Int(begin.elapsed().as_secs() as i64))]))
    }

    pub(super) async fn reboot(&self) -> Done {
        if self.check {
            return Ok(result([("changed", true.into()), ("elapsed", Data::Int(0)), ("rebooted", true.into())]));
        }
        let begin = Instant::now();
        let timeout = Duration::from_secs_f64(self.seconds("reboot_timeout")?.unwrap_or(600.0));
        let target = self.target()?;
        target.reboot(timeout).await?;
        self.play.run.sleep(Duration::from_secs_f64(self.seconds("post_reboot_delay")?.unwrap_or(0.0))).await;
        if let Some(command) = self.text("test_command").filter(|command| !command.is_empty()) {
            let mut args = crate::data::Dict::new();
            args.insert("_raw_params".into(), command.into());
            let answer = self.remote("command", args).await?;
            if crate::run::is(&answer, "failed") {
                return Err(Stop::Failed("the test command fails after the reboot".to_owned()));
            }
        }
        Ok(result([("changed", true.into()), ("elapsed", Data::Int(begin.elapsed().as_secs() as i64)), ("rebooted", true.into())]))
    }

    /// A job finishes before the task that started it, so every job is finished.
    pub(super) fn async_status(&self) -> Done {
        let job = self.need("jid")?;
        if self.text("mode").as_deref() == Some("cleanup") {
            return Ok(result([("changed", false.into()), ("ansible_job_id", job.into()), ("erased", "".into())]));
        }
        lock(&self.play.jobs).get(&job).cloned().ok_or_else(|| Stop::Failed(format!("could not find job {job}")))
    }
}
