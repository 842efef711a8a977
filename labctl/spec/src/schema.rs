//! JSON Schemas of the files, for editors and for the structure check.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value as Json;

/// The schema of a plain type.
pub(crate) fn of<T: JsonSchema>() -> Json {
    SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}

/// JSON Schema (2020-12) of the lab file.
pub fn lab_schema() -> Json {
    of::<crate::lab::LabFile>()
}

/// JSON Schema (2020-12) of the image file.
pub fn image_schema() -> Json {
    of::<crate::image::ImageFile>()
}

/// JSON Schema (2020-12) of a role's artifact file.
pub fn artifact_schema() -> Json {
    of::<crate::artifact::ArtifactFile>()
}

/// JSON Schema (2020-12) of the scenario file.
pub fn scenario_schema() -> Json {
    of::<crate::scenario::ScenarioFile>()
}
