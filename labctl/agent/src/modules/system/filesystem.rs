//! `filesystem`: file systems on devices.

use serde_json::json;

use crate::modules::call::arguments::{flag, path, text};
use crate::modules::call::outcome::{Attempt, Fault, Outcome, must_exist};
use crate::modules::call::spawn::Spawn;
use crate::modules::call::task::{Module, Task};

pub(crate) const MODULE: Module = Module {
    names: &["filesystem"],
    params: &[
        path("dev").must().aka(&["device"]),
        text("fstype").aka(&["type"]),
        text("opts"),
        flag("force"),
        flag("resizefs"),
        text("state").of(&["absent", "present"]).or("present"),
        text("uuid"),
    ],
    files: false,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let device = args.str("dev");
    must_exist(device).map_err(|_| Fault::from(format!("Device {device} not found.")))?;
    let found = Spawn::of(task, ["blkid", "-c", "/dev/null", "-o", "value", "-s", "TYPE", device])
        .run()
        .attempt("inspect", device)?
        .out()
        .trim()
        .to_owned();
    if args.str("state") == "absent" {
        let changed = !found.is_empty();
        if changed && !task.check {
            Spawn::of(task, ["wipefs", "--all", device]).must()?;
        }
        return Ok(json!({"changed": changed}).into());
    }
    let kind = args.filled("fstype").ok_or_else(|| Fault::from("state is present but all of the following are missing: fstype"))?;
    if found == kind && !args.flag("force") {
        return Ok(json!({"changed": false}).into());
    }
    if !found.is_empty() && !args.flag("force") {
        return Err(format!("'{device}' is already used as {found}, use force=true to overwrite").into());
    }
    if !task.check {
        let mut argv = vec![format!("mkfs.{kind}")];
        argv.extend(match kind {
            "ext2" | "ext3" | "ext4" => vec!["-F".to_owned()],
            "xfs" | "btrfs" => vec!["-f".to_owned()],
            _ => vec![],
        });
        argv.extend(crate::modules::text::shell_words(args.str("opts")).map_err(Fault::from)?);
        argv.push(device.to_owned());
        Spawn::of(task, argv).must()?;
    }
    Ok(json!({"changed": true}).into())
}
