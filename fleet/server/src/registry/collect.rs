//! Garbage collection: what nothing needs any more, and nobody sent lately.

use std::time::{Duration, SystemTime};

use crate::http::failure::{Answer, Failure};
use crate::{App, clock, db};

/// Blobs removed at once, so that pushes do not wait for long.
const AT_ONCE: i64 = 100;

/// Removes manifests, links, blobs and uploads that nothing has needed for `grace`; returns how many blobs.
pub(crate) async fn collect(app: &App, grace: Duration) -> Answer<u64> {
    let before_ms = clock::now_ms() - i64::try_from(grace.as_millis()).unwrap_or(i64::MAX / 2);
    let mut tx = app.db.write().await?;
    // An index goes first, then what only it kept.
    while db::manifests::delete_unused(&mut tx, before_ms).await? > 0 {}
    db::blobs::unlink_unused(&mut tx, before_ms).await?;
    tx.commit().await?;
    let mut removed = 0;
    loop {
        let gone = remove(app, before_ms).await?;
        if gone == 0 {
            break;
        }
        removed += gone;
    }
    let before = SystemTime::now()
        .checked_sub(grace)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    app.uploads.sweep(before).map_err(Failure::internal)?;
    Ok(removed)
}

/// The rows go first: bytes that nobody knows of are only waste, a row without its bytes would be a lie.
async fn remove(app: &App, before_ms: i64) -> Answer<u64> {
    let _nothing_arrives = app.collection.write().await;
    let mut tx = app.db.write().await?;
    let orphans = db::blobs::orphans(&mut tx, before_ms, AT_ONCE).await?;
    for digest in &orphans {
        db::blobs::forget(&mut tx, digest).await?;
    }
    tx.commit().await?;
    for digest in &orphans {
        // A server that took over may have been sent these bytes again.
        app.db.check_lead().await?;
        app.store.delete(digest).await.map_err(Failure::internal)?;
    }
    Ok(orphans.len() as u64)
}
