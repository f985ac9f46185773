//! The gate: what may be sent now.

/// Whether the daemon sends what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Sōzu is made to hold what is wanted.
    #[default]
    Apply,
    /// Nothing is sent; what would be sent is shown.
    Observe,
}

/// What may be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing, and why.
    Closed(&'static str),
    /// Nothing, and what is wanted becomes final as observed.
    Observing,
    /// Everything.
    Open,
}

/// Derives the gate: Sōzu has to be there and to have been read in this life, and each directory
/// has to have spoken once, so that a start sends no more than the truth.
pub fn gate(mode: Mode, is_here: bool, is_read: bool, all_have_spoken: bool) -> Gate {
    match mode {
        _ if !is_here => Gate::Closed("Sōzu is away"),
        _ if !is_read => Gate::Closed("Sōzu is being read"),
        Mode::Observe => Gate::Observing,
        Mode::Apply if !all_have_spoken => Gate::Closed("the directories are being listed"),
        Mode::Apply => Gate::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_only_when_everything_is_known() {
        for bits in 0..8 {
            let (here, read, spoken) = (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0);
            let open = gate(Mode::Apply, here, read, spoken) == Gate::Open;
            assert_eq!(open, here && read && spoken);
            let observing = gate(Mode::Observe, here, read, spoken) == Gate::Observing;
            assert_eq!(observing, here && read);
        }
    }
}
