//! Messages about modules that do not exist. Their tasks fail only when they run.

use labctl_wire::modules::{MODULES, Module, find};

use crate::data::Place;

/// The supported names most similar to a name.
pub(crate) fn neighbours(name: &str) -> Vec<&'static str> {
    let short = name.rsplit('.').next().unwrap_or(name);
    let mut all: Vec<(usize, &str)> = MODULES
        .iter()
        .flat_map(Module::names)
        .map(|known| {
            let related =
                known.contains(short) || short.contains(known) || short.split('_').any(|part| part.len() > 3 && known.contains(part));
            (strsim::osa_distance(short, known).saturating_sub(if related { 3 } else { 0 }), known)
        })
        .collect();
    all.sort_unstable();
    all.into_iter().take(3).map(|(_, name)| name).collect()
}

/// The message for an unsupported module; none for a supported one.
pub(crate) fn lacking(name: &str, place: &Place) -> Option<String> {
    find(name)
        .is_none()
        .then(|| format!("the module '{name}' is not supported ({place}); the nearest that are: {}", neighbours(name).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_neighbours() {
        assert_eq!(neighbours("lineinfil")[0], "lineinfile");
        assert!(neighbours("community.general.apt_rpm").contains(&"apt"));
        assert!(lacking("nope", &Place { file: "a.yml".into(), line: 3 }).is_some_and(|why| why.contains("a.yml:3")));
        for name in ["file", "sysvinit", "dnf5"] {
            assert_eq!(lacking(name, &Place::default()), None);
        }
    }
}
