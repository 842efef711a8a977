//! labctl's own files, read and checked: the lab file, the image file, the scenario file and a role's artifact file.
//!
//! Each resource has a plain type that mirrors the file (`*File`, what the JSON schema is generated from) and a
//! validated type that the engines use. [`load`] goes from text to the validated type and reports every fault at
//! once, each with file, line, field and what is allowed ([`Fault`]). Engines never meet a plain type.

pub mod artifact;
pub mod fault;
pub mod ident;
pub mod image;
pub mod lab;
pub mod scenario;
pub mod size;
pub mod yaml;
