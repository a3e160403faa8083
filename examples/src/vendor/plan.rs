//! How a payment goes, by its payment method.
//!
//! A payment method is a name and then instructions, each after a `+`:
//!
//! | instruction | then |
//! |---|---|
//! | `wait` | the customer must act; nobody does unless something below says so |
//! | `pays_300` | the customer must act, and pays after 300 ms |
//! | `fails_300` | the customer must act, and gives up after 300 ms |
//! | `succeed` | it is paid at once |
//! | `decline`, `insufficient_funds` | it is declined |
//! | `lost_2` | it is paid, and two calls are not answered |
//! | `timeout_2` | two calls are not answered, and nothing happens |
//! | `late_500` | the first call is not answered, and it is paid after 500 ms |
//! | `webhook_early` | the webhook comes before the answer, when the customer pays after 0 ms |
//! | `webhook_twice`, `webhook_missing` | it comes twice, or never |
//! | `webhook_held_2000` | it comes two seconds later |

use std::time::Duration;

use checkout_workflows::initiate::vendor::Behaviour;

/// What a customer does who must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Customer {
    /// Pays, after this time.
    Pays(Duration),
    /// Gives up, after this time.
    Fails(Duration),
}

/// What becomes of the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookPlan {
    /// How often it is posted.
    pub copies: u32,
    /// How much later.
    pub held: Duration,
    /// Before the answer.
    pub early: bool,
}

impl Default for WebhookPlan {
    fn default() -> Self {
        Self { copies: 1, held: Duration::ZERO, early: false }
    }
}

/// How a payment goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What the vendor does; none for what it does by default.
    pub behaviour: Option<Behaviour>,
    /// What the customer does.
    pub customer: Option<Customer>,
    /// What becomes of the webhook.
    pub webhook: WebhookPlan,
}

impl Plan {
    /// The plan of this payment method. What is no instruction is part of a name.
    #[must_use]
    pub fn of(payment_method: &str) -> Self {
        let mut plan = Self::default();
        for instruction in payment_method.split('+').skip(1) {
            let (name, number) = match instruction.rsplit_once('_') {
                Some((name, digits)) => digits.parse().map_or((instruction, 0), |number: u32| (name, number)),
                None => (instruction, 0),
            };
            let millis = Duration::from_millis(number.into());
            match name {
                "wait" => plan.behaviour = Some(Behaviour::Wait),
                "pays" => {
                    plan.behaviour = Some(Behaviour::Wait);
                    plan.customer = Some(Customer::Pays(millis));
                }
                "fails" => {
                    plan.behaviour = Some(Behaviour::Wait);
                    plan.customer = Some(Customer::Fails(millis));
                }
                "succeed" => plan.behaviour = Some(Behaviour::Succeed),
                "decline" => plan.behaviour = Some(Behaviour::Decline),
                "insufficient_funds" => plan.behaviour = Some(Behaviour::InsufficientFunds),
                "lost" => plan.behaviour = Some(Behaviour::TimeOutWithEffect { calls: number }),
                "timeout" => plan.behaviour = Some(Behaviour::TimeOutWithoutEffect { calls: number }),
                "late" => plan.behaviour = Some(Behaviour::SucceedLate { after: millis }),
                "webhook_early" => plan.webhook.early = true,
                "webhook_twice" => plan.webhook.copies = 2,
                "webhook_missing" => plan.webhook.copies = 0,
                "webhook_held" => plan.webhook.held = millis,
                _ => {}
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payment_methods_say_how_payments_go() {
        assert_eq!(Plan::of("pm_123"), Plan::default());
        let plan = Plan::of("pm_1+pays_300+webhook_twice+webhook_held_2000");
        assert_eq!(plan.behaviour, Some(Behaviour::Wait));
        assert_eq!(plan.customer, Some(Customer::Pays(Duration::from_millis(300))));
        assert_eq!((plan.webhook.copies, plan.webhook.held), (2, Duration::from_secs(2)));
        assert_eq!(Plan::of("pm+lost_2").behaviour, Some(Behaviour::TimeOutWithEffect { calls: 2 }));
        assert_eq!(Plan::of("pm+insufficient_funds").behaviour, Some(Behaviour::InsufficientFunds));
        assert_eq!(Plan::of("pm+webhook_missing").webhook.copies, 0);
    }
}
