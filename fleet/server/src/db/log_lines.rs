//! Table `log_lines`.

use lightship_api::{LogLine, LogStream};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Db, Error, Tx, column, count, time};

fn line(row: &AnyRow) -> Result<(u64, LogLine), Error> {
    let stream: String = row.try_get("stream")?;
    let stream = if stream == "err" {
        LogStream::Err
    } else {
        LogStream::Out
    };
    let line = LogLine {
        at: time(row, "at")?,
        device: row.try_get("device")?,
        service: row.try_get("service")?,
        stream,
        line: row.try_get("line")?,
    };
    Ok((count(row, "number")?, line))
}

/// Adds lines.
pub(crate) async fn insert(tx: &mut Tx<'_>, lines: &[LogLine]) -> Result<(), Error> {
    for line in lines {
        let stream = match line.stream {
            LogStream::Out => "out",
            LogStream::Err => "err",
        };
        let query = sqlx::query(
            "INSERT INTO log_lines (device, at, service, stream, line) VALUES ($1, $2, $3, $4, $5)",
        );
        let query = query
            .bind(line.device.as_str())
            .bind(line.at.as_millis())
            .bind(line.service.as_str());
        query
            .bind(stream)
            .bind(line.line.as_str())
            .execute(tx.on())
            .await?;
    }
    Ok(())
}

/// The last lines of a device before line `before`, oldest first; an empty service means all.
pub(crate) async fn last(
    db: &Db,
    device: &str,
    service: &str,
    before: u64,
    limit: i64,
) -> Result<Vec<(u64, LogLine)>, Error> {
    let query = "SELECT * FROM log_lines WHERE device = $1 AND ($2 = '' OR service = $2) AND number < $3 ORDER BY number DESC LIMIT $4";
    let query = sqlx::query(query)
        .bind(device)
        .bind(service)
        .bind(column(before))
        .bind(limit);
    let mut lines = query
        .fetch_all(db.read())
        .await?
        .iter()
        .map(line)
        .collect::<Result<Vec<_>, _>>()?;
    lines.reverse();
    Ok(lines)
}

/// Removes lines that are too old.
pub(crate) async fn delete_before(tx: &mut Tx<'_>, at_ms: i64) -> Result<(), Error> {
    sqlx::query("DELETE FROM log_lines WHERE at < $1")
        .bind(at_ms)
        .execute(tx.on())
        .await?;
    Ok(())
}

/// Removes the oldest lines of each device that has more than `keep`.
pub(crate) async fn delete_beyond(tx: &mut Tx<'_>, keep: i64) -> Result<(), Error> {
    let query =
        "SELECT device, COUNT(*) AS lines FROM log_lines GROUP BY device HAVING COUNT(*) > $1";
    for row in sqlx::query(query).bind(keep).fetch_all(tx.on()).await? {
        let device: String = row.try_get("device")?;
        let query = "DELETE FROM log_lines WHERE device = $1 AND number <= (SELECT number FROM log_lines WHERE device = $1 ORDER BY number DESC LIMIT 1 OFFSET $2)";
        sqlx::query(query)
            .bind(device)
            .bind(keep)
            .execute(tx.on())
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lightship_api::Timestamp;

    use super::*;

    fn line(device: &str, at_ms: i64) -> LogLine {
        LogLine {
            at: Timestamp::from_millis(at_ms),
            device: device.to_owned(),
            service: "web".to_owned(),
            stream: LogStream::Out,
            line: format!("at {at_ms}"),
        }
    }

    #[tokio::test]
    async fn lines_are_kept_as_long_and_as_many_as_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let db = crate::db::for_test(folder.path()).await;
        // Of devices that nobody entered: this is about one table.
        let lone = sqlx::query("PRAGMA foreign_keys = OFF");
        lone.execute(&db.write).await.unwrap();
        let mut tx = db.write().await.unwrap();
        let lines: Vec<LogLine> = (0..10).map(|at_ms| line("talks", at_ms)).collect();
        insert(&mut tx, &lines).await.unwrap();
        insert(&mut tx, &[line("quiet", 1), line("quiet", 5)])
            .await
            .unwrap();
        delete_before(&mut tx, 2).await.unwrap();
        delete_beyond(&mut tx, 3).await.unwrap();
        tx.commit().await.unwrap();
        let left = async |device: &str| {
            let lines = last(&db, device, "", u64::MAX, 100).await.unwrap();
            let times = lines.iter().map(|(_, line)| line.at.as_millis());
            times.collect::<Vec<_>>()
        };
        assert_eq!(left("talks").await, [7, 8, 9]);
        assert_eq!(left("quiet").await, [5]);
    }
}
