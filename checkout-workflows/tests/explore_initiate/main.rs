//! Everything that can go wrong with an initiated checkout, tried out one by one: the definition as it runs in
//! production, with its policies, on the marketplace's real tables, with a vendor that fails on schedule.
//!
//! By itself each thing goes wrong alone. With `SAGA_EXPLORE=deep`, as `cargo xtask prove --long` has it, one more goes wrong
//! on the way back.

#![allow(clippy::unwrap_used, reason = "tests")]

mod market;
mod vendor;

use checkout_workflows::Money;
use checkout_workflows::initiate::checkout::{Initiation, PAYMENT_SIGNAL};
use checkout_workflows::initiate::schema::InitiateCheckoutResponse;
use checkout_workflows::initiate::store::{CheckoutOrderState, ExecutionStatus, LineItemState, PaymentGroupState};
use checkout_workflows::initiate::vendor::DeclineCode;
use checkout_workflows::initiate::webhook::PaymentOutcome;
use checkout_workflows::money::Currency;
use market::{ID, Market, Template, initiation};
use saga_testkit::{Depth, Ending, Explore, Explored, Scene, World, explore};
use vendor::Customer;

const DUE: i64 = 150_000;
const PAY_NOW: &str = "PAY_NOW";
const PAY_LATER: &str = "PAY_LATER";
/// What only a checkout that is paid later comes to.
const SETTLES: &str = "schedule-settlement";

type Checkout = Scene<Market, Initiation, InitiateCheckoutResponse>;

/// A checkout, and what the vendor's webhook says of its payment, if there is one.
async fn scene(template: &Template, case: &Case, world: World) -> Checkout {
    let due = if case.intent == PAY_LATER { 0 } else { DUE };
    let market = template.market(case.customer, due, world).await;
    let policies = market.policies.clone();
    let scene = Scene::new(market.definition.clone(), initiation(case.intent)).keep(market);
    let scene = scene.engine(move |engine| policies.apply(engine));
    case.told.iter().fold(scene, |scene, told| scene.signal(PAYMENT_SIGNAL, told))
}

fn paid() -> PaymentOutcome {
    let amount = Money::new(DUE, Currency::INR);
    PaymentOutcome::Paid { vendor_transaction_id: "txn_1".to_owned(), amount }
}

fn failed() -> PaymentOutcome {
    let code = DeclineCode::PaymentDeclined.as_str().to_owned();
    PaymentOutcome::Failed { code, reason: "the bank has declined".to_owned() }
}

/// Money, events, and every row are where they belong.
async fn balanced(end: &Ending<'_, Market, InitiateCheckoutResponse>) -> Result<(), String> {
    let (completed, audit) = (end.is_completed(), end.kept.vendor.audit());
    if let Some(complaint) = end.kept.complaints.lock().unwrap().first() {
        return Err(complaint.clone());
    }
    let net: i64 = audit.net_minor.values().sum();
    let expected = if completed { end.kept.due } else { 0 };
    if net != expected || !audit.contradictions.is_empty() {
        return Err(format!("the vendor's books: {net}, and not {expected}; {:?}", audit.contradictions));
    }
    if let Some(open) = audit.net_minor.keys().find(|reference| is_pending(end.kept, reference)) {
        return Err(format!("{open} can still be paid"));
    }
    let events = ["line_items_updated", "line_items_confirmed"].map(|topic| end.world.published(topic));
    if events[1] != usize::from(completed) || completed && events[0] != 1 {
        return Err(format!("(line_items_updated, line_items_confirmed) were published: {events:?}"));
    }
    rows(end.kept, completed).await
}

fn is_pending(market: &Market, reference: &str) -> bool {
    use checkout_workflows::initiate::vendor::Standing;
    matches!(market.vendor.standing(reference), Standing::Pending(_))
}

/// The rows of the checkout: what was bought stands, or nothing does.
async fn rows(market: &Market, completed: bool) -> Result<(), String> {
    let stores = &market.stores;
    let context = stores.execution_contexts.get(ID).await.unwrap().map(|context| context.status);
    let items = stores.line_items.of_context(ID).await.unwrap();
    let groups = stores.payment_groups.of_context(ID).await.unwrap();
    let order = stores.checkout_orders.of_context(ID).await.unwrap().map(|order| order.state);
    let requirements = stores.requirements.of_context(ID).await.unwrap();
    let sound = if completed {
        context == Some(ExecutionStatus::Completed)
            && items.len() == 1
            && items.iter().all(|item| item.state == LineItemState::Confirmed)
            && groups.len() == 1
            && groups.iter().all(|group| group.state == PaymentGroupState::Completed)
            && order == Some(CheckoutOrderState::Completed)
            && requirements.iter().all(|row| row.state.as_str() == "SUCCEEDED")
    } else {
        matches!(context, None | Some(ExecutionStatus::RolledBack))
            && items.iter().all(|item| item.state == LineItemState::Cancelled)
            && groups.iter().all(|group| group.state == PaymentGroupState::Failed)
            && order.is_none()
            && requirements.iter().all(|row| matches!(row.state.as_str(), "FAILED" | "CANCELLED" | "REFUNDED"))
    };
    let found =
        || format!("completed: {completed}, {context:?}, {order:?}, {items:#?}, {groups:#?}, {requirements:#?}");
    if sound { Ok(()) } else { Err(found()) }
}

