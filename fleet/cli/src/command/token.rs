//! `lightship token`.

use clap::Subcommand;
use lightship_api::{CreatedToken, NewToken, Scope, Token as Shown};
use reqwest::Method;

use super::fleet::in_days;
use crate::failure::Failure;
use crate::output::{Output, table};
use crate::place::Place;

/// API tokens, for CI and other programs: `LIGHTSHIP_TOKEN` is where one goes.
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// All of yours, sessions included.
    List,
    /// Make one; its secret is shown this once.
    Create {
        /// What it is for.
        label: String,
        /// The most it may do: `viewer`, `developer:harbour`, `admin`. Once for each scope.
        #[arg(long = "scope", required = true, value_name = "SCOPE", value_parser = scope)]
        scopes: Vec<Scope>,
        /// Days for which it works.
        #[arg(long, default_value_t = 90)]
        days: u32,
    },
    /// Let nobody in with it any more.
    Rm {
        /// Its identifier.
        id: String,
    },
}

fn scope(text: &str) -> Result<Scope, lightship_api::BadScope> {
    Scope::try_from(text.to_owned())
}

pub(crate) async fn run(token: Token, place: &Place, output: &Output) -> Result<(), Failure> {
    let client = place.client()?;
    match token {
        Token::List => {
            let all: Vec<Shown> = client.get("/api/v1/tokens").await?;
            output.show(&all, |all| list(all));
        }
        Token::Create {
            label,
            scopes,
            days,
        } => {
            let new = NewToken {
                label,
                scopes,
                expires_at: in_days(days),
            };
            let made: CreatedToken = client.call(Method::POST, "/api/v1/tokens", &new).await?;
            output.show(&made, |made| {
                format!(
                    "{}\nThis is shown once. It is good for {} until {}.",
                    made.secret,
                    scopes_of(&made.token),
                    made.token.expires_at
                )
            });
        }
        Token::Rm { id } => {
            client.delete(&format!("/api/v1/tokens/{id}")).await?;
            output.done(&format!("ended {id}"));
        }
    }
    Ok(())
}

fn scopes_of(token: &Shown) -> String {
    let scopes = token.scopes.iter().cloned().map(String::from);
    scopes.collect::<Vec<_>>().join(" ")
}

fn list(all: &[Shown]) -> String {
    let rows = all.iter().map(|token| {
        vec![
            token.id.clone(),
            token.label.clone(),
            scopes_of(token),
            token.expires_at.to_string(),
        ]
    });
    table(
        &["TOKEN", "LABEL", "SCOPES", "UNTIL"],
        &rows.collect::<Vec<_>>(),
    )
}
