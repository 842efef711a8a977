//! placeholder until the engine is merged
use crate::{Failure, client::Supervisor, home::Home, event::Event};
use labctl_spec::{lab::Lab, ident::NodeName};
/// x
#[derive(Debug, Clone, Default)]
pub struct Options { 
/// x
pub limit: Vec<NodeName> }
/// x
pub fn check(_: &Lab) -> Result<(), Failure> { Ok(()) }
/// x
pub async fn run(_: &Home, _: &Lab, _: &Supervisor, _: Options, _: &(dyn Fn(Event)+Send+Sync)) -> Result<(), Failure> { Ok(()) }
