//! Long histories by chance.

use std::time::Instant;

use super::{
    ops::{Asks, Op, Says},
    play::{Findings, History, REST, Scene, is_long, over_all_processors},
    *,
};

/// SplitMix64: the same numbers for the same seed, whatever the version of a crate.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn op(&mut self) -> Op {
        match self.below(10) {
            0..=3 => Op::Bus(self.one_of(&Asks::ALL)),
            4 | 5 => Op::Other(self.one_of(&Asks::ALL)),
            6 | 7 => Op::File(self.one_of(&Says::ALL)),
            _ => self.one_of(&Op::TROUBLES),
        }
    }

    fn scene(&mut self) -> Scene {
        let fault = (self.below(4) == 0).then(|| (self.below(3), self.one_of(&Fault::ALL)));
        Scene {
            op: self.op(),
            fault,
            then: match self.below(3) {
                0 => REST,
                _ => self.below(12),
            },
        }
    }

    fn history(&mut self) -> History {
        let length = 3 + self.below(18);
        let scenes = (0..length).map(|_| self.scene()).collect();
        History {
            is_guarded: self.below(4) == 0,
            is_cured: self.below(4) == 0,
            ..History::of(scenes)
        }
    }
}

/// A minute of histories that nobody wrote, ten in a long run. `SOZU_MANAGER_SEED` repeats one, and
/// `SOZU_MANAGER_TRACE` tells its effects.
#[test]
fn long_histories_by_chance() {
    let asked = std::env::var("SOZU_MANAGER_SEED").ok();
    if let Some(seed) = asked.and_then(|seed| seed.parse().ok()) {
        let history = Chance(seed).history();
        let findings = Findings::default();
        findings.judge(&history, "");
        return findings.tell("the one that was asked for");
    }
    let minutes = if is_long() { 10 } else { 1 };
    let end = Instant::now() + Duration::from_mins(minutes);
    let first: u64 = rand::random();
    println!("from SOZU_MANAGER_SEED={first} on");
    let findings = Findings::default();
    let processors: Vec<u64> = (0..std::thread::available_parallelism().map_or(2, usize::from))
        .map(|nth| first.wrapping_add(nth as u64 * (1 << 32)))
        .collect();
    over_all_processors(&processors, |_, first| {
        let mut seed = *first;
        while Instant::now() < end && !findings.is_enough() {
            let history = Chance(seed).history();
            findings.judge(&history, &format!("SOZU_MANAGER_SEED={seed}"));
            seed = seed.wrapping_add(1);
        }
    });
    findings.tell("by chance");
}
