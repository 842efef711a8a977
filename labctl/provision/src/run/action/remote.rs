//! Calls of the agent's modules.

use std::path::Path;
use std::sync::Arc;

use labctl_wire::{ModuleCall, ModuleReply};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Action, Done, Stop};
use crate::controller::Controller;
use crate::data::{Data, Dict, dict_from_json, dict_to_json};
use crate::target::Content;

/// A file to send: its content and its digest.
pub(super) struct Parcel {
    pub content: Content,
    pub sha256: String,
    pub size: u64,
}

impl Parcel {
    pub(super) fn of_bytes(bytes: Vec<u8>) -> Self {
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Self { size: bytes.len() as u64, sha256, content: Content::Bytes(Arc::new(bytes)) }
    }

    /// A file on the controller; read once for its digest.
    pub(super) async fn of_file(path: &Path, controller: Controller) -> Result<Self, Stop> {
        let owned = path.to_path_buf();
        let read = tokio::task::spawn_blocking(move || controller.measure(&owned)).await;
        let (sha256, size) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                return Err(Stop::Failed(format!("cannot read {}: {error}", path.display())));
            }
            Err(error) => {
                return Err(Stop::Failed(format!("cannot read {}: {error}", path.display())));
            }
        };
        Ok(Self { content: Content::File(path.to_path_buf()), sha256, size })
    }
}

impl Action {
    fn call(&self, module: &str, args: &Dict) -> ModuleCall {
        ModuleCall {
            module: module.to_owned(),
            args: dict_to_json(args),
            check: self.check,
            diff: self.diff,
            become_user: self.become_user.clone(),
            environment: self.environment.clone(),
            timeout_ms: self.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Runs a module with these arguments.
    pub(super) async fn remote(&self, module: &str, args: Dict) -> Done {
        let reply = self.target()?.call(self.call(module, &args)).await?;
        Ok(dict_from_json(&reply.result))
    }

    /// Runs a module that takes a file: sends its digest first, and the file itself only if the module needs it.
    pub(super) async fn deliver(&self, module: &str, mut args: Dict, parcel: Parcel) -> Done {
        args.insert("_sha256".into(), Data::str(&parcel.sha256));
        args.insert("_size".into(), Data::from(usize::try_from(parcel.size).unwrap_or(usize::MAX)));
        let target = self.target()?;
        let call = self.call(module, &args);
        let ModuleReply { result, needs_content } = target.call(call.clone()).await?;
        if !needs_content {
            return Ok(dict_from_json(&result));
        }
        let spool = ModuleCall::spool_path_in(&target.state(), &parcel.sha256);
        target.put(parcel.content, &parcel.sha256, &spool).await?;
        let ModuleReply { result, needs_content } = target.call(call).await?;
        if needs_content {
            return Err(Stop::Failed(format!("the agent requests content again that it was already sent ({})", parcel.sha256)));
        }
        Ok(dict_from_json(&result))
    }

    /// The arguments without those that only the controller understands.
    pub(super) fn args_without(&self, names: &[&str]) -> Dict {
        self.args.iter().filter(|(key, _)| !names.contains(&&***key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// Whether a result merged from several calls has this flag.
pub(super) fn json_flag(result: &Dict, name: &str) -> bool {
    result.get(name).is_some_and(|data| data.to_json() == Value::Bool(true))
}
