//! Which templates a lab needs: those that nodes are forked from, and those still to be made.

use std::collections::BTreeMap;

use labctl_lab::Failure;
use labctl_lab::event::Each;
use labctl_lab::home::Home;
use labctl_lab::record::Record;
use labctl_lab::template::{Plan, Shape, Template, Templates};
use labctl_spec::ident::NodeName;
use labctl_spec::lab::Lab;

use crate::basis::Basis;
use crate::host_keys;

/// Which template each of `nodes` is forked from. Missing templates that several nodes need are made now; a node that alone needs a missing
/// one boots by itself, which is no slower, and its supervisor makes the template afterwards.
pub async fn prepare(home: &Home, record: &Record, nodes: &[NodeName], basis: &Basis, each: Each<'_>) -> Result<Plan, Failure> {
    let templates = Templates::of(home);
    let mut wanted: BTreeMap<String, (Shape, Vec<NodeName>)> = BTreeMap::new();
    for name in nodes {
        let Some(shape) = basis.shape(record.node(name)?) else { continue };
        wanted.entry(shape.key()).or_insert_with(|| (shape, Vec::new())).1.push(name.clone());
    }
    let mut plan = Plan::default();
    let mut missing = Vec::new();
    for (key, (shape, nodes)) in wanted {
        match templates.find(&key) {
            Some(template) => {
                template.touch(home);
                plan.forks.extend(nodes.into_iter().map(|node| (node, template.clone())));
            }
            None if nodes.len() > 1 => missing.push((shape, nodes)),
            None => plan.later.push(shape),
        }
    }
    let made = missing.iter().map(|(shape, _)| labctl_template::make(home, shape, each));
    for (made, (_, nodes)) in futures_util::future::join_all(made).await.into_iter().zip(&missing) {
        let template = made?;
        plan.forks.extend(nodes.iter().map(|node| (node.clone(), template.clone())));
    }
    Ok(plan)
}

/// The template of a node's shape, if it exists.
pub async fn stock(home: &Home, lab: &Lab, node: &NodeName, each: Each<'_>) -> Result<Option<Template>, Failure> {
    let basis = Basis::find(home, lab, each).await?;
    let shape = lab.node(node).and_then(|node| basis.shape(node));
    Ok(shape.and_then(|shape| Templates::of(home).find(&shape.key())))
}

/// Makes the missing templates for a lab's nodes, and the host keys that those will need.
pub async fn build(home: &Home, lab: &Lab, each: Each<'_>) -> Result<(), Failure> {
    let keys = host_keys::ahead(home, lab.nodes.len());
    let basis = Basis::find(home, lab, each).await?;
    let shapes = lab.nodes.iter().filter_map(|node| basis.shape(node)).map(|shape| (shape.key(), shape));
    let shapes: BTreeMap<String, Shape> = shapes.collect();
    let made = shapes.values().map(|shape| labctl_template::make(home, shape, each));
    futures_util::future::join_all(made).await.into_iter().try_for_each(|made| made.map(drop))?;
    keys.settle(each).await;
    Ok(())
}
