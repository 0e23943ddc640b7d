//! Answers a registry's challenge (RFC 6750, RFC 7617, Docker's token authentication).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::registry::{Access, Credentials, read, unreachable};
use crate::engine::Error;
use crate::engine::image::Reference;

/// A token document may not be larger.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// A challenge may not have more parameters.
const MAX_PARAMETERS: usize = 16;

#[derive(Deserialize)]
struct Granted {
    token: Option<String>,
    access_token: Option<String>,
}

/// The value of the `Authorization` header that the challenge asks for.
pub(super) async fn answer(
    client: &reqwest::Client,
    access: &Access,
    from: &Reference,
    challenge: &str,
) -> Result<String, Error> {
    let refused = || Error::Unauthorised {
        host: from.host.clone(),
        repository: from.repository.clone(),
    };
    let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return access.credentials.as_ref().map(basic).ok_or_else(refused);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refused());
    }
    let parameters = parameters(rest);
    let find = |name: &str| {
        parameters
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    };
    let realm = find("realm").ok_or_else(refused)?;
    // Credentials must not leave in clear text because a registry, or who plays one, says so.
    if !realm.starts_with("https://") && !access.plain_http {
        return Err(refused());
    }
    let scope = format!("repository:{}:pull", from.repository);
    let mut query = vec![("scope", find("scope").unwrap_or(&scope))];
    query.extend(find("service").map(|service| ("service", service)));
    let address = reqwest::Url::parse_with_params(realm, &query).map_err(|_| refused())?;
    let mut request = client.get(address);
    if let Some(credentials) = &access.credentials {
        request = request.header(reqwest::header::AUTHORIZATION, basic(credentials));
    }
    let mut response = request
        .send()
        .await
        .map_err(|error| unreachable(&from.host, &error))?;
    if !response.status().is_success() {
        return Err(refused());
    }
    let bytes = read(&mut response, MAX_TOKEN_BYTES, &from.host).await?;
    let granted: Granted = serde_json::from_slice(&bytes).map_err(|_| refused())?;
    let token = granted.token.or(granted.access_token).ok_or_else(refused)?;
    Ok(format!("Bearer {token}"))
}

fn basic(credentials: &Credentials) -> String {
    let pair = format!("{}:{}", credentials.user, credentials.password);
    format!("Basic {}", STANDARD.encode(pair))
}

/// `key="value", key=value`, with `\"` inside quotes.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while found.len() < MAX_PARAMETERS {
        let Some((key, after)) = rest.split_once('=') else {
            break;
        };
        let (value, next) = value(after);
        found.push((key.trim_matches([' ', ',']).to_owned(), value));
        rest = next;
    }
    found
}

fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_with_its_quotes_and_commas() {
        let text = r#"realm="https://auth.example/token",service=registry, scope="repository:a/b:pull,push",x="a\"b""#;
        let expected = [
            ("realm", "https://auth.example/token"),
            ("service", "registry"),
            ("scope", "repository:a/b:pull,push"),
            ("x", "a\"b"),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        assert_eq!(parameters(text), expected);
    }

    #[test]
    fn a_broken_challenge_yields_what_there_is_of_it() {
        for text in ["", "=", "a", "a=\"", "a=\"\\", ",,,=,,="] {
            assert!(parameters(text).len() <= 2, "{text}");
        }
    }
}
