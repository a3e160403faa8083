use saga_core::{Definition, step_fn};

fn main() {
    let _ = Definition::build("hold", 1, |saga, amount| {
        let hold = saga.compensatable("hold", step_fn(async |_cx, amount: i64| Ok(amount)), amount);
        saga.returns(hold)
    });
}
