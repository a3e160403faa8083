use saga_core::{Definition, step_fn};

fn main() {
    let _ = Definition::build("outer", 1, |outer, amount| {
        let mine = outer.query("mine", step_fn(async |_cx, amount: i64| Ok(amount)), amount);
        let _ = Definition::build("inner", 1, |inner, _amount: saga_core::InputHandle<'_, i64>| {
            let theirs = inner.query("theirs", step_fn(async |_cx, amount: i64| Ok(amount)), mine);
            inner.returns(theirs)
        });
        outer.returns(mine)
    });
}
