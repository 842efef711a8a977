//! Reads and checks labctl's own files: the lab file, the image file, the scenario file and a role's artifact file.
//!
//! Each resource has a plain type that mirrors the file (`*File`, from which the JSON schema is generated) and a validated type that the
//! engines use. [`load_lab`] and its siblings go from text to the validated type and report all faults at once, each with file, line, field
//! and what is allowed ([`mistake::Mistake`]). Engines never see a plain type.
//!
//! The stages: [`yaml::parse`] (a tree with lines), the schema check (structure: keys, types, ranges), serde, then each resource's own
//! check (meaning: addresses, names, files), which covers as much as the structure allows.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod artifact;
mod check;
pub mod duration;
mod example;
pub mod ident;
pub mod image;
pub mod lab;
mod load;
pub mod mistake;
mod names;
pub mod network;
pub mod proxy;
mod report;
pub mod scenario;
mod schema;
pub mod size;
mod stable_hash;
pub mod yaml;

pub use artifact::{load_artifacts, parse_artifacts};
pub use example::{LAB_EXAMPLE, example_lab};
pub use image::{load_image, parse_image};
pub use lab::{examine_lab, load_lab, parse_lab};
pub use load::{LoadError, read};
pub use scenario::{load_scenario, parse_scenario};
pub use schema::{artifact_schema, image_schema, lab_schema, scenario_schema};
