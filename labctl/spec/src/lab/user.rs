//! The user of a lab: the account that people log in with.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::files::absolute;
use crate::report::Report;

/// Who logs in without a `user`.
pub const ROOT: &str = "root";

/// Largest file with public keys that is read.
const LARGEST: u64 = 1 << 20;

/// A user as written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserFile {
    /// Login name.
    pub name: String,
    /// Groups of the guest that the user joins besides its own; missing ones are made.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Login shell; default: `/bin/bash`.
    pub shell: Option<String>,
    /// Whether sudo lets the user do everything without a password; default: false.
    pub sudo: Option<bool>,
    /// SSH public keys that open the account besides the lab's own: their text, or files with them.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// A validated user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Login name; may be `root`, which has no `groups`, `shell` or `sudo`.
    pub name: String,
    /// Groups besides its own.
    pub groups: Vec<String>,
    /// Login shell, if the lab file names one.
    pub shell: Option<String>,
    /// Whether sudo lets the user do everything without a password.
    pub sudo: bool,
    /// Public keys besides the lab's own, one line each as in authorized_keys.
    pub keys: Vec<String>,
}

/// The user written at `at`. Key files are read now, so that a changed one is noticed like any other change.
pub(super) fn user(written: &UserFile, at: &str, folder: &Path, report: &mut Report) -> User {
    let UserFile { name, groups, shell, sudo, keys } = written;
    if !is_login(name) {
        let hint = "use 1 to 32 lower-case letters, digits, underscores and hyphens, starting with a letter or underscore";
        report.add(&format!("{at}/name"), format!("`{name}` is not a valid user name"), hint);
    }
    if name == ROOT {
        let given = [("groups", !groups.is_empty()), ("shell", shell.is_some()), ("sudo", sudo.is_some())];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            report.add_key(at, key, format!("root has no `{key}`"), "remove it; only `keys` can be given for root");
        }
    }
    for (position, group) in groups.iter().enumerate() {
        let at = format!("{at}/groups/{position}");
        if !is_login(group) {
            let hint = "use lower-case letters, digits, underscores and hyphens, starting with a letter or underscore";
            report.add(&at, format!("`{group}` is not a valid group name"), hint);
        } else if groups[..position].contains(group) {
            report.add(&at, format!("`{group}` is listed twice"), "remove one");
        }
    }
    if let Some(shell) = shell
        && (!shell.starts_with('/') || shell.contains([':', '\n']) || shell.ends_with('/'))
    {
        report.add(&format!("{at}/shell"), format!("`{shell}` is not the path of a shell"), "write an absolute path, such as `/bin/bash`");
    }
    let mut lines = Vec::new();
    for (position, key) in keys.iter().enumerate() {
        match public_keys(key, folder) {
            Ok(found) => lines.extend(found),
            Err((reason, hint)) => report.add(&format!("{at}/keys/{position}"), reason, hint),
        }
    }
    User { name: name.clone(), groups: groups.clone(), shell: shell.clone(), sudo: sudo.unwrap_or(false), keys: lines }
}

/// Whether a text is a name that useradd(8) accepts.
fn is_login(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    name.len() <= 32 && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && name.chars().all(plain)
}

/// The keys in an entry of `keys`: itself, or the lines of the file that it names.
fn public_keys(written: &str, folder: &Path) -> Result<Vec<String>, (String, String)> {
    if written.contains("PRIVATE KEY") {
        return Err(("this is a private key".to_owned(), "give the public key, the content of the file that ends with `.pub`".to_owned()));
    }
    if written.contains(' ') {
        return public_key(written).map(|key| vec![key]).ok_or_else(|| not_a_key("this is not an SSH public key"));
    }
    let path = absolute(folder, Path::new(written));
    let shown = path.display();
    let size = std::fs::metadata(&path).map(|about| if about.is_file() { about.len() } else { u64::MAX });
    let text = match size {
        Ok(size) if size <= LARGEST => std::fs::read_to_string(&path).map_err(|why| (format!("{shown}: {why}"), String::new()))?,
        Ok(_) => return Err(not_a_key(&format!("{shown} is not a file with SSH public keys"))),
        Err(_) => {
            let hint = match written.starts_with('~') {
                true => "`~` is not expanded: write the full path, or one relative to this file",
                false => "the path is relative to this file; or give the key itself: `ssh-ed25519 AAAA...`",
            };
            return Err((format!("{shown} does not exist"), hint.to_owned()));
        }
    };
    if text.contains("PRIVATE KEY") {
        return Err((format!("{shown} is a private key"), "name the public key, the file that ends with `.pub`".to_owned()));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Option<Vec<String>> = lines.map(public_key).collect();
    keys.filter(|keys| !keys.is_empty()).ok_or_else(|| not_a_key(&format!("{shown} is not a file with SSH public keys")))
}

fn not_a_key(reason: &str) -> (String, String) {
    (reason.to_owned(), "a public key is one line: `ssh-ed25519 AAAA... comment`".to_owned())
}

/// A line with one public key: its type, the key, and a comment. The key's own text begins with its type (RFC 4253, section 6.6).
fn public_key(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    let known = kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
    let bytes = STANDARD.decode(key).ok()?;
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let own = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    (known && own == kind.as_bytes() && rest.len() > own.len() && !line.contains('\n')).then(|| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::parse_lab;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB5mLkyTIqcn4ooYjhVsuMQuXWsnZWFDvhYVQKy9wCTM ann@laptop";

    #[test]
    fn a_node_has_the_labs_user_or_its_own() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ann.pub"), format!("# mine\n\n{KEY}\n{KEY}2\n")).unwrap();
        let text = format!(
            "name: t\nuser: {{name: ann, groups: [docker], sudo: true, keys: [ann.pub, \"{KEY}\"]}}\nnodes:\n- name: a\n- {{name: b, user: {{name: bob, shell: /bin/sh}}}}\n- {{name: c, user: {{name: root}}}}\n"
        );
        let lab = parse_lab(&text, &folder.path().join("lab.yml")).unwrap();
        let logins: Vec<&str> = lab.nodes.iter().map(super::super::Node::login).collect();
        assert_eq!(logins, ["ann", "bob", "root"]);
        let ann = lab.nodes[0].user.as_ref().unwrap();
        assert!(ann.sudo && ann.groups == ["docker"] && ann.shell.is_none());
        assert_eq!(ann.keys, [KEY.to_owned(), format!("{KEY}2"), KEY.to_owned()]);
        let bob = lab.nodes[1].user.as_ref().unwrap();
        assert!(!bob.sudo && bob.keys.is_empty(), "a node's user replaces the lab's");
    }

    #[test]
    fn an_older_record_has_no_user() {
        let lab = parse_lab("name: t\nnodes: [{name: a}]\n", Path::new("/lab.yml")).unwrap();
        let mut json = serde_json::to_value(&lab).unwrap();
        json["nodes"][0].as_object_mut().unwrap().remove("user");
        json.as_object_mut().unwrap().remove("autostart");
        assert_eq!(serde_json::from_value::<crate::lab::Lab>(json).unwrap(), lab);
    }
}
