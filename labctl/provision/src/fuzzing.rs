//! Ways in for fuzzers (`fuzz/` in the repository): texts as users and machines may hand them over. Nothing here has a result;
//! what must not happen is a panic, a hang or an endless use of memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::{Data, Dict, Place};
use crate::playbook::{Context, Keywords, Loader, Source, args};
use crate::template::{Engine, Scope, Syntax};
use crate::yaml;

/// Words of lookups and imports that would read files, open connections or start programs.
const REACHES_OUT: &[&str] = &["lookup", "query", "q(", "import", "include", "roles", "fileglob", "first_found", "with_"];

fn reaches_out(text: &str) -> bool {
    REACHES_OUT.iter().any(|word| text.contains(word))
}

fn scope() -> Arc<Scope> {
    let mut known = Dict::new();
    let place = Place::default();
    known.insert("x".into(), Data::str("text"));
    known.insert("n".into(), Data::Int(7));
    known.insert("l".into(), vec!["a", "b"].into());
    known.insert("t".into(), Data::text("{{ n }} {{ x | upper }}", &place));
    let inner: Dict = known.clone();
    known.insert("d".into(), Data::map(inner));
    Scope::new(Arc::new(Engine::default()), vec![Arc::new(known)], Vec::new())
}

/// A text as a value of a playbook, as a condition, and as a template's file.
pub fn template(text: &str) {
    if reaches_out(text) {
        return;
    }
    let scope = scope();
    let place = Place::default();
    let _ = scope.resolve(&Data::text(text, &place));
    let _ = scope.engine.expression(&Arc::from(text), &place, &scope);
    let _ = scope.engine.render_file("fuzz", text, &Syntax::default(), &scope);
}

/// A text as a file of tasks, and as the arguments of a module in one line.
pub fn tasks(text: &str) {
    let _ = args::parse("copy", text, &Place::default());
    let _ = args::parse("command", text, &Place::default());
    if reaches_out(text) {
        return;
    }
    let path = PathBuf::from("fuzz.yml");
    let Ok(documents) = yaml::documents(text, Path::new("fuzz.yml")) else { return };
    let loader = Loader::new(Arc::new(Engine::default()), PathBuf::from("/nonexistent"), Vec::new(), Arc::default());
    let source = Source { file: Arc::from("fuzz.yml"), path };
    let context = Context::new(Keywords::default());
    for document in &documents {
        let _ = loader.tasks(document, &source, &context);
    }
}
