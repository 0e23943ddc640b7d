//! Whether the server can be reached, and whether it is the one that the configuration means.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::tls::TlsInfo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::Finding;
use crate::daemon::Config;

/// A server that has not answered after so long does not.
const PATIENCE: Duration = Duration::from_secs(10);
/// A certificate that ends so soon should have been replaced by now.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Name, connection, certificate.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let (place, is_tls) = place(&config.server);
    let addresses: Vec<_> = match timeout(PATIENCE, lookup_host(place.clone())).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return vec![unknown(&place, &error.to_string())],
        Err(_) => return vec![unknown(&place, "no name server answers")],
    };
    let Some(first) = addresses.first() else {
        return vec![unknown(&place, "the name has no address")];
    };
    let mut findings = vec![Finding::good("name", format!("{place} is {first}"))];
    match timeout(PATIENCE, TcpStream::connect(&addresses[..])).await {
        Ok(Ok(_)) => findings.push(Finding::good("server", "accepts connections")),
        Ok(Err(error)) => {
            findings.push(unreachable(&place, &error.to_string()));
            return findings;
        }
        Err(_) => {
            findings.push(unreachable(&place, "nobody answers"));
            return findings;
        }
    }
    if is_tls {
        findings.push(certificate(config).await);
    } else {
        let advice = "use https: over plain http anybody on the way reads the provisioning key";
        findings.push(Finding::warning(
            "certificate",
            "the server is spoken to without TLS",
            advice,
        ));
    }
    findings
}

fn unknown(place: &str, why: &str) -> Finding {
    let advice = "check `server` in the configuration and the name servers in /etc/resolv.conf";
    Finding::bad("name", format!("{place} cannot be found: {why}"), advice)
}

fn unreachable(place: &str, why: &str) -> Finding {
    let advice = "check the network, that the server runs, and that no firewall is between";
    Finding::bad("server", format!("{place}: {why}"), advice)
}

/// Host and port, and whether TLS is spoken.
fn place(url: &str) -> (String, bool) {
    let is_tls = url.starts_with("https://");
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = if is_tls { 443 } else { 80 };
    let place = if has_port {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    (place, is_tls)
}

async fn certificate(config: &Config) -> Finding {
    let bad = |found: String| {
        let advice = "check `authority` in the configuration, or copy it again from `lightship config`; and check the clock";
        Finding::bad("certificate", found, advice)
    };
    let builder = reqwest::Client::builder().timeout(PATIENCE).tls_info(true);
    let builder = match reqwest::Certificate::from_pem_bundle(&config.authorities) {
        Ok(authorities) => builder.tls_certs_only(authorities),
        Err(error) => return bad(words(&error)),
    };
    let client = match builder.build() {
        Ok(client) => client,
        Err(error) => return bad(words(&error)),
    };
    let response = match client.get(&config.server).send().await {
        Ok(response) => response,
        Err(error) => return bad(words(&error)),
    };
    let info = response.extensions().get::<TlsInfo>();
    let end = info.and_then(TlsInfo::peer_certificate).and_then(not_after);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    match end {
        Some(end) if end < now + SOON.as_secs() => {
            let found = format!("ends in {} days", end.saturating_sub(now) / 86_400);
            Finding::warning(
                "certificate",
                found,
                "replace the server's certificate before it ends",
            )
        }
        Some(end) => Finding::good(
            "certificate",
            format!("is the authority's, for {} more days", (end - now) / 86_400),
        ),
        None => Finding::good("certificate", "is the authority's"),
    }
}

/// An error with what lies below it.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(below) = source {
        text = format!("{text}: {below}");
        source = below.source();
    }
    text
}

/// When a certificate ends, in seconds since 1970 (RFC 5280, section 4.1.2.5); nothing when that is not found.
fn not_after(der: &[u8]) -> Option<u64> {
    let (_, certificate, _) = element(der)?;
    let (_, mut fields, _) = element(certificate)?;
    let (tag, _, rest) = element(fields)?;
    if tag == 0xa0 {
        fields = rest;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (_, validity, _) = element(fields)?;
    let (_, _, validity) = element(validity)?;
    let (tag, time, _) = element(validity)?;
    seconds(tag, std::str::from_utf8(time).ok()?)
}

/// Tag, content and what follows of a DER element (X.690).
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let (digits, after) = rest
            .split_at_checked(usize::from(first & 0x7f))
            .filter(|(digits, _)| digits.len() <= 4)?;
        rest = after;
        digits
            .iter()
            .fold(0, |length, digit| length << 8 | usize::from(*digit))
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ` (UTCTime) or `YYYYMMDDHHMMSSZ` (GeneralizedTime).
fn seconds(tag: u8, text: &str) -> Option<u64> {
    let text = if tag == 0x17 {
        let century = if text.get(..2)?.parse::<u8>().ok()? < 50 {
            "20"
        } else {
            "19"
        };
        format!("{century}{text}")
    } else {
        text.to_owned()
    };
    let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    // Days since 1970 of a date (Howard Hinnant, chrono-compatible low-level date algorithms).
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let seconds = days * 86_400 + number(8..10)? * 3600 + number(10..12)? * 60 + number(12..14)?;
    u64::try_from(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_host_and_port() {
        assert_eq!(
            place("https://a.example"),
            ("a.example:443".to_owned(), true)
        );
        assert_eq!(
            place("http://a.example:8080/"),
            ("a.example:8080".to_owned(), false)
        );
        assert_eq!(place("https://[::1]:8443"), ("[::1]:8443".to_owned(), true));
    }

    #[test]
    fn the_times_of_certificates_are_read() {
        assert_eq!(seconds(0x17, "700101000000Z"), Some(0));
        assert_eq!(seconds(0x17, "241231235959Z"), Some(1_735_689_599));
        assert_eq!(seconds(0x18, "20991231235959Z"), Some(4_102_444_799));
        assert_eq!(seconds(0x17, "x"), None);
        assert_eq!(not_after(&[0x30, 0x82]), None);
    }
}
