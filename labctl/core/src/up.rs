//! `labctl up`: restores a lab kept from the same inputs, or starts the nodes, provisions them, and keeps the result.

use std::time::SystemTime;

use labctl_lab::Failure;
use labctl_lab::client::Supervisor;
use labctl_lab::event::{Each, Event};
use labctl_lab::home::Home;
use labctl_lab::work::Work;
use labctl_spec::ident::NodeName;
use labctl_spec::lab::Lab;

use crate::basis::Basis;
use crate::lifecycle::{self, Birth};
use crate::provisioning::Inputs;
use crate::snapshot::{self, provisioned};

/// How a lab is brought up.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Boot new nodes instead of forking them from templates.
    pub cold: bool,
    /// Run the lab file's plays.
    pub provision: bool,
    /// Reuse what was provisioned before from the same inputs: kept labs and baked layers.
    pub cache: bool,
}

impl How {
    fn birth(self) -> Birth {
        match self.cold {
            true => Birth::Cold,
            // If nodes are only to be started, they must be exactly as in the image.
            false if !self.provision || !self.cache => Birth::Fork,
            false => Birth::Layered,
        }
    }
}

/// Brings a lab up (all of it if `nodes` is empty). `provision` runs its plays on it, and records what they read; it is not called for a
/// lab that is restored in its provisioned state.
pub async fn up(
    home: &Home,
    lab: &Lab,
    nodes: &[NodeName],
    how: How,
    each: Each<'_>,
    provision: impl AsyncFnOnce(&Supervisor, Inputs) -> Result<(), Failure>,
) -> Result<Supervisor, Failure> {
    let _work = Work::begin(&home.lab(&lab.name), each).await?;
    // A suspended lab always resumes as a whole, because its disks belong to one moment.
    snapshot::finish_interrupted(home, &lab.name, each).await?;
    let plays = how.provision && !lab.provision.is_empty();
    // Only a complete new lab is kept and restored, because it cannot contain anything that is not in its inputs.
    let whole = nodes.is_empty() && plays && !how.cold && provisioned::is_absent(home, lab)?;
    let basis = if whole { Some(Basis::find(home, lab, each).await?) } else { None };
    let key = basis.as_ref().and_then(|basis| kept_under(lab, basis, each));
    let mut restored = false;
    if let Some(key) = key.as_deref().filter(|_| how.cache)
        && let Some((_, kept)) = provisioned::restore(home, lab, key, each).await?
    {
        let ago = ago(kept.created);
        let text = format!("restored as it was provisioned {ago}, because no input has changed; --no-cache provisions again");
        each(Event::Note { text });
        restored = true;
    }
    let supervisor = lifecycle::up_on(home, lab.clone(), nodes, how.birth(), basis, each).await?;
    if restored {
        return Ok(supervisor);
    }
    let inputs = Inputs::default();
    if plays {
        provision(&supervisor, inputs.clone()).await?;
    }
    if let Some(key) = key {
        // The lab is up, so failing to keep it is not a failure of this command.
        match provisioned::keep(home, lab, &key, &inputs, &supervisor, each).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => each(Event::Note { text: format!("the provisioned lab is not kept: {why}") }),
            Err(why) => each(Event::Warning { text: format!("the next `up` will provision again: {why}") }),
        }
    }
    Ok(supervisor)
}

/// The key under which a provisioned lab is kept; if it cannot be kept, `None` and a note.
fn kept_under(lab: &Lab, basis: &Basis, each: Each<'_>) -> Option<String> {
    provisioned::key(lab, basis).map_err(|why| each(Event::Note { text: format!("the provisioned lab will not be kept: {why}") })).ok()
}

fn ago(then: SystemTime) -> String {
    let minutes = then.elapsed().unwrap_or_default().as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} min ago"),
        120..2880 => format!("{} h ago", minutes / 60),
        _ => format!("{} days ago", minutes / 1440),
    }
}
