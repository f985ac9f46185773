//! One block (<https://github.com/google/snappy/blob/main/format_description.txt>): its length, then literals and copies of
//! what came before.

use std::io;

use super::damaged;

/// No entry of a broker is larger, so a block that says so is damaged.
const MOST_BYTES: usize = 512 << 20;
/// A literal of up to so many bytes has its length in the tag.
const SHORT: usize = 60;

pub(super) fn decoded(block: &[u8]) -> io::Result<Vec<u8>> {
    let (length, mut rest) = length(block)?;
    let mut out = Vec::new();
    while let Some((tag, behind)) = rest.split_first() {
        let upper = usize::from(tag >> 2);
        // how many bytes follow the tag: the length of a literal, or the distance of a copy
        let bytes = match (tag & 3, upper) {
            (0, upper) => upper.saturating_sub(SHORT - 1),
            (kind, _) => [1, 2, 4][usize::from(kind) - 1],
        };
        let (number, behind) = little_endian(behind, bytes)?;
        rest = behind;
        match tag & 3 {
            0 => {
                let count = if bytes == 0 { upper } else { number } + 1;
                let literal = rest.split_at_checked(count);
                let (literal, behind) = literal.ok_or_else(|| damaged("a literal is cut off"))?;
                out.extend_from_slice(literal);
                rest = behind;
            }
            1 => copy(&mut out, (upper >> 3) << 8 | number, (upper & 7) + 4)?,
            _ => copy(&mut out, number, upper + 1)?,
        }
        if out.len() > length {
            return Err(damaged("a block is longer than it says"));
        }
    }
    if out.len() == length {
        Ok(out)
    } else {
        Err(damaged("a block is shorter than it says"))
    }
}

/// Seven bits in each byte, the lowest first.
fn length(block: &[u8]) -> io::Result<(usize, &[u8])> {
    let mut length = 0;
    for (n, byte) in block.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            if length > MOST_BYTES {
                return Err(damaged("a block is too long"));
            }
            return Ok((length, &block[n + 1..]));
        }
    }
    Err(damaged("a block does not say how long it is"))
}

fn little_endian(bytes: &[u8], count: usize) -> io::Result<(usize, &[u8])> {
    let split = bytes.split_at_checked(count);
    let (number, behind) = split.ok_or_else(|| damaged("a block is cut off"))?;
    let number = number
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | usize::from(*byte));
    Ok((number, behind))
}

/// What is copied may reach into what the copy itself brings.
fn copy(out: &mut Vec<u8>, distance: usize, count: usize) -> io::Result<()> {
    let from = out.len().checked_sub(distance).filter(|_| distance > 0);
    let from = from.ok_or_else(|| damaged("a copy of what is not there"))?;
    if distance >= count {
        out.extend_from_within(from..from + count);
    } else {
        for n in 0..count {
            out.push(out[from + n]);
        }
    }
    Ok(())
}

/// These bytes as one block of literals.
pub(super) fn plain(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut length = u32::try_from(bytes.len()).map_err(|_| damaged("too much for one block"))?;
    let mut block = Vec::with_capacity(bytes.len() + bytes.len() / 1_000 + 8);
    while length > 0x7f {
        block.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    block.push(length.to_le_bytes()[0]);
    for literal in bytes.chunks(1 << 16) {
        // 61 in the upper bits: two bytes of length follow, of one less
        block.push(61 << 2);
        let last = u16::try_from(literal.len() - 1).unwrap_or(u16::MAX);
        block.extend_from_slice(&last.to_le_bytes());
        block.extend_from_slice(literal);
    }
    Ok(block)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn literals_and_copies_of_each_kind_are_read() {
        for (block, text) in [
            (&b"\x00"[..], &b""[..]),
            (b"\x02\x04ab", b"ab"),
            // the length in a byte of its own
            (b"\x02\xf0\x01ab", b"ab"),
            // six bytes, two back, which reaches into itself
            (b"\x08\x04ab\x09\x02", b"abababab"),
            (b"\x08\x04ab\x16\x02\x00", b"abababab"),
            (b"\x08\x04ab\x17\x02\x00\x00\x00", b"abababab"),
            // a copy from far enough
            (b"\x0a\x14abcdef\x05\x06", b"abcdefabcde"),
        ] {
            let decoded = decoded(block);
            if text.len() == usize::from(block[0]) {
                assert_eq!(decoded.unwrap(), text);
            } else {
                assert!(decoded.is_err(), "it says another length");
            }
        }
    }

    #[test]
    fn what_is_damaged_is_an_error_and_never_a_panic() {
        for block in [
            &b""[..],
            b"\xff\xff\xff\xff\xff",
            b"\xff\xff\xff\xff\x0f",
            b"\x02\x04a",
            b"\x02\x09\x01",
            b"\x02\x09\x00",
            b"\x01\x04ab",
            b"\x03\x04ab",
            b"\x02\xff\xff\xff\xff\xffab",
        ] {
            assert!(decoded(block).is_err(), "{block:?}");
        }
        // every change of one byte of a good one
        let good = b"\x08\x04ab\x16\x02\x00";
        for place in 0..good.len() {
            for byte in 0..=u8::MAX {
                let mut bad = good.to_vec();
                bad[place] = byte;
                let _ = decoded(&bad);
            }
        }
    }
}
