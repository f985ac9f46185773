//! Columns for people.

/// Lines of cells under a headline, each column as wide as its widest cell.
pub(super) fn table<const N: usize>(headline: [&str; N], lines: &[[String; N]]) -> String {
    let mut widths = headline.map(|cell| cell.chars().count());
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let headline = headline.map(str::to_owned);
    for line in std::iter::once(&headline).chain(lines) {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(widths) {
            row.push_str(cell);
            row.push_str(&" ".repeat(width + 2 - cell.chars().count()));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let lines = [
            ["a".to_owned(), "Sōzu".to_owned()],
            ["long".to_owned(), String::new()],
        ];
        assert_eq!(table(["ID", "X"], &lines), "ID    X\na     Sōzu\nlong\n");
    }
}
