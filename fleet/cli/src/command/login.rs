//! `lightship login` and `lightship logout`.

use std::io::{IsTerminal as _, Write as _};

use clap::Args;
use lightship_api::{CreatedToken, Me};
use lightship_core::id::Digest;
use reqwest::Method;

use crate::client::Client;
use crate::failure::{Code, Failure};
use crate::output::Output;
use crate::place::{Login as Stored, Place};

/// Where the password of whoever logs in may be.
pub(super) const PASSWORD: &str = "LIGHTSHIP_PASSWORD";

/// Log in to a server.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The server's URL.
    url: String,
    /// Your name there.
    #[arg(long, default_value = "admin")]
    user: String,
    /// Read the password from standard input.
    #[arg(long)]
    password_stdin: bool,
    /// The SHA-256 fingerprint of the authority's PEM file, as the server prints it when it starts; asked for otherwise.
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<Digest>,
}

pub(crate) async fn run(login: Login, place: &Place, output: &Output) -> Result<(), Failure> {
    let ca = authority(&login, place, output).await?;
    let client = Client::new(&login.url, None, ca.as_deref())?;
    let prompt = format!("Password of {}: ", login.user);
    let password = secret(PASSWORD, login.password_stdin, &prompt)?;
    let body = lightship_api::Login {
        name: login.user,
        password,
    };
    let made: CreatedToken = client.call(Method::POST, "/api/v1/session", &body).await?;
    let stored = Stored {
        server: client.server().to_owned(),
        token: made.secret,
        ca,
    };
    place.store_login(&stored)?;
    output.show(&made.token, |token| {
        format!(
            "logged in to {} as {} until {}",
            stored.server, token.user, token.expires_at
        )
    });
    Ok(())
}

pub(crate) async fn log_out(place: &Place, output: &Output) -> Result<(), Failure> {
    if place.login()?.is_some() {
        let told = place.client()?.delete("/api/v1/session").await;
        place.forget_login()?;
        match told {
            // A token that the server does not know any more is as good as ended.
            Err(failure) if failure.code != Code::Denied => return Err(failure),
            Ok(()) | Err(_) => {}
        }
    }
    output.done("logged out");
    Ok(())
}

/// Which authority to believe from now on: the one given, those of the system, or one that a person has seen.
async fn authority(
    login: &Login,
    place: &Place,
    output: &Output,
) -> Result<Option<String>, Failure> {
    if let Some(path) = &place.global.ca {
        let pem = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
        return Ok(Some(pem));
    }
    if login.url.starts_with("http://") {
        return Ok(None);
    }
    if login.fingerprint.is_none() && is_trusted(&login.url).await? {
        return Ok(None);
    }
    let pem = Client::unverified_authority(&login.url).await?;
    let found = Digest::of(pem.as_bytes());
    match login.fingerprint {
        Some(expected) if expected == found => Ok(Some(pem)),
        Some(_) => {
            let failure = Failure::new(
                Code::Denied,
                format!(
                    "the server's authority has the fingerprint {found}, not the one that was expected"
                ),
            );
            Err(failure.help("somebody may be between you and the server; if the server was set up anew, ask for its new fingerprint"))
        }
        None => ask(&login.url, &found, output).map(|()| Some(pem)),
    }
}

/// Whether the system's authorities vouch for the server.
async fn is_trusted(url: &str) -> Result<bool, Failure> {
    let client = Client::new(url, None, None)?;
    match client
        .send(client.request(Method::GET, "/health/live"))
        .await
    {
        Ok(_) => Ok(true),
        Err(failure) if failure.message.contains("certificate") => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn ask(url: &str, found: &Digest, output: &Output) -> Result<(), Failure> {
    if output.is_json() || !std::io::stdin().is_terminal() {
        let failure = Failure::new(
            Code::Denied,
            format!("no authority of this system vouches for {url}"),
        );
        return Err(failure.help(format!(
            "if its fingerprint is right, pass --fingerprint {found}; or pass --ca FILE"
        )));
    }
    eprint!(
        "No authority of this system vouches for {url}.\nThe server's own has the fingerprint\n  {found}\nIs that what the server printed when it started? [y/N] "
    );
    let mut answer = String::new();
    let read = std::io::stderr()
        .flush()
        .and_then(|()| std::io::stdin().read_line(&mut answer));
    match read {
        Ok(_) if answer.trim().eq_ignore_ascii_case("y") => Ok(()),
        Ok(_) | Err(_) => Err(Failure::new(Code::Denied, "not logged in")),
    }
}

/// A password: from standard input when that is asked for, else from a variable of the environment or the terminal.
pub(super) fn secret(variable: &str, stdin: bool, prompt: &str) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(Code::Failed, format!("cannot read the password: {error}"))
            .help(format!("pass --password-stdin, or set {variable}"))
    };
    if let Some(password) = std::env::var_os(variable).filter(|_| !stdin) {
        return Ok(password.to_string_lossy().into_owned());
    }
    if stdin {
        let mut password = String::new();
        std::io::stdin()
            .read_line(&mut password)
            .map_err(unreadable)?;
        return Ok(password.trim_end_matches(['\r', '\n']).to_owned());
    }
    rpassword::prompt_password(prompt).map_err(unreadable)
}

/// Says who is logged in.
pub(crate) async fn show(place: &Place, output: &Output) -> Result<(), Failure> {
    let me = who(&place.client()?).await?;
    output.show(&me, |me| {
        let scopes = me.scopes.iter().cloned().map(String::from);
        let scopes = scopes.collect::<Vec<_>>().join(" ");
        format!("{}, who may at most: {scopes}", me.name)
    });
    Ok(())
}

/// Who is logged in.
pub(crate) async fn who(client: &Client) -> Result<Me, Failure> {
    client.get("/api/v1/me").await
}
