//! How far it is, on a terminal; nothing anywhere else.

use indicatif::{ProgressBar, ProgressStyle};

/// Counts to a number. It goes when it is dropped.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(doing: &'static str, count: usize) -> Self {
        let bar = ProgressBar::new(count as u64).with_message(doing);
        let style = "{msg} {bar:40} {human_pos} of {human_len}, {per_sec}, {eta} to go";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(super) fn at(&self, count: usize) {
        self.0.set_position(count as u64);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
