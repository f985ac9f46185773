//! Snappy for the crate `pulsar` (6.9.1) alone, in the place of the crate `snap` (`[patch.crates-io]`).
//!
//! That crate frames what it compresses and expects frames, while Pulsar's own clients (Java, C++, Python, Go) send bare blocks,
//! as its protocol means it: what they send could not be read. Here both are read, and blocks are written. `pulsar` reads
//! and writes in memory, through [`read::FrameDecoder`] and [`write::FrameEncoder`].
//!
//! A checksum within a frame is not looked at: the broker and the connection have their own.

mod block;

use std::io;

/// What a framed stream begins with (<https://github.com/google/snappy/blob/main/framing_format.txt>).
const FRAMED: &[u8] = b"\xff\x06\x00\x00sNaPpY";
/// Kinds of chunks.
const COMPRESSED: u8 = 0x00;
const PLAIN: u8 = 0x01;
/// From here on a chunk may be left out.
const OPTIONAL: u8 = 0x80;
/// Of a chunk's checksum.
const CHECKSUM: usize = 4;

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("Snappy: {what}"))
}

/// A stream of frames, or one block. No block begins as a stream does: its first copy would reach before its beginning.
fn decoded(bytes: &[u8]) -> io::Result<Vec<u8>> {
    if !bytes.starts_with(FRAMED) {
        return block::decoded(bytes);
    }
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let cut_off = || damaged("a frame is cut off");
        let (head, behind) = rest.split_at_checked(4).ok_or_else(cut_off)?;
        let length = usize::from(head[1]) | usize::from(head[2]) << 8 | usize::from(head[3]) << 16;
        let (chunk, behind) = behind.split_at_checked(length).ok_or_else(cut_off)?;
        match head[0] {
            COMPRESSED => out.extend(block::decoded(chunk.get(CHECKSUM..).ok_or_else(cut_off)?)?),
            PLAIN => out.extend_from_slice(chunk.get(CHECKSUM..).ok_or_else(cut_off)?),
            kind if kind < OPTIONAL => return Err(damaged("an unknown kind of frame")),
            _ => {}
        }
        rest = behind;
    }
    Ok(out)
}

/// Reading.
pub mod read {
    use std::io::{self, Cursor, Read};

    /// Decodes frames, or one block.
    pub struct FrameDecoder<R> {
        from: Option<R>,
        decoded: Cursor<Vec<u8>>,
    }

    impl<R: Read> FrameDecoder<R> {
        /// Of what `from` holds to its end.
        pub fn new(from: R) -> Self {
            Self {
                from: Some(from),
                decoded: Cursor::default(),
            }
        }
    }

    impl<R: Read> Read for FrameDecoder<R> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if let Some(mut from) = self.from.take() {
                let mut bytes = Vec::new();
                from.read_to_end(&mut bytes)?;
                self.decoded = Cursor::new(super::decoded(&bytes)?);
            }
            self.decoded.read(into)
        }
    }
}

/// Writing.
pub mod write {
    use std::io::{self, Write};

    /// Encodes all that is written until `flush` as one block, which is not made smaller: nothing here compresses with it.
    pub struct FrameEncoder<W> {
        to: W,
        waiting: Vec<u8>,
    }

    impl<W: Write> FrameEncoder<W> {
        /// Into `to`.
        pub fn new(to: W) -> Self {
            Self {
                to,
                waiting: Vec::new(),
            }
        }
    }

    impl<W: Write> Write for FrameEncoder<W> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.waiting.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            let block = super::block::plain(&std::mem::take(&mut self.waiting))?;
            self.to.write_all(&block)?;
            self.to.flush()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::{Read, Write};

    use super::{read::FrameDecoder, write::FrameEncoder};

    fn read(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut decoded = Vec::new();
        let read = FrameDecoder::new(bytes).read_to_end(&mut decoded);
        read.map(|_| decoded)
    }

    #[test]
    fn frames_are_read_and_what_may_be_left_out_is() {
        let mut frames = super::FRAMED.to_vec();
        frames.extend(b"\x01\x06\x00\x00....ab");
        frames.extend(b"\xfe\x01\x00\x00?");
        // four bytes, the first two of them again and again
        frames.extend(b"\x00\x09\x00\x00....\x04\x04cd\x00");
        assert!(read(&frames).is_err(), "cut off");
        frames.truncate(frames.len() - 9);
        frames.extend(b"....\x04\x04cd\x02");
        assert!(read(&frames).is_err(), "a copy without its distance");
        assert_eq!(read(super::FRAMED).unwrap(), b"");
        let mut unknown = super::FRAMED.to_vec();
        unknown.extend(b"\x02\x00\x00\x00");
        assert!(read(&unknown).is_err());
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 59, 60, 61, 300, 70_000] {
            let bytes: Vec<u8> = (0..length)
                .map(|n| u8::try_from(n % 251).unwrap())
                .collect();
            let mut block = Vec::new();
            let mut encoder = FrameEncoder::new(&mut block);
            encoder.write_all(&bytes).unwrap();
            encoder.flush().unwrap();
            assert_eq!(read(&block).unwrap(), bytes, "{length}");
        }
    }
}
