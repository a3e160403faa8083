//! What is known of one payment. Answers, look-ups and webhooks come late, twice and out of order;
//! they all go through [`PaymentState::learn`], and whatever the order, the same is known in the end.

use serde::{Deserialize, Serialize};

/// What is known of one authorization. Every field only grows, so that what was learned is never
/// unlearned: the order of learning does not matter (a join semilattice).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PaymentState {
    /// What is, or was, held, in minor units.
    pub authorized: i64,
    /// What was taken, over all captures.
    pub captured: i64,
    /// What was paid back, over all refunds.
    pub refunded: i64,
    /// The hold was released.
    pub voided: bool,
    /// The hold ran out.
    pub expired: bool,
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// Nothing is known of it.
    None,
    /// Held, and nothing taken.
    Authorized,
    /// Taken.
    Captured,
    /// Taken, and a part of it paid back.
    PartiallyRefunded,
    /// Taken, and all of it paid back.
    Refunded,
    /// Released before anything was taken.
    Voided,
    /// Ran out before anything was taken.
    Expired,
}

impl PaymentStatus {
    /// The stable name that tables and interfaces use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Authorized => "authorized",
            Self::Captured => "captured",
            Self::PartiallyRefunded => "partially_refunded",
            Self::Refunded => "refunded",
            Self::Voided => "voided",
            Self::Expired => "expired",
        }
    }
}

/// What was learned cannot all be true: a human must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a payment with {captured} captured of {authorized} authorized, and {refunded} refunded, cannot be (voided: {voided})"
)]
pub struct Contradiction {
    authorized: i64,
    captured: i64,
    refunded: i64,
    voided: bool,
}

impl PaymentState {
    /// A hold of this amount.
    #[must_use]
    pub fn authorized(amount: i64) -> Self {
        Self { authorized: amount, ..Self::default() }
    }

    /// Takes in what somebody says. Hearing it twice, late or out of order changes nothing.
    #[must_use]
    pub fn learn(self, news: Self) -> Self {
        Self {
            authorized: self.authorized.max(news.authorized),
            captured: self.captured.max(news.captured),
            refunded: self.refunded.max(news.refunded),
            voided: self.voided | news.voided,
            expired: self.expired | news.expired,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn status(self) -> PaymentStatus {
        match self {
            Self { captured: 1.., .. } if self.refunded >= self.captured => PaymentStatus::Refunded,
            Self { captured: 1.., refunded: 1.., .. } => PaymentStatus::PartiallyRefunded,
            Self { captured: 1.., .. } => PaymentStatus::Captured,
            Self { voided: true, .. } => PaymentStatus::Voided,
            Self { expired: true, .. } => PaymentStatus::Expired,
            Self { authorized: 1.., .. } => PaymentStatus::Authorized,
            _ => PaymentStatus::None,
        }
    }

    /// What the merchant has of it now.
    #[must_use]
    pub fn net(self) -> i64 {
        self.captured.saturating_sub(self.refunded)
    }

    /// Once all has been heard: never more taken than was held, never more paid back than was taken, and
    /// nothing taken of what was released.
    ///
    /// # Errors
    /// [`Contradiction`].
    pub fn check(self) -> Result<Self, Contradiction> {
        let Self { authorized, captured, refunded, voided, .. } = self;
        let holds = captured <= authorized && refunded <= captured && !(voided && captured > 0);
        if holds { Ok(self) } else { Err(Contradiction { authorized, captured, refunded, voided }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a gateway says in the course of a payment, one after the other.
    fn course() -> impl Strategy<Value = Vec<PaymentState>> {
        (1_i64..10_000, 0_i64..10_000, prop::collection::vec(1_i64..5_000, 0..4), any::<bool>()).prop_map(
            |(authorized, captured, refunds, voided)| {
                let mut state = PaymentState::authorized(authorized);
                let mut said = vec![state];
                if captured == 0 || captured > authorized {
                    (state.voided, state.expired) = (voided, !voided);
                    said.push(state);
                    return said;
                }
                state.captured = captured;
                said.push(state);
                for refund in refunds {
                    state.refunded = (state.refunded + refund).min(captured);
                    said.push(state);
                }
                said
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_the_order_and_the_repetitions_the_same_is_known_in_the_end(
            said in course(), order in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let truth = *said.last().unwrap();
            // Some said any number of times in any order, then each once more, backwards.
            let heard = order.iter().map(|index| *index.get(&said)).chain(said.iter().rev().copied());
            let known = heard.fold(PaymentState::default(), PaymentState::learn);
            prop_assert_eq!(known, truth);
            prop_assert_eq!(known.status(), truth.status());
            prop_assert!(known.check().is_ok());
        }

        #[test]
        fn nothing_is_unlearned(said in course(), also in course()) {
            let before = said.iter().copied().fold(PaymentState::default(), PaymentState::learn);
            let after = also.into_iter().fold(before, PaymentState::learn);
            prop_assert!(after.authorized >= before.authorized && after.captured >= before.captured);
            prop_assert!(after.refunded >= before.refunded && after.voided >= before.voided);
        }
    }

    #[test]
    fn what_cannot_all_be_true_is_told() {
        let taken = PaymentState { captured: 11, ..PaymentState::authorized(10) };
        assert!(taken.check().is_err());
        let both = PaymentState { captured: 10, voided: true, ..PaymentState::authorized(10) };
        assert!(both.check().is_err());
        assert!(PaymentState { refunded: 1, ..PaymentState::authorized(10) }.check().is_err());
    }
}
