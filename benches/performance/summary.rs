//! Summaries of many figures.

/// The median, the lowest and the highest of some figures.
#[derive(Clone, Copy)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// The lowest.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
}

impl Summary {
    /// The summary; `None` if there are no figures.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Summary> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (&lowest, &highest) = (figures.first()?, figures.last()?);
        // for an even number of figures, the mean of the two in the middle
        let median = (figures[(figures.len() - 1) / 2] + figures[figures.len() / 2]) / 2.0;
        Some(Summary { median, lowest, highest })
    }
}

/// A cell of a table: the median and the range.
pub fn cell(summary: Option<Summary>, decimals: usize) -> String {
    summary.map_or("n/a".into(), |Summary { median, lowest, highest }| {
        format!("{median:.decimals$} ({lowest:.decimals$} to {highest:.decimals$})")
    })
}
