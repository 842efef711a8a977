//! What an `import_playbook` passes on to the plays that it imports.

use std::sync::Arc;

use super::{Item, Keywords, Play};

impl Play {
    /// Adopts the tags, conditions and variables of an `import_playbook`.
    pub(super) fn adopt(&mut self, keywords: &Keywords) {
        let mut vars = (*self.vars).clone();
        for dict in &keywords.vars {
            vars.extend(dict.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        self.vars = Arc::new(vars);
        let lists = [&mut self.pre_tasks, &mut self.role_tasks, &mut self.tasks, &mut self.post_tasks];
        for list in lists {
            for item in list.iter_mut() {
                item.adopt(keywords);
            }
        }
    }
}

impl Item {
    fn adopt(&mut self, keywords: &Keywords) {
        let add = |own: &mut Keywords| {
            own.tags.extend(keywords.tags.iter().cloned());
            own.when.splice(0..0, keywords.when.iter().cloned());
        };
        match self {
            Item::Task(task) => {
                let task = Arc::make_mut(task);
                add(&mut task.keywords);
                let mut outer = (*task.outer).clone();
                add(&mut outer);
                task.outer = Arc::new(outer);
            }
            Item::Block(block) => {
                let mut copy = super::Block {
                    keywords: block.keywords.clone(),
                    block: block.block.clone(),
                    rescue: block.rescue.clone(),
                    always: block.always.clone(),
                };
                add(&mut copy.keywords);
                for item in copy.block.iter_mut().chain(&mut copy.rescue).chain(&mut copy.always) {
                    item.adopt(keywords);
                }
                *block = Arc::new(copy);
            }
            Item::Role(_, tasks) => {
                let mut copy = (**tasks).clone();
                for item in &mut copy {
                    item.adopt(keywords);
                }
                *tasks = Arc::new(copy);
            }
        }
    }
}
