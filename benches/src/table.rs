//! Figures as a Markdown table, so that a run can be kept in the README as it was printed.

/// A table under way.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(|&column| column.to_owned()).collect()] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text: the first column to the left, the others to the right.
    pub(crate) fn text(&self) -> String {
        let columns = self.rows[0].len();
        let width = |at: usize| self.rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (at, cell) in row.iter().enumerate() {
                let width = widths[at];
                text.push_str(&if at == 0 { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") });
            }
            text.push_str("|\n");
            if number == 0 {
                let line = |(at, width): (usize, &usize)| {
                    if at == 0 { format!("|{}", "-".repeat(width + 2)) } else { format!("|{}:", "-".repeat(width + 1)) }
                };
                text.push_str(&widths.iter().enumerate().map(line).collect::<String>());
                text.push_str("|\n");
            }
        }
        text
    }
}
