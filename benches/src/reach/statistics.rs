//! Medians and quantiles.

use std::time::Duration;

/// The middle of some figures: of an even number, the upper of the two. Zero when there are none.
pub(super) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Latencies, in order.
#[derive(Debug)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(super) fn new(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// In milliseconds: this share of all took at most so long. Zero when there are none.
    pub(super) fn at(&self, share: f64) -> f64 {
        let index = (self.0.len() as f64 * share) as usize;
        millis(self.0.get(index.min(self.0.len().saturating_sub(1))).copied().unwrap_or_default())
    }

    pub(super) fn max(&self) -> f64 {
        self.at(1.0)
    }
}

pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// How much the figures grow with each unit of what they stand at: the slope of the line with the least squares.
pub(super) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let along = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>();
    let spread = points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>();
    if spread > 0.0 { along / spread } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_latencies() {
        let latencies = Latencies::new((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!((latencies.at(0.5), latencies.at(0.99), latencies.max()), (51.0, 100.0, 100.0));
        assert_eq!(Latencies::new(Vec::new()).at(0.5), 0.0);
    }

    #[test]
    fn the_slope_is_that_of_the_line() {
        assert!((slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) - 2.0).abs() < 1e-9);
        assert_eq!(slope(&[(1.0, 1.0)]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    }
}
