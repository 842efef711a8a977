//! Sizes of memory and disks as people write them: `512M`, `1G`, `1.5GiB`; always binary units.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Format of a [`Size`] in schemas.
pub(crate) const FORMAT: &str = "labctl-size";

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

impl Size {
    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// Whole MiB, rounded down.
    pub const fn as_mib(self) -> u64 {
        self.0 >> 20
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a size: write a number with K, M, G or T, such as `512M` or `1.5G`");
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim().trim_end_matches(['B', 'b']).trim_end_matches('i').to_ascii_uppercase().as_str() {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return Err(bad()),
        };
        let number: f64 = number.parse().map_err(|_| bad())?;
        let bytes = number * 2f64.powi(shift);
        if !(1.0..9e18).contains(&bytes) {
            return Err(bad());
        }
        // Truncation is intended: a fraction of a byte is meaningless.
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("T", 40), ("G", 30), ("M", 20), ("K", 10)] {
            if self.0 >= 1 << shift && self.0.is_multiple_of(1 << (shift - 2)) {
                let whole = self.0 as f64 / (1u64 << shift) as f64;
                return write!(f, "{whole}{unit}");
            }
        }
        write!(f, "{}", self.0)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "format": FORMAT,
            "description": "A size in binary units: 512M, 1G, 1.5G; a bare number is bytes.",
            "pattern": r"^[0-9.]+ ?([KkMmGgTt]i?)?[Bb]?$",
            "minimum": 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in [("512M", 512 << 20), ("1G", 1 << 30), ("1.5GiB", 3 << 29), ("2 g", 2 << 30), ("1T", 1 << 40), ("4096", 4096)]
        {
            assert_eq!(text.parse::<Size>(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "G", "12X", "1..5G", "-1G", "0"] {
            assert!(bad.parse::<Size>().is_err(), "{bad} must be refused");
        }
    }

    #[test]
    fn prints_the_shortest_exact_form() {
        assert_eq!(Size::mib(512).to_string(), "512M");
        assert_eq!(Size(3 << 29).to_string(), "1.5G");
        assert_eq!(Size(4097).to_string(), "4097");
    }
}
