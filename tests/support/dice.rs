//! Numbers that a printed seed brings again.

#![allow(dead_code, unreachable_pub, reason = "each suite uses its part of it")]

/// xorshift64.
pub struct Dice(u64);

impl Dice {
    /// From `$SEED`, or else of now.
    pub fn new() -> Self {
        let seed = std::env::var("SEED").ok();
        let seed = seed.and_then(|seed| seed.parse().ok());
        let now = || {
            u64::from(
                std::time::UNIX_EPOCH
                    .elapsed()
                    .unwrap_or_default()
                    .subsec_nanos(),
            )
        };
        let seed = seed.unwrap_or_else(now) | 1;
        eprintln!("SEED={seed}");
        Self(seed)
    }

    /// One more, which goes its own way.
    pub fn another(&mut self) -> Self {
        self.next();
        Self(self.0)
    }

    /// Below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.next();
        usize::try_from(self.0 >> 11).unwrap_or(0) % sides
    }

    fn next(&mut self) {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
    }
}
