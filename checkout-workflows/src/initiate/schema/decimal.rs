//! A decimal JSON number, kept digit for digit: money never passes through floating point.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::money::{Currency, Money, MoneyError};

/// A JSON number as it was written, for example `1500` or `1500.5`.
///
/// It reads and writes through `serde_json` alone, which hands over the digits themselves.
#[derive(Clone)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = f64))]
pub struct Decimal(Box<RawValue>);

/// A JSON number that is no amount of the currency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecimalError {
    /// Exponents are no way to write money.
    #[error("{text} is written with an exponent")]
    Exponent {
        /// The number.
        text: String,
    },
    /// It has more decimal places than the currency, or does not fit.
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl Decimal {
    /// The digits as they were written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The amount, exactly. Zeros at the end change nothing: `12.340` is `12.34`.
    ///
    /// # Errors
    /// When the currency has no such amount. Nothing is rounded.
    pub fn to_money(&self, currency: Currency) -> Result<Money, DecimalError> {
        let text = self.as_str();
        if text.contains(['e', 'E']) {
            return Err(DecimalError::Exponent { text: text.to_owned() });
        }
        let shortest = match text.split_once('.') {
            Some(_) => text.trim_end_matches('0').trim_end_matches('.'),
            None => text,
        };
        Ok(Money::from_decimal(shortest, currency)?)
    }

    /// The amount as a JSON number, without zeros at the end: `1500`, `1500.5`.
    ///
    /// # Errors
    /// Never for an amount of money; the type of JSON text wants to be asked all the same.
    pub fn from_money(money: Money) -> Result<Self, serde_json::Error> {
        let text = money.to_decimal();
        let shortest = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        RawValue::from_string(shortest.to_owned()).map(Self)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        // Of all JSON values only numbers begin like this.
        match raw.get().bytes().next() {
            Some(b'-' | b'0'..=b'9') => Ok(Self(raw)),
            _ => Err(serde::de::Error::custom("an amount is a JSON number, without quotes")),
        }
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Decimal {}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
