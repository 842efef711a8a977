//! What names refer to during an evaluation.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

use super::engine::{Engine, TemplateError};
use crate::controller::Controller;
use crate::data::{Data, Dict, Place};

/// The variables of one host at one task, and where its files are searched for.
#[derive(Debug)]
pub(crate) struct Scope {
    pub engine: Arc<Engine>,
    /// Variables, highest precedence first.
    pub layers: Vec<Arc<Dict>>,
    /// Folders of the role, the including file and the playbook, nearest first.
    pub search: Vec<PathBuf>,
    /// The evaluating task, with its location.
    asker: Option<Arc<str>>,
}

thread_local! {
    static CURRENT: RefCell<Vec<(Arc<Scope>, Place)>> = const { RefCell::new(Vec::new()) };
}

/// Makes a scope the current one of this thread until it is dropped.
pub(crate) struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with(|current| {
            current.borrow_mut().pop();
        });
    }
}

impl Scope {
    pub(crate) fn new(engine: Arc<Engine>, layers: Vec<Arc<Dict>>, search: Vec<PathBuf>) -> Arc<Self> {
        Arc::new(Self { engine, layers, search, asker: None })
    }

    /// The same for a task.
    pub(crate) fn for_task(engine: Arc<Engine>, layers: Vec<Arc<Dict>>, search: Vec<PathBuf>, asker: Option<Arc<str>>) -> Arc<Self> {
        Arc::new(Self { engine, layers, search, asker })
    }

    /// The controller, on behalf of this scope's task.
    pub(crate) fn controller(&self) -> Controller {
        Controller::new(self.engine.inputs.clone(), self.asker.clone())
    }

    /// The same with variables of higher precedence on top.
    pub(crate) fn with(&self, top: Dict) -> Arc<Self> {
        let mut layers = Vec::with_capacity(self.layers.len() + 1);
        layers.push(Arc::new(top));
        layers.extend(self.layers.iter().cloned());
        Arc::new(Self { engine: self.engine.clone(), layers, search: self.search.clone(), asker: self.asker.clone() })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Data> {
        self.layers.iter().find_map(|layer| layer.get(name))
    }

    /// All names, sorted.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = self.layers.iter().flat_map(|layer| layer.keys().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// `place` is the location of the text being evaluated.
    pub(crate) fn enter(self: &Arc<Self>, place: &Place) -> Entered {
        CURRENT.with(|current| current.borrow_mut().push((self.clone(), place.clone())));
        Entered(())
    }

    /// The scope of the evaluation in progress on this thread.
    pub(crate) fn current() -> Option<Arc<Scope>> {
        CURRENT.with(|current| current.borrow().last().map(|(scope, _)| scope.clone()))
    }

    /// The location of the text being evaluated on this thread.
    pub(crate) fn current_place() -> Option<Place> {
        CURRENT.with(|current| current.borrow().last().map(|(_, place)| place.clone()))
    }

    /// The data with every template in it evaluated.
    pub(crate) fn resolve(self: &Arc<Self>, data: &Data) -> Result<Data, TemplateError> {
        if !data.has_template() {
            return Ok(data.clone());
        }
        match data {
            Data::Tpl(tpl) => self.engine.evaluate(tpl, self),
            Data::List(list) => {
                let mut items = Vec::with_capacity(list.len());
                for item in list.iter() {
                    match self.resolve(item)? {
                        Data::Omit => {}
                        item => items.push(item),
                    }
                }
                Ok(Data::list(items))
            }
            Data::Map(map) => {
                let mut dict = Dict::with_capacity(map.len());
                for (key, item) in map.iter() {
                    match self.resolve(item)? {
                        Data::Omit => {}
                        item => {
                            dict.insert(key.clone(), item);
                        }
                    }
                }
                Ok(Data::map(dict))
            }
            other => Ok(other.clone()),
        }
    }
}
