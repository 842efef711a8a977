//! The notes of baked layers: what was done on a builder, step by step, and what that means for a node forked from one. The module `layer`
//! creates them.

mod fresh;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use labctl_lab::home::Home;
use labctl_lab::template::{LAYER_NOTES, Template, Templates};
use labctl_lab::{Failure, persist};
use labctl_wire::{ModuleCall, ModuleReply};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use fresh::Fresh;

/// Name of the notes on a stock template for which no layer was made because nothing changed on its builder.
const NO_LAYER: &str = "no-layer.json";

/// Path of the file in a guest that names the layer it was forked from, until it has been provisioned.
pub fn marker() -> String {
    format!("{}/layer", labctl_wire::STATE)
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A layer's notes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Layer {
    /// Key of the stock template that its builder was forked from; the layer's disk is based on that template.
    pub stock: String,
    /// When it was made.
    pub made: SystemTime,
    /// What was done, in order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// Hash of the stock template and of all steps up to this one.
    pub chain: String,
    /// Digest of the call: module and arguments, including the contents of files.
    pub asked: String,
    /// Name of the task, for display.
    pub task: String,
    /// Short name of its module, for display.
    pub module: String,
    /// The builder's answer.
    pub answer: Answer,
}

/// What a builder answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A module's result.
    Reply(ModuleReply),
    /// Facts of the platform.
    Facts(Map<String, Value>),
}

impl Step {
    /// Whether it changed the builder.
    pub fn changed(&self) -> bool {
        matches!(&self.answer, Answer::Reply(reply) if changed(reply))
    }
}

/// Whether a module changed something.
pub fn changed(reply: &ModuleReply) -> bool {
    reply.result.get("changed").and_then(Value::as_bool).unwrap_or(false)
}

/// Digest of a call. Check mode and diff mode are left out: they do not change what it does.
pub fn digest(call: &ModuleCall) -> String {
    let call = ModuleCall { check: false, diff: false, ..call.clone() };
    short(&serde_json::to_vec(&call).unwrap_or_default())
}

/// Stands for a request for facts.
pub const FACTS: &str = "facts";

/// The chain extended by one step.
pub fn after(chain: &str, asked: &str) -> String {
    short(format!("{chain} {asked}").as_bytes())
}

fn short(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))[..32].to_owned()
}

impl Layer {
    /// A template's notes; none if it is not a layer.
    pub fn load(template: &Template) -> Option<Self> {
        persist::read_json(&template.folder.join(LAYER_NOTES)).ok().flatten()
    }

    /// Writes them into a folder that is about to become a template.
    pub fn save(&self, folder: &std::path::Path) -> Result<(), Failure> {
        persist::write_json(&folder.join(LAYER_NOTES), self)
    }
}

/// All steps of all layers, by chain.
#[derive(Debug, Default)]
pub struct Known {
    steps: HashMap<String, Step>,
}

impl Known {
    /// The steps of all layers in the store.
    pub fn load(home: &Home) -> Self {
        let mut steps = Vec::new();
        for template in Templates::of(home).all() {
            steps.extend(Layer::load(&template).into_iter().flat_map(|layer| layer.steps));
            let nothing: Option<Vec<Step>> = persist::read_json(&template.folder.join(NO_LAYER)).ok().flatten();
            steps.extend(nothing.into_iter().flatten());
        }
        Self::of(steps)
    }

    /// Keeps the steps of a builder that they did not change, so that they are not run again.
    pub fn keep(stock: &Template, steps: &[Step]) -> Result<(), Failure> {
        let file = stock.folder.join(NO_LAYER);
        let mut all: Vec<Step> = persist::read_json(&file).ok().flatten().unwrap_or_default();
        all.extend(steps.iter().filter(|step| all.iter().all(|known| known.chain != step.chain)).cloned().collect::<Vec<_>>());
        persist::write_json(&file, &all)
    }

    /// Exactly these steps.
    pub fn of(steps: Vec<Step>) -> Self {
        Self { steps: steps.into_iter().map(|step| (step.chain.clone(), step)).collect() }
    }

    /// The step at the end of this chain.
    pub fn get(&self, chain: &str) -> Option<&Step> {
        self.steps.get(chain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(module: &str, key: &str, value: &str) -> ModuleCall {
        let args = Map::from_iter([(key.to_owned(), Value::from(value))]);
        ModuleCall { module: module.into(), args, ..ModuleCall::default() }
    }

    #[test]
    fn everything_that_a_call_does_is_in_its_digest() {
        let base = call("copy", "dest", "/a");
        let mut user = base.clone();
        user.become_user = Some("nobody".into());
        let mut environment = base.clone();
        environment.environment.insert("A".into(), "1".into());
        let others = [call("file", "dest", "/a"), call("copy", "src", "/a"), call("copy", "dest", "/b"), user, environment];
        for other in &others {
            assert_ne!(digest(other), digest(&base), "{other:?}");
        }
        let foretold = ModuleCall { check: true, diff: true, ..base.clone() };
        assert_eq!(digest(&foretold), digest(&base));
    }

    #[test]
    fn a_chain_depends_on_all_before() {
        let (one, two) = (digest(&call("a", "b", "c")), digest(&call("a", "b", "d")));
        assert_ne!(after(&after("s", &one), &two), after(&after("s", &two), &one));
        assert_ne!(after("s", &one), after("t", &one));
    }
}
