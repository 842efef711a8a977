//! Which subnet a clone gets, and whether that is possible.

use std::net::Ipv4Addr;

use labctl_lab::home::Home;
use labctl_lab::record::{overlap, overlapping};
use labctl_lab::{Failure, Kind};
use labctl_spec::ident::LabName;
use labctl_spec::lab::{self, Ipv4Net, Lab};
use serde_json::Value;

/// Word for [`Subnet::Derived`].
const AUTO: &str = "auto";

/// The addresses of a clone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Subnet {
    /// Those of the lab that it is made from.
    #[default]
    Kept,
    /// In this subnet.
    Named(Ipv4Net),
    /// In the subnet that a lab of its name would get if its file specified none.
    Derived,
}

impl Subnet {
    /// Parses the option: a subnet, or `auto`; without it the addresses are kept.
    pub fn read(text: Option<&str>) -> Result<Self, Failure> {
        match text {
            None => Ok(Self::Kept),
            Some(AUTO) => Ok(Self::Derived),
            Some(text) => lab::subnet(text)
                .map(Self::Named)
                .map_err(|why| Failure::new(Kind::Input, format!("--subnet: {why}")).hint(format!("nothing was changed; {}", why.hint))),
        }
    }

    /// The subnet of the clone of that name; none if it keeps its addresses.
    pub(super) fn of(self, clone: &LabName) -> Option<Ipv4Net> {
        match self {
            Self::Kept => None,
            Self::Named(subnet) => Some(subnet),
            Self::Derived => Some(lab::subnet_of(clone)),
        }
    }
}

/// Refuses subnets that the clones of `origin` cannot have. Nothing has been changed at that point.
pub(super) fn check(home: &Home, origin: &Lab, clones: &[LabName], subnet: Subnet) -> Result<(), Failure> {
    if let (Subnet::Named(subnet), 2..) = (subnet, clones.len()) {
        let names = clones.iter().map(LabName::as_str).collect::<Vec<_>>().join(", ");
        return Err(Failure::new(Kind::Input, format!("--subnet: {subnet} is for one lab, but {} are named: {names}", clones.len())).hint(
            "nothing was changed; clone them one by one, or use `--subnet auto`, which derives each subnet from the name of the clone",
        ));
    }
    let mut given: Vec<(&LabName, Ipv4Net)> = Vec::new();
    for clone in clones {
        let Some(subnet) = subnet.of(clone) else { continue };
        check_one(home, origin, clone, subnet)?;
        if let Some((other, theirs)) = given.iter().find(|(_, theirs)| overlap(*theirs, subnet)) {
            return Err(taken(subnet, *theirs, other));
        }
        given.push((clone, subnet));
    }
    Ok(())
}

/// The same for one of them, just before it is created.
pub(super) fn check_one(home: &Home, origin: &Lab, clone: &LabName, subnet: Ipv4Net) -> Result<(), Failure> {
    if subnet == origin.network.subnet {
        return Err(Failure::new(Kind::Input, format!("--subnet: {subnet} is the subnet of lab `{}` itself", origin.name))
            .hint("nothing was changed; name another subnet, or leave out --subnet to keep the same addresses"));
    }
    if overlap(subnet, origin.network.subnet) {
        return Err(taken(subnet, origin.network.subnet, &origin.name));
    }
    if let Some((other, theirs)) = overlapping(home, clone, subnet) {
        return Err(taken(subnet, theirs, &other));
    }
    let no_place = |why: lab::NoPlace| {
        Failure::new(Kind::Input, format!("--subnet: {why}")).hint(format!("nothing was changed; {} is large enough", why.enough))
    };
    origin.clone().in_subnet(subnet).map(drop).map_err(no_place)
}

fn taken(subnet: Ipv4Net, theirs: Ipv4Net, other: &LabName) -> Failure {
    Failure::new(Kind::Conflict, format!("--subnet: {subnet} overlaps with {theirs} of lab `{other}`"))
        .hint("nothing was changed; choose another subnet, or destroy that lab first")
}

/// What a user must know about a lab whose nodes got new addresses while running.
pub(super) fn consequences(name: &LabName, origin: &Lab, subnet: Ipv4Net) -> String {
    let mut text = format!(
        "the nodes of `{name}` now have addresses in {subnet}. Whatever has bound or stored an address in {} keeps it (services \
         such as Consul, files made from templates); connections to such addresses are cut. Next: labctl --lab {name} provision",
        origin.network.subnet
    );
    let literal = literal(origin);
    if !literal.is_empty() {
        let list = literal.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        text += &format!(". The variables of {} contain {list}, which no node of `{name}` has", origin.file.display());
    }
    text
}

