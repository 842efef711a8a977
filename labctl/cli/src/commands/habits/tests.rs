//! Every verb in one table, and words that are nearly a command that destroys.

use super::hints::HINTS;
use super::*;

/// Verbs that remove in their own tool: they are told how to remove here.
const REMOVERS: &[&str] = &["rm", "remove", "delete", "rmi"];

/// What a command line with these words prints if it is not understood.
fn said(words: &[&str]) -> Option<String> {
    let given: Vec<OsString> = std::iter::once("labctl").chain(words.iter().copied()).map(OsString::from).collect();
    let mut error = try_parse(&given).err()?;
    if let Some((verb, hint)) = hint(&error, &given) {
        return Some(format!("labctl has no command `{verb}`\n hint: {hint}"));
    }
    forget_destroying(&mut error);
    Some(error.to_string())
}

/// A command's own name, if `verb` is understood as one.
fn means(verb: &str) -> Option<String> {
    command().find_subcommand(verb).map(|found| found.get_name().to_owned())
}

/// Whether a text names a command that destroys, as a word.
fn names_destroying(text: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '-').any(|word| DESTROYING.contains(&word))
}

#[test]
fn every_verb_is_a_command_an_alias_or_a_hint() {
    let same = ["up", "halt", "reload", "status", "suspend", "resume", "snapshot", "clone", "destroy", "provision", "exec", "ssh"];
    let same = same.into_iter().chain(["ssh-config", "console", "logs", "validate", "init"]);
    for verb in same {
        assert_eq!(means(verb).as_deref(), Some(verb));
    }
    for (name, verbs) in ALIASES {
        for verb in *verbs {
            assert_eq!(means(verb).as_deref(), Some(*name), "{verb}");
            assert!(HINTS.iter().all(|(hinted, _)| hinted != verb), "{verb} is an alias and has a hint");
        }
        let mut command = command();
        let help = command.find_subcommand_mut(name).unwrap().render_help().to_string();
        assert!(help.contains(&format!("Also called: {}", verbs.join(", "))), "{help}");
    }
    for (verb, hint) in HINTS {
        let words: Vec<&str> = verb.split(' ').collect();
        assert_eq!(said(&words), Some(format!("labctl has no command `{verb}`\n hint: {hint}")));
        // What is given besides does not matter.
        let more = [&["--lab", "x.yml"][..], &words, &["web1", "-f"]].concat();
        assert!(said(&more).unwrap().contains(hint), "{more:?}");
        assert!(REMOVERS.contains(verb) || !names_destroying(hint), "{verb}: {hint}");
    }
    let mut verbs: Vec<&str> = HINTS.iter().map(|(verb, _)| *verb).collect();
    verbs.sort_unstable();
    assert!(verbs.windows(2).all(|pair| pair[0] != pair[1]), "a verb twice: {verbs:?}");
}

/// `word` with one letter left out, doubled, replaced, or two letters exchanged.
fn misspelled(word: &str) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    let mut out = Vec::new();
    for at in 0..letters.len() {
        let (before, after) = (&letters[..at], &letters[at + 1..]);
        let made = |middle: &[char], after: &[char]| [before, middle, after].concat().into_iter().collect::<String>();
        out.push(made(&[], after));
        out.push(made(&[letters[at], letters[at]], after));
        out.push(made(&['x'], after));
        if let Some((next, rest)) = after.split_first() {
            out.push(made(&[*next, letters[at]], rest));
        }
    }
    out
}

#[test]
fn no_guess_names_a_command_that_destroys() {
    let below = |name: &str| command().find_subcommand(name).unwrap().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let snapshots: Vec<String> = below("snapshot");
    let images: Vec<String> = below("image");
    let top: Vec<String> = command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let (mut asked, mut helped) = (0, 0);
    for (path, names) in [(None, top), (Some("snapshot"), snapshots), (Some("image"), images)] {
        for word in names.iter().flat_map(|name| misspelled(name)) {
            let words: Vec<&str> = path.into_iter().chain([word.as_str()]).collect();
            let Some(text) = said(&words).filter(|text| text.contains("unrecognized subcommand")) else { continue };
            // The first line repeats the word itself.
            let rest: String = text.lines().skip(1).collect::<Vec<_>>().join("\n");
            assert!(!names_destroying(&rest), "{words:?}: {text}");
            asked += 1;
            helped += usize::from(text.contains("similar"));
        }
    }
    assert!(asked > 300 && helped > 100, "{asked} asked, {helped} helped: harmless commands are still suggested");
}

#[test]
fn json_is_asked_for_anywhere() {
    assert!(said(&["down", "--json"]).unwrap().contains("labctl halt"));
    assert_eq!(said(&["stop", "web1"]), None);
}

/// `--yes` is another name for `--force`, and an alias in a shell may give either already.
#[test]
fn an_option_may_be_given_twice() {
    assert_eq!(said(&["destroy", "--yes", "--force"]), None);
    assert_eq!(said(&["logs", "web1", "-n", "1", "-n", "2"]), None);
}
