//! How often to say that one is there, for a given number of bytes.

use crate::limits::{KEEP_ALIVE_LONGEST_S, KEEP_ALIVE_SHORTEST_S};

/// Seconds of a month of 30 days.
const MONTH_S: u32 = 30 * 24 * 3600;
/// A ping, its answer and the acknowledgement of that: three segments of TCP over IPv4 (40 bytes of headers each) with 2 bytes of MQTT in two of them.
const EXCHANGE_BYTES: u32 = 3 * 40 + 2 * 2;
/// Segments of one exchange, each of which carries the overhead of what is underneath.
const EXCHANGE_SEGMENTS: u32 = 3;

/// The keep-alive, in seconds, whose pings cost about `bytes_per_month`.
///
/// `overhead` is what every packet costs besides TCP/IP: 60 to 75 bytes in a WireGuard tunnel, about 29 in TLS, nothing on a plain connection.
/// The result lies between [`KEEP_ALIVE_SHORTEST_S`] and [`KEEP_ALIVE_LONGEST_S`].
pub const fn keep_alive_s(bytes_per_month: u32, overhead: u16) -> u16 {
    let exchange = EXCHANGE_BYTES + EXCHANGE_SEGMENTS * overhead as u32;
    let exchanges = bytes_per_month / exchange;
    if exchanges == 0 {
        return KEEP_ALIVE_LONGEST_S;
    }
    let seconds = MONTH_S.div_ceil(exchanges);
    if seconds < KEEP_ALIVE_SHORTEST_S as u32 {
        KEEP_ALIVE_SHORTEST_S
    } else if seconds > KEEP_ALIVE_LONGEST_S as u32 {
        KEEP_ALIVE_LONGEST_S
    } else {
        seconds as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_megabyte_a_month_in_the_tunnel_is_a_ping_in_a_quarter_of_an_hour() {
        assert_eq!(keep_alive_s(1_000_000, 75), 905);
    }

    #[test]
    fn no_budget_asks_for_more_or_less_than_routers_and_radios_allow() {
        assert_eq!(keep_alive_s(0, 0), KEEP_ALIVE_LONGEST_S);
        assert_eq!(keep_alive_s(1, u16::MAX), KEEP_ALIVE_LONGEST_S);
        assert_eq!(keep_alive_s(u32::MAX, 0), KEEP_ALIVE_SHORTEST_S);
    }

    #[test]
    fn the_budget_is_kept() {
        for budget in [500_000, 1_000_000, 5_000_000] {
            let pings = u64::from(MONTH_S) / u64::from(keep_alive_s(budget, 75));
            let bytes = pings * u64::from(EXCHANGE_BYTES + 3 * 75);
            assert!(bytes <= u64::from(budget), "{bytes} of {budget}");
        }
    }
}
