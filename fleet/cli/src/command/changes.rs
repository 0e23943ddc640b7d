//! `lightship changes`.

use clap::Args;
use lightship_api::{Change, Changes as Page};

use crate::failure::Failure;
use crate::output::{Output, harmless, or_dash, table};
use crate::place::Place;

/// The most that the server tells at once.
const PAGE: u32 = 1000;

/// Who changed what, and when, newest first.
#[derive(Debug, Args)]
pub(crate) struct Changes {
    /// How many of the last ones.
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: u32,
    /// Of the whole server and not of one fleet; for administrators.
    #[arg(long)]
    all: bool,
}

pub(crate) async fn run(changes: Changes, place: &Place, output: &Output) -> Result<(), Failure> {
    let client = place.client()?;
    let path = if changes.all {
        "/api/v1/changes".to_owned()
    } else {
        format!("/api/v1/fleets/{}/changes", place.fleet(&client).await?)
    };
    let (mut all, mut before): (Vec<Change>, _) = (Vec::new(), None);
    loop {
        let left = changes.lines
            - u32::try_from(all.len())
                .unwrap_or(u32::MAX)
                .min(changes.lines);
        let older = before.map_or_else(String::new, |number| format!("&before={number}"));
        let page = format!("{path}?limit={}{older}", left.clamp(1, PAGE));
        let page: Page = client.get(&page).await?;
        all.extend(page.changes);
        before = page.before;
        if before.is_none() || all.len() >= changes.lines as usize {
            break;
        }
    }
    all.truncate(changes.lines as usize);
    output.show(&all, |all| list(all));
    Ok(())
}

fn list(all: &[Change]) -> String {
    let rows = all.iter().map(|change| {
        vec![
            change.at.to_string(),
            change.by.clone(),
            or_dash(change.fleet.as_ref()),
            change.what.clone(),
            harmless(&change.subject),
            harmless(&change.detail),
        ]
    });
    let head = ["AT", "BY", "FLEET", "WHAT", "OF", "DETAIL"];
    table(&head, &rows.collect::<Vec<_>>())
}
