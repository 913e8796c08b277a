//! A block as a root, bare and sealed: what is accepted is what the format says, field by field.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offs::{BLOCK, Code, Key, Kind, Layout, Root};
use offs_fuzz::{KEY, Recipe, encipher_root};

const SEALED: u8 = 1;
const CUT: u8 = 2;

fuzz_target!(|input: &[u8]| {
    let mut recipe = Recipe::new(input);
    let how = recipe.byte();
    let start = recipe.rest();
    let mut plain = vec![0; BLOCK];
    let given = start.len().min(BLOCK);
    plain[..given].copy_from_slice(&start[..given]);
    if how & CUT != 0 {
        plain.truncate(given);
    }
    let mut block = plain.clone();
    let key = (how & SEALED != 0).then(|| Key::from_bytes(KEY));
    if key.is_some() {
        encipher_root(&mut block);
    }
    let Ok(root) = Root::from_block(&mut block, key.as_ref()) else { return };
    assert_eq!(block, plain, "not deciphered in place");
    assert_eq!(header(&root), plain[..64], "a field is not what was read");
    assert_eq!(root.inline, key.is_some() && root.length <= (BLOCK - 64) as u64);
    assert!(root.length <= 1 << 60);
    assert!(plain[64..].starts_with(&root.body));
    assert!(root.parameters.check().is_ok());
    let layout = Layout::new(root.parameters, if root.inline { 0 } else { root.length });
    check_layout(&layout);
    let last = layout.levels().last().expect("a level");
    let body = if root.inline { root.length } else { last.tuples * 32 * u64::from(root.parameters.tuple) };
    assert_eq!(root.body.len() as u64, body);
});

/// The header that the format gives a root with these fields.
fn header(root: &Root) -> [u8; 64] {
    let mut header = [0; 64];
    header[..4].copy_from_slice(b"OFF4");
    header[4] = 1;
    header[5] = u8::from(root.kind == Kind::Directory);
    header[6] = root.parameters.algorithm.code();
    header[7] = root.parameters.tuple;
    header[8] = root.parameters.code.id();
    header[9] = root.parameters.data;
    header[10] = root.parameters.parity;
    header[11] = u8::from(root.inline);
    header[16..24].copy_from_slice(&root.length.to_be_bytes());
    header[24..56].copy_from_slice(&root.content_hash);
    header
}

/// Each level is smaller than the one below it, and its first and last stripes lie in it.
fn check_layout(layout: &Layout) {
    let parameters = layout.parameters();
    assert_eq!(parameters.code == Code::None, parameters.parity == 0);
    let levels = layout.levels();
    for (at, level) in levels.iter().enumerate() {
        let number = u8::try_from(at).expect("a few levels");
        let Some(last) = layout.stripes(number).checked_sub(1) else { continue };
        assert_eq!(layout.stripe(number, 0).first_position, 0);
        let last = layout.stripe(number, last);
        assert_eq!(last.first_source + last.data as u64, level.sources);
        assert_eq!(last.first_position + last.tuples() as u64, level.tuples);
        assert_eq!(layout.stripe_of(number, level.sources - 1), last);
        if let Some(above) = levels.get(at + 1) {
            let per_block = (BLOCK / (32 * usize::from(parameters.tuple))) as u64;
            assert_eq!(above.sources, level.tuples.div_ceil(per_block));
            assert!(above.tuples < level.tuples);
        }
    }
}
