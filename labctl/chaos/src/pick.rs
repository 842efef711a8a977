//! Which nodes are hit: resolves names to nodes and picks some of them by seed.

use std::collections::{BTreeMap, BTreeSet};

use labctl_spec::scenario::Pick;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::target::FaultError;

/// The nodes that `on` names, each once, sorted. A name is that of a group or a node; a group takes precedence.
///
/// # Errors
/// A name is neither, or a group has no nodes.
pub fn resolve(on: &[String], groups: &BTreeMap<String, Vec<String>>) -> Result<Vec<String>, FaultError> {
    let mut nodes = BTreeSet::new();
    for name in on {
        if let Some(members) = groups.get(name) {
            if members.is_empty() {
                return Err(FaultError::new(format!("group `{name}` has no nodes"))
                    .hint("add a node to it in the lab file, or name a different group"));
            }
            nodes.extend(members.iter().cloned());
        } else if groups.values().flatten().any(|node| node == name) {
            nodes.insert(name.clone());
        } else {
            let known: Vec<&str> = groups.keys().map(String::as_str).collect();
            return Err(FaultError::new(format!("`{name}` is neither a group nor a node of the lab"))
                .hint(format!("the groups are: {}; `labctl status` lists the nodes", known.join(", "))));
        }
    }
    Ok(nodes.into_iter().collect())
}

/// A pick as text, to precede the names that it picks from.
pub(crate) fn words(pick: Pick) -> &'static str {
    match pick {
        Pick::One => "one of ",
        Pick::Minority => "a minority of ",
        Pick::Majority => "a majority of ",
        Pick::All => "",
    }
}

/// How many of `n` nodes a pick selects.
pub fn count(pick: Pick, n: usize) -> usize {
    match pick {
        Pick::One => n.min(1),
        Pick::Minority => n.saturating_sub(1) / 2,
        Pick::Majority if n == 0 => 0,
        Pick::Majority => n / 2 + 1,
        Pick::All => n,
    }
}

/// The nodes picked from `nodes`, sorted. Depends only on the arguments and not on the order of `nodes`; `step` (the step's position in the
/// method) makes the choices of two steps independent.
pub fn choose(seed: u64, step: usize, pick: Pick, nodes: &[String]) -> Vec<String> {
    let mut nodes: Vec<String> = nodes.to_vec();
    nodes.sort();
    nodes.dedup();
    let wanted = count(pick, nodes.len());
    let mut random = random(seed, step);
    // The first steps of a Fisher-Yates shuffle: every subset is equally likely.
    for place in 0..wanted {
        let rest = (nodes.len() - place) as u64;
        nodes.swap(place, place + below(&mut random, rest) as usize);
    }
    nodes.truncate(wanted);
    nodes.sort();
    nodes
}

fn random(seed: u64, step: usize) -> ChaCha20Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut random = ChaCha20Rng::from_seed(key);
    random.set_stream(step as u64);
    random
}

/// An unbiased number below `limit` (at least 1). Implemented here because a library may change its sampling between
/// versions, and a seed must keep its meaning.
fn below(random: &mut impl Rng, limit: u64) -> u64 {
    let fair = u64::MAX - u64::MAX % limit;
    loop {
        let drawn = random.next_u64();
        if drawn < fair {
            return drawn % limit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (1..=n).map(|i| format!("n{i}")).collect()
    }

    #[test]
    fn counts_are_jepsens() {
        let table = [(0, [0, 0, 0, 0]), (1, [1, 0, 1, 1]), (2, [1, 0, 2, 2]), (3, [1, 1, 2, 3]), (4, [1, 1, 3, 4]), (5, [1, 2, 3, 5])];
        for (n, wanted) in table {
            let counts = [Pick::One, Pick::Minority, Pick::Majority, Pick::All].map(|p| count(p, n));
            assert_eq!(counts, wanted, "of {n}");
        }
    }

    #[test]
    fn a_seed_means_the_same_nodes_for_ever() {
        // Fixed values: if this fails, seeds printed by earlier versions no longer repeat their runs.
        let picked: Vec<Vec<String>> = (0..4).map(|seed| choose(seed, 0, Pick::Minority, &names(5))).collect();
        assert_eq!(picked, [["n1", "n2"], ["n2", "n3"], ["n4", "n5"], ["n3", "n5"]]);
    }

    #[test]
    fn order_and_repetition_of_names_do_not_matter() {
        let mut backwards = names(7);
        backwards.reverse();
        backwards.push("n3".into());
        for seed in 0..20 {
            assert_eq!(choose(seed, 1, Pick::Majority, &names(7)), choose(seed, 1, Pick::Majority, &backwards));
        }
    }

    #[test]
    fn steps_differ_and_everyone_gets_a_turn() {
        let hit = |step| -> BTreeSet<String> { (0..100).flat_map(|seed| choose(seed, step, Pick::One, &names(5))).collect() };
        assert_eq!(hit(0).len(), 5);
        assert!((0..100).any(|seed| { choose(seed, 0, Pick::One, &names(5)) != choose(seed, 1, Pick::One, &names(5)) }));
    }

    #[test]
    fn names_are_groups_or_nodes() {
        let groups = BTreeMap::from([
            ("all".to_owned(), vec!["b".to_owned(), "a".to_owned(), "c".to_owned()]),
            ("servers".to_owned(), vec!["b".to_owned()]),
            ("none".to_owned(), vec![]),
        ]);
        let on = |names: &[&str]| resolve(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), &groups);
        assert_eq!(on(&["servers", "a", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(on(&["serves"]).unwrap_err().to_string(), "`serves` is neither a group nor a node of the lab");
        assert_eq!(on(&["none"]).unwrap_err().to_string(), "group `none` has no nodes");
    }
}
