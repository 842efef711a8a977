//! `pam_limits`: resource limits of users.

use crate::modules::call::arguments::{flag, path, text};
use crate::modules::call::outcome::{Done, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::{Edit, lines_of};
use crate::modules::text::lossless;

pub(crate) const MODULE: Module = Module {
    names: &["pam_limits"],
    params: &[
        text("domain").must(),
        text("limit_type").must().of(&["hard", "soft", "-"]),
        text("limit_item").must().of(&[
            "core",
            "data",
            "fsize",
            "memlock",
            "nofile",
            "rss",
            "stack",
            "cpu",
            "nproc",
            "as",
            "maxlogins",
            "maxsyslogins",
            "priority",
            "locks",
            "sigpending",
            "msgqueue",
            "nice",
            "rtprio",
            "chroot",
        ]),
        text("value").must(),
        flag("use_max"),
        flag("use_min"),
        flag("backup"),
        path("dest").or("/etc/security/limits.conf"),
        text("comment").or(""),
    ],
    files: false,
    run,
};

fn number(value: &str) -> Option<f64> {
    match value {
        "unlimited" | "infinity" | "-1" => Some(f64::INFINITY),
        other => other.parse::<i64>().ok().map(|n| n as f64),
    }
}

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    if args.flag("use_max") && args.flag("use_min") {
        return Err("Cannot use use_min and use_max at the same time.".into());
    }
    let mut value = args.str("value").to_owned();
    if number(&value).is_none() {
        return Err(
            "Argument 'value' can be one of 'unlimited', 'infinity', '-1' or positive number. Refer to manual pages for more details."
                .into(),
        );
    }
    let file = task.root.join(args.str("dest"));
    let before = Edit::read(&file)?;
    let text = lossless::decode(before.as_deref().unwrap_or_default());
    let mut lines = lines_of(&text);
    if let Some(last) = lines.last_mut()
        && !last.ends_with('\n')
    {
        last.push('\n');
    }
    let wanted = [args.str("domain"), args.str("limit_type"), args.str("limit_item")];
    let fields = |line: &str| -> Vec<String> { line.split('#').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect() };
    let at = lines.iter().position(|line| fields(line).iter().take(3).eq(wanted.iter()));
    let mut same = false;
    if let Some(at) = at {
        let old = fields(&lines[at]).get(3).cloned().unwrap_or_default();
        let keep_old = match (number(&old), number(&value)) {
            (Some(old), Some(new)) => args.flag("use_max") && old > new || args.flag("use_min") && old < new,
            _ => false,
        };
        if keep_old {
            value.clone_from(&old);
        }
        same = old == value;
    }
    // Ansible uses the comment of any line above as that of the entry, together with its line end; here an entry keeps its own comment.
    let kept = at.and_then(|at| lines[at].split_once('#')).map(|(_, comment)| comment.trim_end().to_owned());
    let comment = args.filled("comment").map(str::to_owned).or(kept).map_or(String::new(), |comment| format!("\t#{comment}"));
    let line = format!("{}\t{}\t{}\t{value}{comment}\n", wanted[0], wanted[1], wanted[2]);
    match at {
        Some(_) if same => {}
        Some(at) => lines[at].clone_from(&line),
        None => lines.push(line.clone()),
    }
    let after = if same { text.clone() } else { lines.concat() };
    let before = if same { before.or(Some(Vec::new())) } else { before };
    let result = Edit { path: file, before, after: lossless::encode(&after), msg: line.trim_end().to_owned() }.finish(task)?;
    Ok(Done::from(result))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::call::testing::Bench;

    #[test]
    fn limits() {
        let bench = Bench::new();
        bench.write("etc/security/limits.conf", "* soft nofile 1024 # ours\n# End of file\n");
        let args = json!({"domain": "*", "limit_type": "soft", "limit_item": "nofile", "value": "65536"});
        bench.converges("pam_limits", args, true);
        assert_eq!(bench.read("etc/security/limits.conf"), "*\tsoft\tnofile\t65536\t# ours\n# End of file\n");
        let args = json!({"domain": "app", "limit_type": "-", "limit_item": "memlock", "value": "unlimited"});
        bench.converges("pam_limits", args, true);
        assert!(bench.read("etc/security/limits.conf").ends_with("# End of file\napp\t-\tmemlock\tunlimited\n"));
        let less = json!({"domain": "*", "limit_type": "soft", "limit_item": "nofile", "value": 1000, "use_max": true});
        bench.converges("pam_limits", less, false);
    }
}
