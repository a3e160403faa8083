//! How the user wants to pay.

use super::{Facts, ViolationCode as Code, Violations};
use crate::initiate::schema::InitiateCheckoutRequest;

pub(super) fn check(request: &InitiateCheckoutRequest, facts: &Facts, found: &mut Violations) {
    let online = request.online_payment();
    if request.is_cash() {
        let pointer = "/paymentPreferences/isCashPayment";
        if online.is_some() {
            found.add(Code::PaymentMethodAmbiguous, "/paymentPreferences", "it is either cash or an online method");
        }
        if !facts.cash_allowed {
            found.add(Code::CashNotAllowed, pointer, "cash is not taken for this category here");
        }
    }
    let Some(online) = online else { return };
    let pointer = "/paymentPreferences/selectedOnlinePaymentInfo";
    if online.payment_method_identifier.trim().is_empty() {
        let at = format!("{pointer}/paymentMethodIdentifier");
        found.add(Code::PaymentMethodMissing, at, "the online method has no identifier");
    }
    if online.mandate_info.as_ref().is_some_and(|mandate| mandate.preference.reference_id.trim().is_empty()) {
        let at = format!("{pointer}/mandateInfo/preference/referenceId");
        found.add(Code::MandateReferenceMissing, at, "the mandate is for nothing");
    }
}
