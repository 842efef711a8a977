//! `htpasswd`: users and passwords in password files of web servers.

use serde_json::json;

use crate::modules::accounts::password_hash;
use crate::modules::call::arguments::{on, path, text};
use crate::modules::call::outcome::{Done, Fault, Outcome};
use crate::modules::call::task::{Module, Task};
use crate::modules::files::edit::{Edit, lines_of};
use crate::modules::text::lossless;

pub(crate) const MODULE: Module = Module {
    names: &["htpasswd"],
    params: &[
        path("path").must().aka(&["dest", "destfile"]),
        text("name").must().aka(&["username"]),
        text("password"),
        text("hash_scheme").aka(&["crypt_scheme"]).or("apr_md5_crypt"),
        text("state").of(&["absent", "present"]).or("present"),
        on("create"),
    ],
    files: true,
    run,
};

fn run(task: &Task<'_>) -> Outcome {
    let args = &task.args;
    let (name, file) = (args.str("name"), args.path("path").unwrap_or_default());
    if name.contains([':', '\n', '\r']) {
        return Err(format!("name must not contain a colon or a line break: {name:?}").into());
    }
    let before = Edit::read(&file)?;
    let shown = file.display();
    let old = lossless::decode(before.as_deref().unwrap_or_default());
    let mut lines = lines_of(&old);
    let at = lines.iter().position(|line| line.split_once(':').is_some_and(|(user, _)| user == name));
    let msg;
    if args.str("state") == "absent" {
        if before.is_none() {
            let warnings = [format!("{shown} does not exist")];
            return Ok(json!({"changed": false, "msg": format!("{name} not present"), "warnings": warnings}).into());
        }
        msg = if at.is_some() { format!("Remove {name}") } else { format!("{name} not present") };
        if let Some(at) = at {
            lines.remove(at);
        }
    } else {
        let password =
            args.text("password").ok_or_else(|| Fault::from("state is present but all of the following are missing: password"))?;
        if before.is_none() && !args.flag("create") {
            return Err(format!("Destination {shown} does not exist").into());
        }
        let hash = at.and_then(|at| Some(lines[at].trim_end().split_once(':')?.1.to_owned()));
        if hash.is_some_and(|hash| password_hash::fits(password, &hash) == Some(true)) {
            msg = format!("{name} already present");
        } else {
            let line = format!("{name}:{}\n", password_hash::make(password, args.str("hash_scheme")).map_err(Fault::from)?);
            msg = match &before {
                None if task.check => format!("Create {shown}"),
                None => format!("Created {shown} and added {name}"),
                Some(_) => format!("Add/update {name}"),
            };
            match at {
                Some(at) => lines[at] = line,
                None => {
                    if let Some(last) = lines.last_mut().filter(|last| !last.ends_with('\n')) {
                        last.push('\n');
                    }
                    lines.push(line);
                }
            }
        }
    }
    let after = lines.concat();
    let mut result = Edit { path: file, before, after: lossless::encode(&after), msg }.finish(task)?;
    // Hashes must not be shown.
    result.remove("diff");
    Ok(Done::from(result))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::call::testing::Bench;

    #[test]
    fn a_user_comes_changes_and_goes() {
        let bench = Bench::new();
        let path = bench.text_path("web/htpasswd");
        let args = json!({"path": path, "name": "jane", "password": "secret", "mode": "0640"});
        let result = bench.converges("community.general.htpasswd", args.clone(), true);
        assert_eq!(result["msg"], format!("Created {path} and added jane and ownership, perms or SE linux context changed"));
        assert!(bench.read("web/htpasswd").starts_with("jane:$apr1$"));
        let again = bench.run("htpasswd", args);
        assert_eq!(again["msg"], "jane already present");
        bench.write("web/htpasswd", format!("# users\n{}bob:x", bench.read("web/htpasswd")));
        bench.converges("htpasswd", json!({"path": path, "name": "amy", "password": "a", "hash_scheme": "ldap_sha1"}), true);
        bench.converges("htpasswd", json!({"path": path, "name": "jane", "password": "other", "hash_scheme": "plaintext"}), true);
        assert_eq!(bench.read("web/htpasswd"), "# users\njane:other\nbob:x\namy:{SHA}hvfkN/qlp/zhXR3cuerq6jd2Z7g=\n");
        bench.converges("htpasswd", json!({"path": path, "name": "bob", "state": "absent"}), true);
        bench.converges("htpasswd", json!({"path": path, "name": "bob", "state": "absent"}), false);
    }

    #[test]
    fn faults_are_clear() {
        let bench = Bench::new();
        let path = bench.text_path("none");
        assert!(bench.fault("htpasswd", json!({"path": path, "name": "a", "password": "b", "create": false})).ends_with("does not exist"));
        assert!(bench.fault("htpasswd", json!({"path": path, "name": "a"})).contains("password"));
        assert!(bench.fault("htpasswd", json!({"path": path, "name": "a:b", "password": "b"})).contains("colon"));
        assert!(bench.fault("htpasswd", json!({"path": path, "name": "a", "password": "b", "hash_scheme": "des"})).contains("bcrypt"));
        let result = bench.run("htpasswd", json!({"path": path, "name": "a", "state": "absent"}));
        assert_eq!((result["changed"].as_bool(), result["warnings"][0].as_str().unwrap().contains("does not exist")), (Some(false), true));
    }
}