/// A checkout that is paid by then, or has nothing to be paid now.
const COMPLETED: &[(&str, &str)] = &[(SETTLES, "it is paid now")];
/// A checkout that nobody pays for.
const UNPAID: &[(&str, &str)] = &[
    ("9-confirm", NOT_PAID),
    ("9-line-items-confirmed", NOT_PAID),
    ("settles-later", NOT_PAID),
    (SETTLES, NOT_PAID),
    ("complete-context", NOT_PAID),
];
const NOT_PAID: &str = "it is never paid";
/// A checkout that is paid later.
const LATER: &[(&str, &str)] = &[
    ("5-create-payment-request", PAID_LATER),
    ("undo of 5-create-payment-request", PAID_LATER),
    ("9-payment", PAID_LATER),
];
const PAID_LATER: &str = "it is paid later";

struct Case {
    intent: &'static str,
    customer: Customer,
    told: Option<PaymentOutcome>,
    unreached: &'static [(&'static str, &'static str)],
}

impl Case {
    fn explored(&self) -> Explored {
        // What goes wrong on the way back as well takes some thousand runs more, and minutes.
        let deep = std::env::var_os("SAGA_EXPLORE").is_some_and(|how| how == "deep");
        let depth = if deep { Depth::RollBacks } else { Depth::Singles };
        let template = Template::new();
        let scene = async |world: World| scene(&template, self, world).await;
        let explore = explore(scene).check(balanced).real_io().depth(depth);
        let explore = explore.effects_elsewhere("in the services' tables and the vendor's books");
        let excuse = |explore: Explore<_, _>, (step, because): &(&str, &str)| explore.unreached(step, because);
        let explored = self.unreached.iter().fold(explore, excuse).run();
        // On standard output as well, where it is counted.
        let explored = explored.inspect_err(|found| println!("{found}")).unwrap();
        println!("explored {explored}");
        explored
    }
}

#[test]
fn a_paid_checkout_ends_well_whatever_goes_wrong() {
    let case = Case { intent: PAY_NOW, customer: Customer::Pays, told: Some(paid()), unreached: COMPLETED };
    let explored = case.explored();
    assert!(explored.completed > 100, "{explored}");
}

#[test]
fn a_declined_checkout_ends_well_whatever_goes_wrong() {
    let case = Case { intent: PAY_NOW, customer: Customer::Fails, told: Some(failed()), unreached: UNPAID };
    let explored = case.explored();
    assert!(explored.rolled_back > 100, "{explored}");
}

#[test]
fn an_abandoned_checkout_ends_well_whatever_goes_wrong() {
    let case = Case { intent: PAY_NOW, customer: Customer::StaysAway, told: None, unreached: UNPAID };
    let explored = case.explored();
    assert!(explored.rolled_back > 100, "{explored}");
}

#[test]
fn a_checkout_that_is_paid_when_it_is_given_up_ends_well_whatever_goes_wrong() {
    let case = Case { intent: PAY_NOW, customer: Customer::PaysAtTheLastMoment, told: None, unreached: COMPLETED };
    let explored = case.explored();
    assert!(explored.completed > 100, "{explored}");
}

#[test]
fn a_checkout_that_is_paid_later_ends_well_whatever_goes_wrong() {
    let case = Case { intent: PAY_LATER, customer: Customer::StaysAway, told: None, unreached: LATER };
    let explored = case.explored();
    assert!(explored.completed > 50, "{explored}");
}

/// The vendor refuses the request, or cannot be reached, when the requirement's row is written already: it was left
/// behind as one that is to be paid.
#[test]
fn a_payment_that_the_vendor_never_took_leaves_no_requirement_behind() {
    let case = Case { intent: PAY_NOW, customer: Customer::Pays, told: Some(paid()), unreached: COMPLETED };
    let template = Template::new();
    let explore = explore(async |world: World| scene(&template, &case, world).await).check(balanced).real_io();
    for seed in ["v1:call:create#1=refused", "v1:call:create#1=unsent,call:create#2=unsent,call:create#3=unsent"] {
        explore.replay(seed).unwrap();
    }
}

#[test]
fn a_payment_is_closed_at_the_vendor_before_it_is_taken_back() {
    let case = Case { intent: PAY_NOW, customer: Customer::StaysAway, told: None, unreached: UNPAID };
    let template = Template::new();
    let explore = explore(async |world: World| scene(&template, &case, world).await).check(balanced).real_io();
    explore.replay("v1:run:6-hydrate-payments#1=refused").unwrap();
}
