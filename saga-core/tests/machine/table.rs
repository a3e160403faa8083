//! The transition table and its picture.

use saga_core::machine::{to_matrix, to_mermaid};

#[test]
fn the_transition_table_changes_only_on_purpose() {
    insta::assert_snapshot!(to_matrix());
}

#[test]
fn the_picture_in_the_documentation_is_drawn_from_the_table() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/src/machine/machine.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (before, _) = text.split_once("```mermaid\n").unwrap_or((&text, ""));
    let expected = format!("{before}```mermaid\n{}```\n", to_mermaid());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(page, &expected).unwrap();
    }
    assert_eq!(text, expected, "run the test with UPDATE_EXPECT=1 to draw the picture anew");
}
