//! Small numbers in few bytes: unsigned LEB128 in its shortest form, below 2^28.

/// Longest form.
const MOST: usize = 4;

pub(crate) fn push(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(0x80 | (number & 0x7f).to_le_bytes()[0]);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Takes a number off the front; `None` when there is none in its shortest form.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u32> {
    let length = 1 + bytes.iter().take(MOST).position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = bytes.split_at(length);
    *bytes = rest;
    let shortest = length == 1 || number[length - 1] != 0;
    shortest.then(|| number.iter().rev().fold(0, |sum, byte| sum << 7 | u32::from(byte & 0x7f)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_in_one_form() {
        for number in [0, 1, 127, 128, 16_383, 16_384, 1 << 20, (1 << 28) - 1] {
            let mut bytes = Vec::new();
            push(&mut bytes, number);
            bytes.push(9);
            let rest = &mut &bytes[..];
            assert_eq!(take(rest), Some(number));
            assert_eq!(*rest, [9]);
        }
        for wrong in [&[][..], &[0x80], &[0x80, 0], &[0xff, 0xff, 0xff, 0xff, 1]] {
            assert_eq!(take(&mut &wrong[..]), None, "{wrong:?}");
        }
    }
}
