//! Money: an integer of minor units and an ISO 4217 currency. No floating point anywhere.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A currency that the shop trades in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Currency {
    /// Euro: 2 decimal places.
    EUR,
    /// Indian rupee: 2 decimal places.
    INR,
    /// Japanese yen: no decimal places.
    JPY,
    /// Kuwaiti dinar: 3 decimal places.
    KWD,
    /// US dollar: 2 decimal places.
    USD,
}

impl Currency {
    /// Decimal places of the minor unit, by ISO 4217.
    #[must_use]
    pub fn exponent(self) -> u32 {
        match self {
            Self::JPY => 0,
            Self::EUR | Self::INR | Self::USD => 2,
            Self::KWD => 3,
        }
    }

    /// The ISO 4217 code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::EUR => "EUR",
            Self::INR => "INR",
            Self::JPY => "JPY",
            Self::KWD => "KWD",
            Self::USD => "USD",
        }
    }

    /// The currency with this code.
    ///
    /// # Errors
    /// When the shop does not trade in it.
    pub fn from_code(code: &str) -> Result<Self, MoneyError> {
        let all = [Self::EUR, Self::INR, Self::JPY, Self::KWD, Self::USD];
        all.into_iter()
            .find(|currency| currency.code() == code)
            .ok_or_else(|| MoneyError::Currency { code: code.to_owned() })
    }
}

/// An amount that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoneyError {
    /// The result does not fit.
    #[error("the amount is out of range")]
    Range,
    /// Two amounts of different currencies were mixed.
    #[error("{left} and {right} cannot be mixed")]
    Mixed {
        /// The one.
        left: &'static str,
        /// The other.
        right: &'static str,
    },
    /// The text is no amount of this currency.
    #[error("{text:?} is not an amount with at most {places} decimal places")]
    Text {
        /// The text.
        text: String,
        /// The currency's decimal places.
        places: u32,
    },
    /// The currency is not traded in.
    #[error("the shop does not trade in {code:?}")]
    Currency {
        /// The code.
        code: String,
    },
}

/// An amount of money in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

