//! The tables that people read are those that are calculated.

#[test]
fn the_document_has_the_tables_that_the_program_prints() {
    let document = include_str!("../../docs/durability.md");
    assert!(document.contains(&sim::tables()), "put what `cargo run --release -p sim -- --durability` prints there");
}
