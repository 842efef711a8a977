//! Typed identifiers: passing the wrong kind does not compile, and a malformed one cannot be constructed.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Format of a [`LabName`] in schemas.
pub(crate) const FORMAT: &str = "labctl-name";

/// Why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid name: use 1 to 63 lower-case letters, digits and hyphens, starting with a letter and not ending with a hyphen"
)]
pub struct BadName(pub String);

fn check(name: &str) -> Result<(), BadName> {
    let good = (1..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if good { Ok(()) } else { Err(BadName(name.to_owned())) }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "format": FORMAT,
                    "pattern": "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
                })
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(name: String) -> Result<Self, BadName> {
                check(&name)?;
                Ok(Self(name))
            }
        }

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(name: &str) -> Result<Self, BadName> {
                Self::try_from(name.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type! {
    /// Name of a lab: a DNS label (RFC 1123), so that it fits socket paths and host names.
    LabName
}
name_type! {
    /// Name of a node, unique in its lab: a DNS label (RFC 1123), used as the guest's host name.
    NodeName
}

/// An Ethernet address. labctl generates locally administered unicast ones (IEEE 802: second-lowest bit of the first octet set).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr(pub [u8; 6]);

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> String {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddr {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let octets: Vec<u8> = text
            .split(':')
            .map(|part| u8::from_str_radix(part, 16))
            .collect::<Result<_, _>>()
            .map_err(|_| format!("`{text}` is not an Ethernet address"))?;
        Ok(Self(octets.try_into().map_err(|_| format!("`{text}` is not an Ethernet address"))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "root-server", "client1", "a0-b"] {
            assert_eq!(good.parse::<NodeName>().unwrap().as_str(), good);
        }
        let long = "a".repeat(64);
        for bad in ["", "1a", "A", "a_b", "a-", "-a", "a.b", "../x", &long] {
            assert!(bad.parse::<LabName>().is_err(), "{bad} must be refused");
        }
    }

    #[test]
    fn mac_round_trips() {
        let mac = MacAddr([0x52, 0x54, 0, 1, 0xab, 0xff]);
        assert_eq!(mac.to_string(), "52:54:00:01:ab:ff");
        assert_eq!(MacAddr::try_from(mac.to_string()).unwrap(), mac);
        assert!(MacAddr::try_from("52:54:00".to_owned()).is_err());
    }
}
