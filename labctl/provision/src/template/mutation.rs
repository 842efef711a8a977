//! Finds the variables of a template that are changed by methods. minijinja's values are immutable: a value assigned to such a name becomes
//! a [`super::value::Mutable`].

use std::collections::HashSet;
use std::sync::LazyLock;

use fancy_regex::Regex;

/// `NAME.METHOD(`, with an optional `NAME[...]`, where the method changes its list or mapping.
static CHANGE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"([A-Za-z_]\w*)(?:\.\w+|\[[^\]]*\])*\.(?:append|extend|insert|pop|remove|reverse|sort|clear|update|setdefault|__setitem__)\(",
    )
    .ok()
});

/// Names followed by methods that change a list or mapping, anywhere in the template.
pub(super) fn changed_names(source: &str) -> HashSet<String> {
    CHANGE.iter().flat_map(|pattern| pattern.captures_iter(source).flatten()).map(|found| found[1].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_changed() {
        let mut names: Vec<String> =
            changed_names("{% set _ = a.append(1) %}{% do b[x].update(c.copy()) %}{{ d.items() }}{% do e.f.pop('x') %}")
                .into_iter()
                .collect();
        names.sort();
        assert_eq!(names, ["a", "b", "e"]);
    }
}
