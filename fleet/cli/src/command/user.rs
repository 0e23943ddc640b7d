//! `lightship user`.

use clap::{Args, Subcommand};
use lightship_api::{Name, NewUser, User as Shown, UserPatch};
use reqwest::Method;

use super::login;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Output, table};
use crate::place::Place;

/// People who may log in to the server.
#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// All of them.
    List,
    /// Let somebody log in; `lightship fleet member set` says where they work.
    Create {
        /// The name to log in with.
        name: Name,
        /// Let them administer the server, too: users, and every fleet.
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        password: NewPassword,
    },
    /// Give somebody another password; it ends all of their sessions.
    Password {
        /// Whose; yours by default.
        name: Option<Name>,
        #[command(flatten)]
        password: NewPassword,
    },
    /// Say whether somebody administers the server.
    Admin {
        /// Who.
        name: Name,
        /// Whether they do.
        #[arg(action = clap::ArgAction::Set, value_name = "true|false")]
        admin: bool,
    },
    /// Let somebody log in no more; their tokens stop working.
    Rm {
        /// Who.
        name: Name,
    },
}

/// Where a new password comes from: `LIGHTSHIP_NEW_PASSWORD`, standard input, or the terminal.
#[derive(Debug, Args)]
pub(crate) struct NewPassword {
    /// Read the new password from standard input.
    #[arg(long)]
    password_stdin: bool,
}

impl NewPassword {
    fn text(&self, of: &Name) -> Result<String, Failure> {
        let prompt = format!("New password of {of}: ");
        login::secret("LIGHTSHIP_NEW_PASSWORD", self.password_stdin, &prompt)
    }
}

pub(crate) async fn run(user: User, place: &Place, output: &Output) -> Result<(), Failure> {
    let client = place.client()?;
    match user {
        User::List => {
            let all: Vec<Shown> = client
                .all("/api/v1/users", |user: &Shown| user.name.to_string())
                .await?;
            output.show(&all, |all| list(all));
        }
        User::Create {
            name,
            admin,
            password,
        } => {
            let password = password.text(&name)?;
            let new = NewUser {
                name,
                password,
                admin,
            };
            let made: Shown = client.call(Method::POST, "/api/v1/users", &new).await?;
            output.show(&made, |user| format!("{} may log in", user.name));
        }
        User::Password { name, password } => {
            let me = login::who(&client).await?.name;
            let name = name.unwrap_or_else(|| me.clone());
            let prompt = format!("Present password of {name}: ");
            let own = name == me;
            let current = own.then(|| login::secret(login::PASSWORD, false, &prompt));
            let patch = UserPatch {
                current_password: current.transpose()?,
                password: Some(password.text(&name)?),
                ..UserPatch::default()
            };
            change(&client, &name, &patch, output).await?;
        }
        User::Admin { name, admin } => {
            let patch = UserPatch {
                admin: Some(admin),
                ..UserPatch::default()
            };
            change(&client, &name, &patch, output).await?;
        }
        User::Rm { name } => {
            client.delete(&format!("/api/v1/users/{name}")).await?;
            output.done(&format!("{name} may not log in any more"));
        }
    }
    Ok(())
}

async fn change(
    client: &Client,
    name: &Name,
    patch: &UserPatch,
    output: &Output,
) -> Result<(), Failure> {
    let path = format!("/api/v1/users/{name}");
    let changed: Shown = client.call(Method::PATCH, &path, patch).await?;
    output.show(&changed, |user| list(std::slice::from_ref(user)));
    Ok(())
}

fn list(all: &[Shown]) -> String {
    let rows = all.iter().map(|user| {
        let role = if user.admin { "administrator" } else { "-" };
        vec![
            user.name.to_string(),
            role.to_owned(),
            user.created_at.to_string(),
        ]
    });
    table(
        &["USER", "OF THE SERVER", "SINCE"],
        &rows.collect::<Vec<_>>(),
    )
}
