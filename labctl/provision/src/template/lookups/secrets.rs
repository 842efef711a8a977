//! Random passwords, stored in files on the controller.

use std::io::Write;
use std::path::{Path, PathBuf};

use rand::seq::IndexedRandom;

use super::Lookup;
use crate::data::Data;
use crate::python;
use crate::template::filters_paths::expand_user;
use crate::template::python_random::Random;

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";

fn characters(kinds: &[String]) -> Vec<char> {
    let mut out = String::new();
    for kind in kinds {
        match kind.as_str() {
            "ascii_letters" => {
                out.push_str(LOWER);
                out.push_str(UPPER);
            }
            "ascii_lowercase" => out.push_str(LOWER),
            "ascii_uppercase" => out.push_str(UPPER),
            "digits" => out.push_str(DIGITS),
            "hexdigits" => out.push_str("0123456789abcdefABCDEF"),
            "punctuation" => out.push_str("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
            other => out.push_str(other),
        }
    }
    out.chars().collect()
}

/// `password`: the content of the file, generated randomly the first time.
pub(super) fn password(call: &Lookup) -> Result<Vec<Data>, String> {
    call.flat().iter().map(|term| one_password(call, &python::str_of(term))).collect()
}

fn one_password(call: &Lookup, term: &str) -> Result<Data, String> {
    let mut words = term.split(' ');
    let path = words.next().unwrap_or_default().to_owned();
    let mut length = call.option_text("length");
    let mut kinds = call.option("chars").map(|data| {
        data.as_list().map_or_else(|| python::str_of(data), |list| list.iter().map(python::str_of).collect::<Vec<_>>().join(","))
    });
    let mut encrypt = call.option_text("encrypt");
    let mut seed = call.option_text("seed");
    for word in words {
        match word.split_once('=') {
            Some(("length", value)) => length = Some(value.to_owned()),
            Some(("chars", value)) => kinds = Some(value.to_owned()),
            Some(("encrypt", value)) => encrypt = Some(value.to_owned()),
            Some(("seed", value)) => seed = Some(value.to_owned()),
            _ => {
                return Err(format!("Unrecognized parameter(s) given to password lookup: {word}"));
            }
        }
    }
    let length: usize = length.as_deref().unwrap_or("20").parse().map_err(|_| "length must be a number".to_owned())?;
    let kinds: Vec<String> = kinds.map_or_else(
        || vec!["ascii_letters".into(), "digits".into(), ".,:-_".into()],
        |kinds| kinds.replace(",,", "\u{0}").split(',').map(|kind| kind.replace('\u{0}', ",")).filter(|kind| !kind.is_empty()).collect(),
    );
    let controller = call.scope.controller();
    let file = (path != "/dev/null").then(|| {
        let path = PathBuf::from(expand_user(&path, &controller));
        if path.is_absolute() { path } else { call.scope.search.last().map_or(path.clone(), |folder| folder.join(&path)) }
    });
    let stored = file.as_ref().and_then(|file| controller.read_to_string(file).ok());
    let (plain, salt) = match stored.as_deref().map(str::trim_end) {
        Some(line) => match line.split_once(" salt=") {
            Some((plain, salt)) => (plain.to_owned(), Some(salt.split(' ').next().unwrap_or_default().to_owned())),
            None => (line.to_owned(), None),
        },
        None => {
            let random = seed.as_deref().map_or_else(|| Random::of(None, || controller.random("password")), Random::text);
            (some_of(random, &characters(&kinds), length)?, None)
        }
    };
    let salt_known = salt.is_some();
    let salt = salt.or_else(|| encrypt.as_ref().map(|_| crate::password::salt(controller.random("password"), 16)));
    if let Some(file) = file.filter(|_| stored.is_none() || (encrypt.is_some() && !salt_known)) {
        let line = match (&salt, &encrypt) {
            (Some(salt), Some(_)) => format!("{plain} salt={salt}\n"),
            _ => format!("{plain}\n"),
        };
        controller.uncovered("writes a file on the controller (password)");
        store(&file, &line).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    match encrypt {
        Some(kind) => crate::password::hash(&plain, &kind, &salt.unwrap_or_default(), None).map(Data::from),
        None => Ok(Data::from(plain)),
    }
}

/// Writes a secret atomically, readable only by its owner.
fn store(path: &Path, line: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(line.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn some_of(mut random: Random, characters: &[char], length: usize) -> Result<String, String> {
    if characters.is_empty() || length > 1 << 16 {
        return Err("a password needs characters, and at most 65536 of them".to_owned());
    }
    Ok((0..length).filter_map(|_| random.choice(characters)).collect())
}

pub(super) fn random_string(call: &Lookup) -> Result<Vec<Data>, String> {
    let length = call.option("length").map_or(8, |data| python::str_of(data).parse().unwrap_or(8_usize)).min(1 << 16);
    let mut set = String::new();
    for (option, characters) in [("upper", UPPER), ("lower", LOWER), ("numbers", DIGITS), ("special", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")]
    {
        if call.option_flag(option, true) {
            set.push_str(characters);
        }
    }
    let set: Vec<char> = call.option_text("override_all").unwrap_or(set).chars().collect();
    let mut rng = call.scope.controller().random("random_string");
    Ok(vec![Data::from((0..length).filter_map(|_| set.choose(&mut rng)).collect::<String>())])
}
