//! The example of `docs/formats/batch.md` is what the code writes.
#![allow(clippy::unwrap_used)]

use packet::{BatchBuilder, Epoch, Packet, Timestamp};

#[test]
fn the_documented_example_is_what_the_builder_writes() {
    let document = include_str!("../../../docs/formats/batch.md");
    let example = document.split("## Example").nth(1).unwrap();
    let documented: Vec<u8> = example
        .lines()
        .filter(|line| line.starts_with("    "))
        .flat_map(|line| {
            line.split_whitespace().map_while(|word| u8::from_str_radix(word, 16).ok().filter(|_| word.len() == 2))
        })
        .collect();
    let mut builder = BatchBuilder::new("gw".parse().unwrap(), Epoch([7; 16]), 0);
    builder.push(&Packet { time: Timestamp::from_nanos(5), interface: 0, original_length: 4, data: &[1, 2, 3, 4] });
    let (_, written) = builder.seal(0, 0, Vec::new());
    assert_eq!(documented, written);
}
