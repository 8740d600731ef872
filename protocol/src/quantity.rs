//! Quantities of bytes as Kubernetes writes them.
//!
//! Received from: the fields of a [`crate::job`] that hold one. Handed to: [`crate::validate`], and
//! whoever needs the number. Pure. Invariant: what Kubernetes takes is taken, and means the same.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};

/// The largest quantity, in bytes: that of Kubernetes.
const BYTES_MAX: u128 = i64::MAX as u128;
/// So many digits are told apart; what comes behind rounds up.
const DIGITS_MAX: usize = 19;

/// Why a text is no quantity that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is none.
    #[error(
        "is not a quantity: write a number of bytes, with a unit of Ki, Mi, Gi, Ti, Pi, Ei, k, M, \
         G, T, P or E if it has one, such as 512Mi or 20Gi"
    )]
    Malformed,
    /// It is less than nothing.
    #[error("is less than 0: write a number of bytes, such as 512Mi or 20Gi")]
    Negative,
    /// No disk is as large, and no memory.
    #[error("is too large: write less than 8Ei, such as 512Mi or 20Gi")]
    TooLarge,
}

/// The bytes that a quantity such as `512Mi`, `1.5Gi`, `2G`, `1e9` or `17` stands for; parts of a
/// byte count as a whole one.
///
/// ```
/// use millstream_protocol::quantity::parse;
/// assert_eq!(parse("1.5Ki"), Ok(1536));
/// ```
///
/// # Errors
/// Where it is none, is negative, or is 8Ei or more.
pub fn parse(text: &str) -> Result<u64, Error> {
    let (sign, unsigned) = match text.as_bytes().first() {
        Some(b'+' | b'-') => text.split_at(1),
        _ => ("", text),
    };
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let unit = unsigned.find(|c| !is_number(c)).unwrap_or(unsigned.len());
    let (number, unit) = unsigned.split_at(unit);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err(Error::Malformed);
    }
    let (binary, decimal) = scale(unit)?;
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    if sign == "-" {
        return Err(Error::Negative);
    }
    let (kept, rest) = digits.split_at(digits.len().min(DIGITS_MAX));
    let mut value: u128 = kept.parse().map_err(|_| Error::Malformed)?;
    value += u128::from(rest.bytes().any(|digit| digit != b'0'));
    value <<= binary;
    let exponent = decimal + rest.len() as i64 - fraction.len() as i64;
    let power = u32::try_from(exponent.unsigned_abs()).ok().and_then(|e| 10_u128.checked_pow(e));
    let bytes = match (power, exponent < 0) {
        (Some(power), true) => value.div_ceil(power),
        (None, true) => 1,
        (Some(power), false) => value.checked_mul(power).ok_or(Error::TooLarge)?,
        (None, false) => return Err(Error::TooLarge),
    };
    if bytes > BYTES_MAX { Err(Error::TooLarge) } else { Ok(bytes as u64) }
}

/// What a unit multiplies by: a power of 2, and a power of 10.
fn scale(unit: &str) -> Result<(u32, i64), Error> {
    Ok(match unit {
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "" => (0, 0),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        _ => {
            let exponent = unit.strip_prefix(['e', 'E']).ok_or(Error::Malformed)?;
            // One that has too many digits is no exponent of anything that fits.
            (0, exponent.parse::<i32>().map_err(|_| Error::Malformed)?.into())
        }
    })
}

/// Reads a quantity that stands in a file as text, or as a number without a unit.
pub(crate) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Text::deserialize(from).map(|Text(text)| text)
}

/// The same of a field that may be left out.
pub(crate) fn optional_text<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<String>, D::Error> {
    let text = Option::<Text>::deserialize(from)?;
    Ok(text.map(|Text(text)| text))
}

struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Text(String::new()))
    }
}

impl Visitor<'_> for Text {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self, E> {
        Ok(Self(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self, E> {
        Ok(Self(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self, E> {
        Ok(Self(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self, E> {
        Ok(Self(number.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_in_kubernetes() {
        for (text, bytes) in [
            ("512Mi", 512 << 20),
            ("1.5Gi", 3 << 29),
            ("7Ei", 7 << 60),
            ("1E", 1_000_000_000_000_000_000),
            ("2k", 2000),
            ("17", 17),
            ("+17", 17),
            ("1e9", 1_000_000_000),
            ("1E3", 1000),
            ("15e-1", 2),
            ("1500m", 2),
            ("1n", 1),
            ("1.", 1),
            (".5Ki", 512),
            ("0", 0),
            ("-0", 0),
            ("0e999", 0),
            ("1e-999", 1),
            ("9223372036854775807", i64::MAX as u64),
            ("0.0000000000000000000001", 1),
            ("000000000000000000000012.50", 13),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for (text, error) in [
            ("", Error::Malformed),
            ("Mi", Error::Malformed),
            (".", Error::Malformed),
            ("1.2.3", Error::Malformed),
            ("7Xi", Error::Malformed),
            ("7mi", Error::Malformed),
            ("1 Gi", Error::Malformed),
            ("1e", Error::Malformed),
            ("e9", Error::Malformed),
            ("--1", Error::Malformed),
            ("-1", Error::Negative),
            ("-1Gi", Error::Negative),
            ("8Ei", Error::TooLarge),
            ("9223372036854775808", Error::TooLarge),
            ("99999999999Pi", Error::TooLarge),
            ("1e40", Error::TooLarge),
            ("1e2000000000", Error::TooLarge),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
