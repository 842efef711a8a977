//! Template files outside of plays, such as those of Nomad jobs.

use std::path::Path;
use std::sync::Arc;

use crate::controller::Controller;
use crate::data::{Data, Dict};
use crate::error::PlaybookError;
use crate::inventory::Inventory;
use crate::template::{Engine, Scope, Syntax};
use crate::variables;

/// The text of a template file, with the variables that `host` has in the inventory and, above them, `extra_vars` (`k=v`, JSON or `@file`).
/// It sees `groups` and `hostvars`, but no facts, because no host is asked.
///
/// # Errors
/// The file cannot be read, an extra variable is malformed, or the template fails: with its line.
pub fn render(file: &Path, inventory: &Inventory, host: &str, extra_vars: &[String]) -> Result<String, PlaybookError> {
    let controller = Controller::default();
    let name = file.display().to_string();
    let bytes = controller.read(file).map_err(|why| PlaybookError::Options(format!("{name}: {why}")))?;
    let text = String::from_utf8(bytes).map_err(|_| PlaybookError::Options(format!("{name} is not UTF-8")))?;
    let extra = variables::extra(extra_vars, &controller).map_err(PlaybookError::Options)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let own = inventory.variables(host, file, &controller)?;
    let mut hostvars = Dict::new();
    for name in inventory.names() {
        hostvars.insert(Arc::from(name.as_str()), Data::map(inventory.variables(&name, file, &controller)?));
    }
    let names = |hosts: &[String]| -> Data { hosts.iter().map(String::as_str).collect::<Vec<_>>().into() };
    let groups = inventory.group_map().iter().map(|(name, hosts)| (Arc::from(name.as_str()), names(hosts))).collect();
    let mut magic = Dict::new();
    magic.insert("inventory_hostname".into(), Data::str(host));
    magic.insert("group_names".into(), names(&inventory.groups_of(host)));
    magic.insert("groups".into(), Data::map(groups));
    magic.insert("hostvars".into(), Data::map(hostvars));
    let layers = vec![Arc::new(magic), Arc::new(extra), Arc::new(own)];
    let scope = Scope::new(Arc::new(Engine::default()), layers, vec![folder.to_owned()]);
    let (syntax, body) = Syntax::from_header(&text);
    scope.engine.render_file(&name, &body, &syntax, &scope).map_err(|why| PlaybookError::Options(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, extra: &[&str]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web.nomad.j2");
        std::fs::write(&file, template).unwrap();
        let text = "name: r\nnetwork: {subnet: 10.99.7.0/24}\nvariables: {count: 3, image: \"web:{{ version }}\"}\n\
                    groups: {clients: {variables: {version: 1}}}\nnodes:\n- {name: s}\n- {name: c, count: 2, groups: [clients]}\n";
        let lab = labctl_spec::parse_lab(text, &folder.path().join("lab.yml")).unwrap();
        let extra: Vec<String> = extra.iter().map(|one| (*one).to_owned()).collect();
        render(&file, &Inventory::of_lab(&lab), "c1", &extra).map_err(|why| why.to_string())
    }

    #[test]
    fn extra_variables_come_before_those_of_the_lab() {
        let template = "count = {{ count }}\nimage = \"{{ image }}\"\nnode = \"${node.unique.id}\"\n";
        assert_eq!(rendered(template, &[]).unwrap(), "count = 3\nimage = \"web:1\"\nnode = \"${node.unique.id}\"\n");
        assert_eq!(
            rendered(template, &["count=50", "version=2"]).unwrap(),
            "count = 50\nimage = \"web:2\"\nnode = \"${node.unique.id}\"\n"
        );
    }

    #[test]
    fn a_template_sees_the_other_nodes() {
        let template = "{% for host in groups['clients'] %}{{ hostvars[host].ansible_host }} {% endfor %}{{ inventory_hostname }}";
        assert_eq!(rendered(template, &[]).unwrap(), "10.99.7.11 10.99.7.12 c1");
    }

    #[test]
    fn what_is_missing_is_named_with_its_file() {
        let why = rendered("a\n{{ nowhere }}\n", &[]).unwrap_err();
        assert!(why.contains("nowhere") && why.contains("undefined") && why.contains("web.nomad.j2"), "{why}");
        assert!(rendered("a", &["b"]).unwrap_err().contains("key=value"));
    }
}
