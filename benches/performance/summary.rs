//! Figures of many rounds, in a few words.

/// The median, the lowest and the highest of what was measured.
#[derive(Clone, Copy)]
pub struct Summary {
    /// The one in the middle.
    pub median: f64,
    /// The lowest.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
}

impl Summary {
    /// None, if nothing was measured.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Summary> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (&lowest, &highest) = (figures.first()?, figures.last()?);
        // of an even number, the mean of the two in the middle
        let median = (figures[(figures.len() - 1) / 2] + figures[figures.len() / 2]) / 2.0;
        Some(Summary { median, lowest, highest })
    }
}

/// The cell of a table: the median, and the range.
pub fn cell(summary: Option<Summary>, decimals: usize) -> String {
    summary.map_or("n/a".into(), |Summary { median, lowest, highest }| {
        format!("{median:.decimals$} ({lowest:.decimals$} to {highest:.decimals$})")
    })
}
