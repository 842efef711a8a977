//! Input and output of every module: arguments, the task, its outcome, programs, other users.

pub(crate) mod arguments;
pub(crate) mod become_user;
pub(crate) mod outcome;
pub(crate) mod root;
pub(crate) mod spawn;
pub(crate) mod task;
#[cfg(test)]
pub(crate) mod testing;
