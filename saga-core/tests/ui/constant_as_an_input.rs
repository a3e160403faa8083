use std::time::Duration;

use saga_core::Definition;

fn main() {
    let _ = Definition::build("wait", 1, |saga, _: saga_core::InputHandle<'_, i64>| {
        let paid = saga.wait_for::<i64, _>("paid", "paid", Some(Duration::from_secs(60)));
        saga.returns(paid)
    });
}
