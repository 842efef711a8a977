//! Which tasks run, by their tags.

use crate::data::Data;
use crate::playbook::Keywords;
use crate::python;
use crate::run::Options;
use crate::template::Scope;
use std::sync::Arc;

/// Whether the tags of a task are selected.
pub(crate) fn wanted(keywords: &Keywords, options: &Options, scope: &Arc<Scope>) -> bool {
    let mut tags: Vec<String> = Vec::new();
    for tag in &keywords.tags {
        match scope.resolve(tag).unwrap_or_else(|_| tag.clone()) {
            Data::List(list) => tags.extend(list.iter().map(python::str_of)),
            other => tags.extend(python::str_of(&other).split(',').map(|tag| tag.trim().to_owned())),
        }
    }
    matches(&tags, options)
}

/// Ansible's rules, with the special tags `all`, `always`, `never`, `tagged` and `untagged`.
pub(crate) fn matches(tags: &[String], options: &Options) -> bool {
    let untagged = ["untagged".to_owned()];
    let tags = if tags.is_empty() { &untagged[..] } else { tags };
    let has = |name: &str| tags.iter().any(|tag| tag == name);
    let asked = |list: &[String], name: &str| list.iter().any(|tag| tag == name);
    let shared = |list: &[String]| tags.iter().any(|tag| list.contains(tag));
    let only = &options.tags;
    let run = has("always")
        || ((only.is_empty() || asked(only, "all")) && !has("never"))
        || shared(only)
        || (asked(only, "tagged") && !has("untagged") && !has("never"));
    let skip = &options.skip_tags;
    if !run || skip.is_empty() {
        return run;
    }
    if asked(skip, "all") {
        return has("always") && !asked(skip, "always");
    }
    !shared(skip) && (!asked(skip, "tagged") || has("untagged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_tags_follow_ansible() {
        let case = |tags: &str, only: &str, skip: &str| {
            let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            matches(&list(tags), &Options { tags: list(only), skip_tags: list(skip), ..Options::default() })
        };
        for (tags, only, skip, run) in [
            ("", "", "", true),
            ("a", "a", "", true),
            ("a", "b", "", false),
            ("never", "", "", false),
            ("never a", "a", "", true),
            ("always", "b", "", true),
            ("always", "", "always", false),
            ("a", "", "a", false),
            ("a b", "a", "b", false),
            ("", "tagged", "", false),
            ("", "untagged", "", true),
            ("a", "untagged", "", false),
            ("a", "", "tagged", false),
            ("a", "all", "", true),
        ] {
            assert_eq!(case(tags, only, skip), run, "{tags} / {only} / {skip}");
        }
    }
}
