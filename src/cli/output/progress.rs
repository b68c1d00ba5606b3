//! Progress of long lookups, on standard error.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar on standard error; hidden where that is not a terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// Starts a bar for `total` images.
    #[must_use]
    pub fn start(title: &str, total: usize) -> Self {
        let bar = ProgressBar::new(total.try_into().unwrap_or(u64::MAX)).with_message(title.to_owned());
        let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} images {elapsed}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Sets how many images are done.
    pub fn reached(&self, done: usize) {
        self.0.set_position(done.try_into().unwrap_or(u64::MAX));
    }

    /// Removes the bar.
    pub fn end(self) {
        self.0.finish_and_clear();
    }
}
