//! Which machine a connection refers to, and the machines used so far.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use labctl_lab::home::Home;
use labctl_provision::{Connection, Target, TargetFn};

use super::channel::Channel;
use super::local::Controller;

/// Creates the machine of a connection other than the controller; none if there is none.
pub type Reach = Box<dyn Fn(&Connection) -> Option<Arc<dyn Target>> + Send + Sync>;

/// Machines by connection, each created once: the controller here, all others by `reach`.
pub fn machines(home: &Home, reach: Reach) -> TargetFn {
    let home = home.clone();
    let known: Mutex<HashMap<Connection, Arc<dyn Target>>> = Mutex::default();
    Arc::new(move |connection| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        // However the controller is named, it is one machine.
        let key = match connection.local {
            true => Connection { local: true, root: connection.root, ..Connection::default() },
            false => connection.clone(),
        };
        if let Some(target) = known.get(&key) {
            return Some(target.clone());
        }
        let target = match key.local {
            true => Arc::new(Channel::new(Controller::new(&home, key.root))) as Arc<dyn Target>,
            false => reach(&key)?,
        };
        known.insert(key, target.clone());
        Some(target)
    })
}