/// The lab's addresses that appear literally in its variables: these do not move with it.
fn literal(lab: &Lab) -> Vec<Ipv4Addr> {
    let own = lab.nodes.iter().map(|node| &node.variables);
    let texts: Vec<String> = own
        .chain([&lab.variables])
        .chain(lab.group_variables.values())
        .map(|variables| Value::Object(variables.clone()).to_string())
        .collect();
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_ascii_digit() && c != '.').map(|word| word.trim_matches('.').to_owned()).collect()
    };
    let words: Vec<String> = texts.iter().flat_map(|text| words(text)).collect();
    let addresses = [lab.network.gateway].into_iter().chain(lab.nodes.iter().map(|node| node.address));
    addresses.filter(|address| words.contains(&address.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use labctl_lab::record::Record;

    fn lab(text: &str) -> Lab {
        labctl_spec::parse_lab(text, Path::new("/nowhere/lab.yml")).unwrap()
    }

    fn named(text: &str) -> Subnet {
        Subnet::read(Some(text)).unwrap()
    }

    const ORIGIN: &str = "name: past\nnetwork: {subnet: 10.5.0.0/24}\nnodes: [{name: a, address: 10.5.0.77}, {name: b}]\n";

    #[test]
    fn a_subnet_that_a_clone_cannot_have_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"), &folder.path().join("run")).unwrap();
        let other = lab("name: other\nnetwork: {subnet: 10.9.0.0/16}\nnodes: [{name: x}]\n");
        let other_home = home.lab(&other.name);
        other_home.make().unwrap();
        Record::prepare(&home, other).unwrap().save(&other_home).unwrap();
        let origin = lab(ORIGIN);
        let names: Vec<LabName> = ["anna", "berta"].map(|name| name.parse().unwrap()).to_vec();
        let refused = |count: usize, subnet: &str| {
            let why = check(&home, &origin, &names[..count], named(subnet)).unwrap_err();
            let hint = why.hint.unwrap();
            assert!(hint.starts_with("nothing was changed; "), "{hint}");
            (why.kind, why.message)
        };
        for (count, subnet, kind, said) in [
            (1, "10.5.0.0/24", Kind::Input, "is the subnet of lab `past` itself"),
            (1, "10.5.0.0/16", Kind::Conflict, "overlaps with 10.5.0.0/24 of lab `past`"),
            (1, "10.9.3.0/24", Kind::Conflict, "overlaps with 10.9.0.0/16 of lab `other`"),
            (1, "10.99.0.0/26", Kind::Input, "`a` (10.5.0.77)"),
            (2, "10.99.0.0/24", Kind::Input, "is for one lab, but 2 are named: anna, berta"),
        ] {
            let (found, message) = refused(count, subnet);
            assert!(found == kind && message.contains(said), "{subnet}: {found:?} {message}");
        }
        check(&home, &origin, &names[..1], named("10.99.0.0/24")).unwrap();
        check(&home, &origin, &names, Subnet::Derived).unwrap();
        check(&home, &origin, &names, Subnet::Kept).unwrap();
        assert!(Subnet::read(Some("1.1.1.0/24")).unwrap_err().message.starts_with("--subnet: "));
        assert_ne!(Subnet::Derived.of(&names[0]), Subnet::Derived.of(&names[1]));
    }

    #[test]
    fn addresses_in_variables_are_named() {
        let file = "name: past\nnetwork: {subnet: 10.5.0.0/24}\nvariables: {peer: 'http://10.5.0.77:80/', no: 10.5.0.101}\n\
                    nodes: [{name: a, address: 10.5.0.77}, {name: b}]\n";
        let name = "anna".parse().unwrap();
        let Subnet::Named(subnet) = named("10.99.0.0/24") else { panic!("a subnet") };
        let said = consequences(&name, &lab(file), subnet);
        assert!(said.contains("contain 10.5.0.77, which") && said.contains("labctl --lab anna provision"), "{said}");
        assert!(!consequences(&name, &lab(ORIGIN), subnet).contains("variables"));
    }

    #[test]
    fn a_clone_in_another_subnet_stays_there_whatever_it_goes_back_to() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home"), &folder.path().join("run")).unwrap();
        let origin = Record::prepare(&home, lab(ORIGIN)).unwrap();
        let name: LabName = "anna".parse().unwrap();
        let Subnet::Named(subnet) = named("10.99.0.0/24") else { panic!("a subnet") };
        let clone = origin.cloned(&home, &name, Some(subnet)).unwrap();
        let a = |record: &Record| record.lab.nodes[0].address.to_string();
        assert_eq!((a(&origin), a(&clone)), ("10.5.0.77".to_owned(), "10.99.0.77".to_owned()));
        let identity = clone.identity(&clone.lab.nodes[0]).unwrap();
        assert_eq!(identity.gateway, Some("10.99.0.1".parse().unwrap()));
        assert_eq!(identity.neighbours[1].address.to_string(), "10.99.0.10");
        assert_eq!(identity.machine_id, origin.identity(&origin.lab.nodes[0]).unwrap().machine_id, "the same machine");
        // Restoring a snapshot of the original lab, reading the lab file, and being cloned itself.
        assert_eq!(a(&origin.clone().in_place_of(&clone).unwrap()), "10.99.0.77");
        assert_eq!(clone.own_lab(lab(ORIGIN)).unwrap(), clone.lab);
        let second = clone.cloned(&home, &"carla".parse().unwrap(), None).unwrap();
        assert_eq!(a(&origin.clone().in_place_of(&second).unwrap()), "10.99.0.77");
        // A clone that was not moved, and the lab itself.
        let same = origin.cloned(&home, &name, None).unwrap();
        assert_eq!(a(&same), "10.5.0.77");
        assert_eq!(origin.own_lab(lab(ORIGIN)).unwrap(), origin.lab);
    }
}
