//! Sizes that people write and read.

use std::{fmt, str::FromStr};

use serde::Deserialize;

/// A number of bytes; read from `10GiB`, `500 MB` or a plain number, written with a binary unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Size(pub(crate) u64);

const UNITS: [(&str, u64); 11] = [
    ("", 1),
    ("B", 1),
    ("K", 1 << 10),
    ("KIB", 1 << 10),
    ("M", 1 << 20),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
    ("TIB", 1 << 40),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "expected a size such as 500MB or 10GiB";
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..end].parse().map_err(|_| WRONG)?;
        let unit = text[end..].trim().to_ascii_uppercase();
        let unit = match unit.as_str() {
            "G" => 1 << 30,
            "T" => 1 << 40,
            "TB" => 1_000_000_000_000,
            unit => UNITS.iter().find(|(name, _)| *name == unit).ok_or(WRONG)?.1,
        };
        number.checked_mul(unit).map(Self).ok_or(WRONG)
    }
}

impl TryFrom<String> for Size {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = "B";
        let mut whole = self.0;
        let mut tenths = 0;
        for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
            if whole < 1024 {
                break;
            }
            tenths = (whole % 1024) * 10 / 1024;
            whole /= 1024;
            unit = next;
        }
        if unit == "B" { write!(f, "{whole} B") } else { write!(f, "{whole}.{tenths} {unit}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, bytes) in
            [("0", 0), ("7 B", 7), ("10GiB", 10 << 30), ("1k", 1024), ("2 MB", 2_000_000), ("3T", 3 << 40)]
        {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "x", "-1", "10 parsecs", "99999999999999TiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!(Size(1_610_612_736).to_string(), "1.5 GiB");
        assert_eq!(Size(999).to_string(), "999 B");
    }
}
