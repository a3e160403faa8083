//! What the compiler refuses.

#[test]
fn what_can_be_wrong_with_a_definition_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
