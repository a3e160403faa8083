//! Amounts: what is written reads as it was, what reads is written as it was, and no cent comes or goes.

use checkout_workflows::initiate::schema::Decimal;
use checkout_workflows::money::{Currency, Money};

const CURRENCIES: [Currency; 5] = [Currency::EUR, Currency::INR, Currency::JPY, Currency::KWD, Currency::USD];

/// A currency and a text; and, with the same bytes as numbers, an amount and what is to be done with it.
pub fn run(bytes: &[u8]) {
    let [first, rest @ ..] = bytes else { return };
    let currency = CURRENCIES[usize::from(*first) % CURRENCIES.len()];
    if let Ok(text) = std::str::from_utf8(rest) {
        read(text, currency);
    }
    reckon(rest, currency);
}

fn read(text: &str, currency: Currency) {
    if let Ok(money) = Money::from_decimal(text, currency) {
        assert_eq!(Money::from_decimal(&money.to_decimal(), currency).unwrap(), money);
    }
    if let Ok(decimal) = serde_json::from_str::<Decimal>(text) {
        assert_eq!(decimal.as_str(), text.trim());
        if let Ok(money) = decimal.to_money(currency) {
            assert_eq!(Decimal::from_money(money).unwrap().to_money(currency).unwrap(), money);
        }
    }
}

fn reckon(bytes: &[u8], currency: Currency) {
    let number = |at: usize| {
        let eight = bytes.get(at..at + 8)?;
        Some(i64::from_be_bytes(eight.try_into().ok()?))
    };
    let (Some(minor), Some(other)) = (number(0), number(8)) else { return };
    let (money, change) = (Money::new(minor, currency), Money::new(other, currency));
    assert_eq!(Money::from_decimal(&money.to_decimal(), currency).unwrap(), money);
    assert_eq!(Decimal::from_money(money).unwrap().to_money(currency).unwrap(), money);
    assert_eq!(money.plus(change).ok().map(Money::minor), minor.checked_add(other));
    assert_eq!(money.minus(change).ok().map(Money::minor), minor.checked_sub(other));
    assert_eq!(money.times(other).ok().map(Money::minor), minor.checked_mul(other));
    if let Ok(share) = money.basis_points(other) {
        let exact = i128::from(minor) * i128::from(other);
        assert!((i128::from(share.minor()) * 10_000 - exact).abs() <= 5_000, "{share} of {money}");
    }
    let weights: Vec<u32> =
        bytes[16..].chunks(4).take(64).map(|chunk| chunk.iter().fold(0, |n, b| n << 8 | u32::from(*b))).collect();
    match money.allocate(&weights) {
        Ok(parts) => {
            let sum: i128 = parts.iter().map(|part| i128::from(part.minor())).sum();
            assert_eq!((sum, parts.len()), (i128::from(minor), weights.len()));
        }
        Err(_) => assert_eq!(weights.iter().map(|weight| u64::from(*weight)).sum::<u64>(), 0, "{weights:?}"),
    }
}
