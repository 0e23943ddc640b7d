//! How many connections the limit of open files allows: where there are more, nothing can be accepted or opened
//! any more, the database included. So what peers can cause stays below it.

use rustix::process::{Resource, getrlimit};

use crate::config::Config;

/// Files that are no connections of peers: of the database, blobs, builds, the hub.
const OTHERS: usize = 128;
/// The part of the rest that people and devices have over HTTP; MQTT has the others, for devices stay connected.
const HTTP: usize = 4;
/// As many as this at least, however few files there are.
const FEWEST: usize = 8;

/// Lowers the configured bounds to what this process may open.
pub(crate) fn fit(config: &mut Config) {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let (http, mqtt) = bounds(config, files);
    if mqtt < config.mqtt.max_clients {
        tracing::warn!(
            files,
            http,
            mqtt,
            "fewer connections than configured, for this process may not open more files: raise it with `ulimit -n` or LimitNOFILE="
        );
    }
    (config.limits.connections, config.mqtt.max_clients) = (http, mqtt);
}

/// Connections over HTTP and over MQTT.
fn bounds(config: &Config, files: usize) -> (usize, usize) {
    let left = files.saturating_sub(OTHERS);
    let http = config.limits.connections.min((left / HTTP).max(FEWEST));
    // What comes through TLS or a tunnel is carried on to the broker.
    let each = match (config.mqtt.tls_listen, config.tunnel.listen) {
        (Some(_), _) => 3,
        (None, Some(_)) => 2,
        (None, None) => 1,
    };
    let mqtt = (left.saturating_sub(http) / each).max(FEWEST);
    (http, config.mqtt.max_clients.min(mqtt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_stay_below_the_limit_of_open_files_and_below_what_is_configured() {
        let mut config = Config::default();
        assert_eq!(bounds(&config, 1 << 20), (20_000, 20_000));
        assert_eq!(bounds(&config, 1024), (224, 672));
        assert_eq!(bounds(&config, 64), (FEWEST, FEWEST));
        config.tunnel.listen = Some(([127, 0, 0, 1], 1).into());
        assert_eq!(bounds(&config, 1024), (224, 336));
        config.limits.connections = 96;
        assert_eq!(bounds(&config, 1024), (96, 400));
    }
}
