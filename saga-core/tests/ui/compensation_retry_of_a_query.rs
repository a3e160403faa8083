use saga_core::{Definition, RetryPolicy, step_fn};

fn main() {
    let _ = Definition::build("query", 1, |saga, amount| {
        let query = saga
            .query("query", step_fn(async |_cx, amount: i64| Ok(amount)), amount)
            .compensation_retry(RetryPolicy::never());
        saga.returns(query)
    });
}
