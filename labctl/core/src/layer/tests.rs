//! Tests of recorder, replay and fresh node on a machine that is a map in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use labctl_lab::template::Template;
use labctl_provision::{Content, Target, TargetError};
use labctl_wire::{ModuleCall, ModuleReply};
use serde_json::{Map, Value, json};

use super::Stopped;
use super::recorder::Recorder;
use super::replay::Replay;
use crate::baked::{Fresh, Known, Layer, lock, marker};

/// Stores what `set` sets, and counts calls.
#[derive(Default)]
struct Machine {
    values: Mutex<BTreeMap<String, String>>,
    calls: Mutex<Vec<String>>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Target for Machine {
    fn call(&self, call: ModuleCall) -> BoxFuture<'_, Result<ModuleReply, TargetError>> {
        Box::pin(async move {
            lock(&self.calls).push(call.module.clone());
            let text = |name: &str| call.args.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let changed = match call.module.as_str() {
                "set" => lock(&self.values).insert(text("name"), text("value")) != Some(text("value")),
                "command" => true,
                "file" => !call.check,
                _ => false,
            };
            let result = Map::from_iter([("changed".to_owned(), json!(changed)), ("who".to_owned(), json!(text("name")))]);
            Ok(ModuleReply { result, needs_content: false })
        })
    }

    fn put<'a>(&'a self, _: Content, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<(), TargetError>> {
        Box::pin(async { Ok(()) })
    }

    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<u8>, TargetError>> {
        Box::pin(async move { self.files.get(path).cloned().ok_or_else(|| TargetError::Failed("no such file".into())) })
    }

    fn facts(&self) -> BoxFuture<'_, Result<Map<String, Value>, TargetError>> {
        Box::pin(async { Ok(Map::from_iter([("os_family".to_owned(), json!("Debian")), ("hostname".to_owned(), json!("builder"))])) })
    }

    fn reboot(&self, _: Duration) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(async { Ok(()) })
    }

    fn await_ready(&self, _: Duration) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(async { Ok(()) })
    }
}

fn call(module: &str, name: &str, value: &str) -> ModuleCall {
    let args = Map::from_iter([("name".to_owned(), json!(name)), ("value".to_owned(), json!(value))]);
    ModuleCall { module: module.into(), args, ..ModuleCall::default() }
}

fn changed(reply: Result<ModuleReply, TargetError>) -> bool {
    crate::baked::changed(&reply.unwrap())
}

/// A builder that has run `set a 1`, a facts request and a command.
async fn recorded() -> Recorder {
    let recorder = Recorder::new(Arc::new(Machine::default()), "stock", Arc::default());
    assert!(changed(recorder.call(call("set", "a", "1")).await));
    let facts = recorder.facts().await.unwrap();
    assert!(facts.contains_key("os_family") && !facts.contains_key("hostname"), "{facts:?}");
    assert!(changed(recorder.call(call("command", "make", "")).await));
    recorder
}

#[tokio::test]
async fn a_replay_answers_as_the_builder_did_and_stops_where_it_did_something_else() {
    let (key, steps) = recorded().await.notes();
    let known = Arc::new(Known::of(steps));
    let same = Replay::new(known.clone(), "stock");
    assert!(changed(same.call(call("set", "a", "1")).await));
    assert!(same.facts().await.unwrap().contains_key("os_family"));
    assert!(changed(same.call(call("command", "make", "")).await));
    assert_eq!((same.planned().chain, same.planned().stopped), (key.clone(), None));

    let other = Replay::new(known.clone(), "stock");
    assert!(other.call(call("set", "a", "2")).await.is_err());
    assert!(matches!(other.planned().stopped, Some(Stopped::New(_))));
    // After that no step is accepted, even if it is known.
    assert!(other.call(call("set", "a", "1")).await.is_err());
    assert_eq!(other.planned().chain, "stock");

    let elsewhere = Replay::new(known.clone(), "another stock");
    assert!(elsewhere.call(call("set", "a", "1")).await.is_err());

    let never = Replay::new(known, "stock");
    assert!(never.reboot(Duration::ZERO).await.is_err());
    assert!(matches!(never.planned().stopped, Some(Stopped::Never(_))));
}

#[tokio::test]
async fn a_fresh_node_counts_what_the_layer_changed_once() {
    let (key, steps) = recorded().await.notes();
    let folder = tempfile::tempdir().unwrap();
    let layer = Layer { stock: "stock".into(), made: std::time::SystemTime::now(), steps };
    layer.save(folder.path()).unwrap();
    let template = Template { key: key.clone(), folder: folder.path().to_owned() };
    let node = |marked: &str| {
        let machine = Machine { files: BTreeMap::from([(marker(), marked.as_bytes().to_vec())]), ..Machine::default() };
        machine.values.lock().unwrap().insert("a".into(), "1".into());
        let machine = Arc::new(machine);
        (machine.clone(), Fresh::new(machine, &template).unwrap())
    };

    let (machine, fresh) = node(&key);
    assert!(changed(fresh.call(call("set", "a", "1")).await), "the layer set it");
    assert_eq!(*lock(&machine.calls), ["set"], "the node was asked");
    assert!(!changed(fresh.call(call("set", "a", "1")).await), "once");
    assert!(changed(fresh.call(call("command", "make", "")).await));
    assert!(!lock(&machine.calls).contains(&"command".to_owned()), "it must not run a second time");
    assert!(changed(fresh.call(call("set", "b", "1")).await), "what the layer does not know is done");
    fresh.provisioned().await.unwrap();
    assert_eq!(lock(&machine.calls).last().unwrap(), "file");

    // If a node lost its state before the first request, through a synced file or by hand, it is repaired instead of trusted.
    let (machine, fresh) = node(&key);
    machine.values.lock().unwrap().clear();
    assert!(changed(fresh.call(call("set", "a", "1")).await));
    assert_eq!(lock(&machine.values)["a"], "1");

    // A provisioned node has no marker, or another layer's.
    let (machine, fresh) = node("another");
    assert!(!changed(fresh.call(call("set", "a", "1")).await));
    assert!(changed(fresh.call(call("command", "make", "")).await));
    assert_eq!(lock(&machine.calls).len(), 2);
    fresh.provisioned().await.unwrap();
    assert_eq!(lock(&machine.calls).len(), 2, "nothing to note");
}
