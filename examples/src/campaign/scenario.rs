//! How the payments of the campaign go.

use fastrand::Rng;
use serde_json::{Value, json};

/// How long the server waits for a payment in a campaign, in milliseconds.
pub(super) const PAYMENT_WAIT_MS: u64 = 1_500;

/// One checkout of the campaign.
#[derive(Clone, Debug)]
pub(super) struct Checkout {
    /// Its execution context.
    pub(super) id: String,
    /// Whose it is.
    pub(super) user: String,
    /// What kind of payment it is, for the report.
    pub(super) scenario: &'static str,
    /// What is posted.
    pub(super) body: Value,
    /// It may end completed.
    pub(super) may_complete: bool,
    /// The client sends it twice at the same time.
    pub(super) doubled: bool,
    /// Afterwards, the client sends another request under the same id.
    pub(super) changed: bool,
}

/// A kind of payment: its name, the instructions for the vendor, and whether it may end completed.
type Kind = (&'static str, fn(&mut Rng) -> String, bool);

/// Every kind of payment, see [`crate::vendor::Plan`].
const KINDS: [Kind; 19] = [
    ("paid, prompt webhook", |rng| format!("+pays_{}", rng.u32(1..600)), true),
    ("paid, webhook twice", |rng| format!("+pays_{}+webhook_twice", rng.u32(1..600)), true),
    ("paid, webhook before the answer", |_| "+pays_0+webhook_early".to_owned(), true),
    ("paid, webhook before the answer, twice", |_| "+pays_0+webhook_early+webhook_twice".to_owned(), true),
    ("paid, webhook missing", |rng| format!("+pays_{}+webhook_missing", rng.u32(1..600)), true),
    ("paid, webhook late", |rng| format!("+pays_{}+webhook_held_{}", rng.u32(1..600), rng.u32(2_000..4_000)), true),
    ("paid, webhook late, twice", |rng| format!("+pays_9+webhook_twice+webhook_held_{}", rng.u32(2_000..4_000)), true),
    // Sometimes before the wait is over, sometimes after: then it is closed, and not taken.
    ("paid when the wait ends", |rng| format!("+pays_{}", rng.u32(1_300..1_800)), true),
    ("paid too late", |_| "+pays_9000".to_owned(), true),
    ("not paid", |_| "+wait".to_owned(), false),
    ("given up", |rng| format!("+fails_{}", rng.u32(1..600)), false),
    ("given up, webhook missing", |_| "+fails_50+webhook_missing".to_owned(), false),
    ("declined", |_| "+decline".to_owned(), false),
    ("not enough money", |_| "+insufficient_funds+webhook_twice".to_owned(), false),
    ("paid at once", |_| "+succeed".to_owned(), true),
    ("paid at once, answers lost", |rng| format!("+lost_{}", rng.u32(1..3)), true),
    ("paid at once, all answers lost", |_| "+lost_9+webhook_twice".to_owned(), true),
    ("vendor does not answer at first", |rng| format!("+timeout_{}", rng.u32(1..3)), true),
    ("paid after a lost answer", |rng| format!("+late_{}", rng.u32(50..900)), true),
];

/// The checkouts of a campaign.
pub(super) fn checkouts(count: usize, seed: u64) -> Vec<Checkout> {
    let mut rng = Rng::with_seed(seed);
    let checkout = |nth: usize| {
        let id = format!("ctx_{seed}_{nth}");
        let user = format!("user_{}", nth % 40);
        let (scenario, payment, may_complete) = match nth % (KINDS.len() + 2) {
            kind if kind < KINDS.len() => {
                let (name, method, may_complete) = KINDS[kind];
                (name, online(&method(&mut rng)), may_complete)
            }
            kind if kind == KINDS.len() => ("cash", json!({ "isCashPayment": true }), true),
            _ => ("paid later", Value::Null, true),
        };
        let body = body(&id, &user, payment);
        let (doubled, changed) = (rng.u8(0..5) == 0, rng.u8(0..10) == 0);
        Checkout { id, user, scenario, body, may_complete, doubled, changed }
    };
    let mut checkouts: Vec<Checkout> = (0..count).map(checkout).collect();
    Rng::with_seed(seed.wrapping_add(1)).shuffle(&mut checkouts);
    checkouts
}

fn online(instructions: &str) -> Value {
    let method = json!({ "paymentMethodIdentifier": format!("pm{instructions}") });
    json!({ "isCashPayment": false, "selectedOnlinePaymentInfo": method })
}

/// Without preferences for the payment it is paid later.
fn body(id: &str, user: &str, payment: Value) -> Value {
    let wishes = json!({ "location": { "address": format!("{} Main St", id.len()) } });
    let mut body = json!({
        "executionContextId": id,
        "userId": user,
        "userType": "CUSTOMER",
        "device": { "os": "android", "version": "12" },
        "dimensions": { "city": { "key": "delhi" }, "category": { "key": "cleaning" } },
        "lineItems": { "created": [{
            "lineItemId": format!("li_{id}"), "plan": { "planId": "plan_789" }, "initialPostSellingPreferences": wishes,
        }] },
        "sourceContext": { "id": format!("journey_{id}"), "type": "CUSTOMER_JOURNEY" },
        "payments": { "userPaymentIntent": if payment.is_null() { "PAY_LATER" } else { "PAY_NOW" } },
    });
    if !payment.is_null() {
        body["paymentPreferences"] = payment;
    }
    body
}
