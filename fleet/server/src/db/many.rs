//! Statements on many rows: a roll-out tells thousands of devices, and what a statement costs by
//! itself is most of what a row costs. Their text depends on the number of rows and on nothing that anybody said.

use sqlx::AssertSqlSafe;

/// Rows of one statement: few enough for the bounds of both databases on its parameters.
pub(super) const ROWS: usize = 64;

/// A statement with the placeholders of so many rows and columns between its two halves: `head ($1, $2), ($3, $4) tail`.
pub(super) fn statement(
    head: &str,
    [rows, columns]: [usize; 2],
    tail: &str,
) -> AssertSqlSafe<String> {
    let mut text = format!("{head} ");
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            let comma = if column == 0 { "" } else { ", " };
            text.push_str(&format!("{comma}${}", row * columns + column + 1));
        }
        text.push(')');
    }
    text.push(' ');
    text.push_str(tail);
    AssertSqlSafe(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_counted_row_by_row() {
        let AssertSqlSafe(text) = statement("VALUES", [2, 2], "END");
        assert_eq!(text, "VALUES ($1, $2), ($3, $4) END");
    }
}
