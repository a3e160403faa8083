use saga_core::{Definition, step_fn};

fn main() {
    let _ = Definition::build("wrong", 1, |saga, amount: saga_core::InputHandle<'_, i64>| {
        let text = saga.query("text", step_fn(async |_cx, amount: i64| Ok(amount.to_string())), amount);
        let number = saga.query("number", step_fn(async |_cx, amount: i64| Ok(amount)), text);
        saga.returns(number)
    });
}
