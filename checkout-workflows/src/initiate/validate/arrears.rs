//! Arrear fees.

use super::payable::sum_of;
use super::{ARREAR_FEE, Facts, ViolationCode as Code, Violations};
use crate::initiate::schema::InitiateCheckoutRequest;

pub(super) fn check(request: &InitiateCheckoutRequest, facts: &Facts, found: &mut Violations) {
    let Some(invoice) = &request.invoice else { return };
    let charged = request.charges().iter().position(|charge| charge.kind == ARREAR_FEE);
    if let Some(nth) = charged {
        let pointer = format!("/invoice/summaryComponents/charges/{nth}");
        if !invoice.should_attach_arrears {
            found.add(Code::ArrearsNotAttached, pointer, "arrears are charged, and shouldAttachArrears is not set");
        } else if sum_of(request.charges(), ARREAR_FEE, facts).is_ok_and(|sum| sum != facts.arrears) {
            let message = format!("the open arrears are {}", facts.arrears);
            found.add(Code::ArrearsMismatch, format!("{pointer}/value"), message);
        }
    }
    if invoice.arrear_context.is_some() && !invoice.should_attach_arrears {
        let message = "arrears are told of, and shouldAttachArrears is not set";
        found.add(Code::ArrearContextUnused, "/invoice/arrearContext", message);
    }
}
