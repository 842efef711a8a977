//! `add_host` and `group_by`.

use super::{Action, Done, Stop, result};
use crate::data::{Data, Dict};
use crate::lock::lock;
use crate::python;

fn names(data: Option<&Data>) -> Vec<String> {
    match data {
        Some(Data::List(list)) => list.iter().map(python::str_of).collect(),
        Some(Data::Null) | None => Vec::new(),
        Some(other) => python::str_of(other).split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect(),
    }
}

impl Action {
    pub(super) fn add_host(&self) -> Done {
        let name = ["name", "host", "hostname"].iter().find_map(|key| self.text(key));
        let name = name.ok_or_else(|| Stop::Failed("name, host or hostname needs to be provided".to_owned()))?;
        let groups: Vec<String> = ["groups", "group", "groupname"].iter().flat_map(|key| names(self.args.get(*key))).collect();
        let special = ["name", "host", "hostname", "groups", "group", "groupname"];
        let vars: Dict =
            self.args.iter().filter(|(key, _)| !special.contains(&&***key)).map(|(key, value)| (key.clone(), value.clone())).collect();
        let changed = {
            let inventory = lock(&self.play.run.inventory);
            match inventory.hosts.get(&name) {
                None => true,
                Some(host) => {
                    vars.iter().any(|(key, value)| host.vars.get(key) != Some(value))
                        || groups.iter().any(|group| !inventory.members(group).contains(&name))
                }
            }
        };
        let new = result([("host_name", name.into()), ("groups", groups.into()), ("host_vars", Data::map(vars))]);
        Ok(result([("changed", changed.into()), ("add_host", Data::map(new))]))
    }

    pub(super) fn group_by(&self) -> Done {
        let key = self.text("key").ok_or_else(|| Stop::Failed("the 'key' param is required when using group_by".to_owned()))?;
        let group = key.replace(' ', "-");
        let parents: Vec<String> = match self.args.get("parents") {
            Some(parents) => names(Some(parents)).into_iter().map(|name| name.replace(' ', "-")).collect(),
            None => vec!["all".to_owned()],
        };
        let changed = !lock(&self.play.run.inventory).members(&group).contains(&self.host);
        Ok(result([("changed", changed.into()), ("add_group", group.into()), ("parent_groups", parents.into())]))
    }
}
