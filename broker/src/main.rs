//! Spate: the broker binary.
fn main() {}
