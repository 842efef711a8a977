//! placeholder
use labctl_wire::{ModuleCall, ModuleReply};
/// x
pub fn run(_: &ModuleCall) -> ModuleReply { ModuleReply::default() }
