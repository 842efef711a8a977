//! JSON Schemas of the files, for editors and for the structure check.

use serde_json::Value as Json;

use crate::load::schema_of;

/// JSON Schema (2020-12) of the lab file.
pub fn lab_schema() -> Json {
    schema_of::<crate::lab::LabFile>()
}

/// JSON Schema (2020-12) of the image file.
pub fn image_schema() -> Json {
    schema_of::<crate::image::ImageFile>()
}

/// JSON Schema (2020-12) of a role's artifact file.
pub fn artifact_schema() -> Json {
    schema_of::<crate::artifact::ArtifactFile>()
}

/// JSON Schema (2020-12) of the scenario file.
pub fn scenario_schema() -> Json {
    schema_of::<crate::scenario::ScenarioFile>()
}
