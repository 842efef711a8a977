//! The lab file: which machines exist, how they are connected, named and provisioned.

mod addresses;
mod expand;
pub(crate) mod files;
mod groups;
mod hostnames;
mod moved;
mod network;
mod outside;
mod publish;
mod sync;
#[cfg(test)]
mod tests;
mod user;
mod valid;
mod validate;
mod written;

use std::path::Path;

pub use ipnet::{Ipv4Net, Ipv6Net};

use crate::load::{self, LoadError};
use crate::mistake::{Mistake, Mistakes};

pub use moved::{BadSubnet, NoPlace, subnet, subnet_of};
pub use publish::spell_ports;
pub use user::{ROOT, User, UserFile};
pub use valid::{Authority, Lab, Network, Node, Protocol, Provision, Proxy, Publish, Sync};
pub use written::{
    GroupFile, LabFile, ModeFile, NetworkFile, NodeFile, OwnerFile, ProvisionFile, ProxiesFile, ProxyFile, PublishFile, SyncFile,
};

/// Loads a lab file.
///
/// # Errors
/// [`LoadError::Io`] if it cannot be read, else every fault in it.
pub fn load_lab(path: &Path) -> Result<Lab, LoadError> {
    Ok(parse_lab(&load::read(path)?, path)?)
}

/// Parses the text of a lab file. Paths in it are relative to `file`'s folder and must exist; `file` itself is not read.
///
/// Defaults: the subnet is one of the 16,384 `/24` of 10.64.0.0/10, chosen by a hash of the lab's name; the domain is the lab's name;
/// addresses are assigned from .10 on; see [`NodeFile`] for the rest.
///
/// # Errors
/// Every fault, in line order.
pub fn parse_lab(text: &str, file: &Path) -> Result<Lab, Mistakes> {
    let (plain, mut report) = load::plain::<LabFile>(text, file)?;
    let lab = plain.map(|plain| validate::lab(plain, file, &mut report));
    report.finish(lab)
}

/// As much of a lab file as could be understood.
#[derive(Debug)]
pub struct Examined {
    /// The lab without its faulty parts: for finding more faults, never for use. None if too little of it is left.
    pub lab: Option<Lab>,
    /// What is wrong, in line order.
    pub faults: Vec<Mistake>,
}

/// Loads a lab file for a caller that looks for faults elsewhere too. A node's image must be one of `images`. The result contains only the
/// provisioning steps without faults of their own.
///
/// # Errors
/// [`LoadError::Io`] if it cannot be read.
pub fn examine_lab(path: &Path, images: &[String]) -> Result<Examined, LoadError> {
    let (plain, mut report) = match load::plain::<LabFile>(&load::read(path)?, path) {
        Ok(read) => read,
        Err(Mistakes(faults)) => return Ok(Examined { lab: None, faults }),
    };
    let lab = plain.map(|plain| {
        validate::images(&plain, images, &mut report);
        let mut lab = validate::lab(plain, path, &mut report);
        // Dropping a faulty step would shift the ones after it, and steps are identified by their position.
        if report.is_faulty("/provision") {
            lab.provision.clear();
        }
        let steps = std::mem::take(&mut lab.provision).into_iter().enumerate();
        lab.provision = steps.filter(|(index, _)| !report.has_fault_in(&format!("/provision/{index}"))).map(|(_, step)| step).collect();
        lab
    });
    let faults = report.finish(lab.as_ref()).err().map_or_else(Vec::new, |Mistakes(faults)| faults);
    Ok(Examined { lab, faults })
}
