use std::path::Path;

use crate::{example_lab, parse_lab};

#[test]
fn the_example_is_a_lab_of_one_plain_machine() {
    let text = example_lab(&"web".parse().expect("a name"));
    let lab = parse_lab(&text, Path::new("/nowhere/lab.yml")).expect("valid");
    assert_eq!(lab.name.as_str(), "web");
    assert_eq!(lab.nodes.len(), 1);
    assert_eq!(lab.nodes[0].hostnames, ["vm1.web"]);
    assert!(lab.provision.is_empty());
}
