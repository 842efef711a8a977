//! Entry points for fuzzers (`fuzz/` in the repository): text as users and machines may supply it. Nothing here returns a result; the
//! failures to find are panics, hangs and unbounded memory use.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::{Data, Dict, Place};
use crate::playbook::{Context, Keywords, Loader, Source, args};
use crate::template::{Engine, Scope, Syntax};
use crate::yaml;

/// Names of lookups and imports that would read files, open connections or start programs.
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

/// Evaluates a text as a value in a playbook, as a condition, and as a template file.
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

/// Reads a text as a task file, and as one-line module arguments.
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
