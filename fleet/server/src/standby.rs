//! A server that stands by: it says so to whoever asks, and waits until it is its turn to lead.

use std::time::Duration;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::certificate::Certificate;
use crate::config::Config;
use crate::db::lead::{Contender, Lead};
use crate::doors::Doors;
use crate::http::failure::Failure;
use crate::http::health;
use crate::kept_keys;
use crate::secret::Secrets;
use crate::server::StartError;

/// How often it is looked whether somebody leads.
const LOOK: Duration = Duration::from_millis(250);

/// What came of looking.
enum Look {
    /// This server leads, with the sealed keys that all servers share.
    Leads(Lead, Vec<(String, String)>),
    /// Another one does, and so far these are the keys.
    Waits(Contender, Vec<(String, String)>),
}

/// Leads, at once or when the server that does is gone, with the keys that all servers share.
pub(crate) async fn lead(
    url: &str,
    config: &Config,
    secrets: &Secrets,
    doors: &Doors,
) -> Result<Lead, StartError> {
    let turn = CancellationToken::new();
    // However this ends, nobody is told to wait any more.
    let _over = turn.clone().drop_guard();
    let (mut contender, mut served) = (None, None);
    let (lead, kept) = loop {
        match look(contender.take(), url, secrets).await {
            Ok(Look::Leads(lead, kept)) => break (lead, kept),
            Ok(Look::Waits(still, kept)) => {
                contender = Some(still);
                if served.is_none() && unpack(config, secrets, &kept)? {
                    tracing::info!("standing by: another server works on this database");
                    let certificate = Certificate::load(&config.data, &config.https)?;
                    served = Some(doors.serve(&router(), &certificate, &turn)?);
                }
            }
            // It is there again some time, and then somebody has to be.
            Err(StartError::Database(error)) if served.is_some() => {
                tracing::warn!(%error, "the database cannot be asked who leads");
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOOK).await;
    };
    turn.cancel();
    // Nothing is under way that would have to be finished.
    served.iter().flatten().for_each(|task| task.abort());
    unpack(config, secrets, &kept)?;
    Ok(lead)
}

async fn look(
    contender: Option<Contender>,
    url: &str,
    secrets: &Secrets,
) -> Result<Look, StartError> {
    let mut contender = match contender {
        Some(contender) => contender,
        None => Contender::connect(url).await?,
    };
    let theirs = contender.mark().await?;
    if !theirs.is_empty() && theirs != secrets.mark() {
        return Err(StartError::Stranger);
    }
    Ok(match contender.try_take(&secrets.mark()).await? {
        Ok(mut lead) => {
            let kept = lead.kept_keys().await?;
            Look::Leads(lead, kept)
        }
        Err(mut still) => {
            let kept = still.kept_keys().await?;
            Look::Waits(still, kept)
        }
    })
}

fn unpack(
    config: &Config,
    secrets: &Secrets,
    kept: &[(String, String)],
) -> Result<bool, StartError> {
    kept_keys::unpack(&config.data, secrets, kept).map_err(|source| StartError::Data {
        path: config.data.clone(),
        source,
    })
}

fn router() -> Router {
    let wait =
        || async { Failure::unavailable("this server stands by, another one works: try again") };
    health::while_it_waits().fallback(wait)
}
