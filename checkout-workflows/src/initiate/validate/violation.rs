//! What is wrong with a request.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// The rules, by stable codes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum ViolationCode {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl ViolationCode {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

codes! {
    /// An id or a key that the client chose is empty, too long, or has characters that it must not have.
    NameUnusable = "NAME_UNUSABLE",
    /// The user does not exist.
    UserUnknown = "USER_UNKNOWN",
    /// The user is suspended or gone.
    UserInactive = "USER_INACTIVE",
    /// The user is not what the request says.
    UserTypeMismatch = "USER_TYPE_MISMATCH",
    /// There are no line items.
    LineItemsMissing = "LINE_ITEMS_MISSING",
    /// A line item has no id.
    LineItemIdMissing = "LINE_ITEM_ID_MISSING",
    /// A line item is named twice.
    LineItemRepeated = "LINE_ITEM_REPEATED",
    /// A new line item has the id of an existing one of somebody else.
    LineItemTaken = "LINE_ITEM_TAKEN",
    /// A line item to change or keep does not exist.
    LineItemUnknown = "LINE_ITEM_UNKNOWN",
    /// A line item belongs to somebody else.
    LineItemForeign = "LINE_ITEM_FOREIGN",
    /// A line item was cancelled.
    LineItemCancelled = "LINE_ITEM_CANCELLED",
    /// An update changes nothing.
    LineItemUnchanged = "LINE_ITEM_UNCHANGED",
    /// A number is no amount of the currency.
    AmountInexact = "AMOUNT_INEXACT",
    /// An amount is negative.
    AmountNegative = "AMOUNT_NEGATIVE",
    /// A tip is nothing.
    TipZero = "TIP_ZERO",
    /// Arrears are charged and not attached.
    ArrearsNotAttached = "ARREARS_NOT_ATTACHED",
    /// The arrears charged are not the ones that are open.
    ArrearsMismatch = "ARREARS_MISMATCH",
    /// Arrears are told of and not attached.
    ArrearContextUnused = "ARREAR_CONTEXT_UNUSED",
    /// Both cash and an online method are chosen.
    PaymentMethodAmbiguous = "PAYMENT_METHOD_AMBIGUOUS",
    /// The online method has no identifier.
    PaymentMethodMissing = "PAYMENT_METHOD_MISSING",
    /// The category takes no cash.
    CashNotAllowed = "CASH_NOT_ALLOWED",
    /// The mandate has no reference.
    MandateReferenceMissing = "MANDATE_REFERENCE_MISSING",
    /// The plan does not exist.
    PlanUnknown = "PLAN_UNKNOWN",
    /// The plan is not sold any more.
    PlanInactive = "PLAN_INACTIVE",
    /// The plan is not sold in the city.
    PlanNotInCity = "PLAN_NOT_IN_CITY",
    /// The plan is of another category.
    PlanOfOtherCategory = "PLAN_OF_OTHER_CATEGORY",
    /// The plan must be paid at once.
    PayLaterNotAllowed = "PAY_LATER_NOT_ALLOWED",
    /// Discounts are more than there is to pay.
    PayableNegative = "PAYABLE_NEGATIVE",
    /// The sum does not fit.
    PayableOutOfRange = "PAYABLE_OUT_OF_RANGE",
    /// The slot does not exist.
    SlotUnknown = "SLOT_UNKNOWN",
    /// The slot is of another city or category.
    SlotNotOffered = "SLOT_NOT_OFFERED",
    /// The fee that is charged for slots is not theirs.
    SlotFeeMismatch = "SLOT_FEE_MISMATCH",
    /// The slot is taken.
    SlotTaken = "SLOT_TAKEN",
    /// The slot is over.
    SlotPast = "SLOT_PAST",
    /// The coupon does not exist.
    CouponUnknown = "COUPON_UNKNOWN",
    /// The coupon has expired.
    CouponExpired = "COUPON_EXPIRED",
    /// The coupon was used up.
    CouponUsedUp = "COUPON_USED_UP",
    /// Another session keeps the coupon.
    CouponLocked = "COUPON_LOCKED",
    /// The coupon asks for a larger purchase.
    CouponMinimum = "COUPON_MINIMUM",
    /// A discount by coupon is more than a coupon of the request gives.
    CouponDiscountTooHigh = "COUPON_DISCOUNT_TOO_HIGH",
    /// There are fewer credits than are used.
    CreditsInsufficient = "CREDITS_INSUFFICIENT",
    /// Nobody granted such a discount.
    DiscountNotGranted = "DISCOUNT_NOT_GRANTED",
}

/// A rule that a request breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Violation {
    /// Which rule.
    pub code: ViolationCode,
    /// Where in the request: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong, for people.
    pub message: String,
}

/// All rules that a request breaks.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Adds one.
    pub fn add(&mut self, code: ViolationCode, pointer: impl Into<String>, message: impl Into<String>) {
        self.0.push(Violation { code, pointer: pointer.into(), message: message.into() });
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this rule is broken.
    #[must_use]
    pub fn has(&self, code: ViolationCode) -> bool {
        self.0.iter().any(|violation| violation.code == code)
    }

    /// All of them, in the order of the validators.
    #[must_use]
    pub fn as_slice(&self) -> &[Violation] {
        &self.0
    }

    /// All of them, to answer with.
    #[must_use]
    pub fn into_vec(self) -> Vec<Violation> {
        self.0
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request breaks rules: ")?;
        for (nth, violation) in self.0.iter().enumerate() {
            let comma = if nth == 0 { "" } else { ", " };
            write!(f, "{comma}{} at {}", violation.code.as_str(), violation.pointer)?;
        }
        Ok(())
    }
}
