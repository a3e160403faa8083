//! Fault campaigns.
fn main() {}
