//! Names and ids that accounts may have.

use crate::modules::accounts::passwd;
use crate::modules::call::outcome::Fault;
use crate::modules::call::task::Task;

/// The kind of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    Users,
    Groups,
}

/// Validates a number from a task as an id.
pub(crate) fn valid(id: i64) -> Result<u32, Fault> {
    u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(|| format!("id {id} is out of range (0 to 4294967294)").into())
}

/// Refuses names that would break the databases; otherwise as permissive as Debian's useradd(8).
pub(crate) fn valid_name(name: &str, what: &str) -> Result<(), Fault> {
    let bad = name.is_empty()
        || name.len() > 32
        || name.starts_with(['-', '+', '~'])
        || name.contains([':', ',', '/', '\n'])
        || name.chars().any(|c| c.is_whitespace() || c.is_control());
    if bad { Err(format!("{what}add: '{name}' is not a valid {what} name").into()) } else { Ok(()) }
}

/// A setting of /etc/login.defs.
pub(crate) fn login_setting(task: &Task<'_>, key: &str) -> Option<String> {
    std::fs::read_to_string(task.root.join("/etc/login.defs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(key)).then(|| words.next().map(str::to_owned))?
        })
        .next_back()
}

fn limit(task: &Task<'_>, key: &str, default: u32) -> u32 {
    login_setting(task, key).and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// A free id, chosen like useradd(8) and groupadd(8): above the highest one taken in its range, or for system accounts below the lowest;
/// a gap if the end of the range is reached.
pub(crate) fn free(task: &Task<'_>, space: Space, system: bool) -> Result<u32, Fault> {
    let letter = if space == Space::Users { "UID" } else { "GID" };
    let (low, high) = if system {
        (limit(task, &format!("SYS_{letter}_MIN"), 100), limit(task, &format!("SYS_{letter}_MAX"), 999))
    } else {
        (limit(task, &format!("{letter}_MIN"), 1000), limit(task, &format!("{letter}_MAX"), 60_000))
    };
    let lower = letter.to_lowercase();
    let given = |suffix: &str, default: u32| {
        let name = format!("{lower}_{suffix}");
        task.args.int(&name).and_then(|id| u32::try_from(id).ok()).unwrap_or(default)
    };
    let (low, high) = if system { (low, high) } else { (given("min", low), given("max", high)) };
    let mut taken: Vec<u32> = match space {
        Space::Users => passwd::users(task.root).iter().map(|user| user.uid).collect(),
        Space::Groups => passwd::groups(task.root).iter().map(|group| group.gid).collect(),
    };
    taken.retain(|id| (low..=high).contains(id));
    taken.sort_unstable();
    let next = if system {
        taken.first().map_or(Some(high), |lowest| lowest.checked_sub(1).filter(|id| *id >= low))
    } else {
        taken.last().map_or(Some(low), |highest| highest.checked_add(1).filter(|id| *id <= high))
    };
    next.or_else(|| (low..=high).find(|id| taken.binary_search(id).is_err()))
        .ok_or_else(|| format!("no free {letter} between {low} and {high}").into())
}