impl Money {
    /// An amount in minor units.
    #[must_use]
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing.
    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    /// The minor units.
    #[must_use]
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    #[must_use]
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The sum.
    ///
    /// # Errors
    /// When the currencies differ or the sum does not fit.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        self.combine(other, i64::checked_add)
    }

    /// The difference.
    ///
    /// # Errors
    /// When the currencies differ or the difference does not fit.
    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        self.combine(other, i64::checked_sub)
    }

    /// So many times the amount.
    ///
    /// # Errors
    /// When the product does not fit.
    pub fn times(self, factor: i64) -> Result<Self, MoneyError> {
        self.minor.checked_mul(factor).map(|minor| Self { minor, ..self }).ok_or(MoneyError::Range)
    }

    /// A share in hundredths of a per cent, rounded half away from zero.
    ///
    /// # Errors
    /// When the product does not fit.
    pub fn basis_points(self, points: i64) -> Result<Self, MoneyError> {
        let product = i128::from(self.minor) * i128::from(points);
        let rounded = (product + 5_000 * product.signum()) / 10_000;
        i64::try_from(rounded).map(|minor| Self { minor, ..self }).map_err(|_| MoneyError::Range)
    }

    /// Splits the amount in proportion to the weights, by the largest remainder: the parts always
    /// add up to the whole.
    ///
    /// # Errors
    /// When the weights add up to nothing or do not fit.
    pub fn allocate(self, weights: &[u32]) -> Result<Vec<Self>, MoneyError> {
        let total: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
        if total == 0 {
            return Err(MoneyError::Range);
        }
        let exact = |weight: u32| i128::from(self.minor) * i128::from(weight);
        let mut parts: Vec<i128> = weights.iter().map(|weight| exact(*weight).div_euclid(total)).collect();
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by_key(|&nth| std::cmp::Reverse(exact(weights[nth]).rem_euclid(total)));
        let left = i128::from(self.minor) - parts.iter().sum::<i128>();
        for &nth in order.iter().take(usize::try_from(left).map_err(|_| MoneyError::Range)?) {
            parts[nth] += 1;
        }
        let part = |minor| i64::try_from(minor).map(|minor| Self { minor, ..self }).map_err(|_| MoneyError::Range);
        parts.into_iter().map(part).collect()
    }

    /// The amount as decimal text, for interfaces: `12.50`.
    #[must_use]
    pub fn to_decimal(self) -> String {
        let scale = 10_u64.pow(self.currency.exponent());
        let (sign, digits) = (if self.minor < 0 { "-" } else { "" }, self.minor.unsigned_abs());
        match self.currency.exponent() as usize {
            0 => format!("{sign}{digits}"),
            places => format!("{sign}{}.{:0places$}", digits / scale, digits % scale),
        }
    }

    /// Reads decimal text exactly; more decimal places than the currency has are refused.
    ///
    /// # Errors
    /// When the text is no such amount.
    pub fn from_decimal(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let places = currency.exponent();
        let wrong = || MoneyError::Text { text: text.to_owned(), places };
        let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let numeric = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let fits = u32::try_from(fraction.len()).is_ok_and(|len| len <= places);
        if whole.is_empty() || !numeric(whole) || !numeric(fraction) || !fits || digits.ends_with('.') {
            return Err(wrong());
        }
        // With its sign: there is one more amount below nothing than above.
        let padded = format!("{sign}{whole}{fraction:0<places$}", places = places as usize);
        padded.parse().map(|minor| Self::new(minor, currency)).map_err(|_| MoneyError::Range)
    }

    fn combine(self, other: Self, with: fn(i64, i64) -> Option<i64>) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mixed { left: self.currency.code(), right: other.currency.code() });
        }
        with(self.minor, other.minor).map(|minor| Self { minor, ..self }).ok_or(MoneyError::Range)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.to_decimal(), self.currency.code())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_follow_the_currency() {
        assert_eq!(Money::new(47_117, Currency::USD).to_decimal(), "471.17");
        assert_eq!(Money::new(-5, Currency::USD).to_decimal(), "-0.05");
        assert_eq!(Money::new(500, Currency::JPY).to_decimal(), "500");
        assert_eq!(Money::new(1_005, Currency::KWD).to_decimal(), "1.005");
        for wrong in ["", ".5", "1.", "1.005", "1,00", "1e3", "--1", "+1"] {
            assert!(Money::from_decimal(wrong, Currency::USD).is_err(), "{wrong}");
        }
        for minor in [i64::MIN, i64::MAX] {
            let money = Money::new(minor, Currency::USD);
            assert_eq!(Money::from_decimal(&money.to_decimal(), Currency::USD).unwrap(), money);
        }
        assert!(Money::zero(Currency::USD).plus(Money::zero(Currency::EUR)).is_err());
        assert!(Money::new(i64::MAX, Currency::USD).plus(Money::new(1, Currency::USD)).is_err());
        assert_eq!(Money::new(25, Currency::USD).basis_points(1_000).unwrap().minor(), 3);
    }

    proptest! {
        #[test]
        fn decimal_text_is_exact(minor in -1_000_000_000_000_i64..1_000_000_000_000, places in 0_usize..3) {
            let currency = [Currency::JPY, Currency::USD, Currency::KWD][places];
            let money = Money::new(minor, currency);
            prop_assert_eq!(Money::from_decimal(&money.to_decimal(), currency).unwrap(), money);
        }

        #[test]
        fn an_allocation_adds_up_and_is_fair(minor in -1_000_000_i64..1_000_000, weights in prop::collection::vec(0_u32..1_000, 1..9)) {
            let money = Money::new(minor, Currency::USD);
            let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
            match money.allocate(&weights) {
                Ok(parts) => {
                    prop_assert_eq!(parts.iter().map(|part| part.minor()).sum::<i64>(), minor);
                    for (part, weight) in parts.iter().zip(&weights) {
                        let exact = minor as f64 * f64::from(*weight) / total as f64;
                        prop_assert!((part.minor() as f64 - exact).abs() <= 1.0);
                    }
                }
                Err(_) => prop_assert_eq!(total, 0),
            }
        }
    }
}
