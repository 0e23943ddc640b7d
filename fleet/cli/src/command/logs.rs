//! `lightship logs`.

use clap::Args;
use futures_util::StreamExt as _;
use lightship_api::{LogLine, LogStream};
use reqwest::Method;

use super::device::Devices;
use crate::failure::{Code, Failure};
use crate::output::Output;
use crate::place::Place;

/// Longest event that is put together from pieces.
const EVENT_BYTES: usize = 1 << 20;

/// Log lines of a device.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Its uuid, the beginning of it, or its name.
    device: String,
    /// Of this service alone.
    #[arg(long)]
    service: Option<String>,
    /// How many of the last lines.
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: u32,
    /// Go on with lines as they come.
    #[arg(short, long)]
    follow: bool,
}

pub(crate) async fn run(logs: Logs, place: &Place, output: &Output) -> Result<(), Failure> {
    let client = place.client()?;
    let devices = Devices::of(place, &client).await?;
    let device = devices.find(&logs.device).await?;
    let service = logs
        .service
        .map(|service| format!("&service={service}"))
        .unwrap_or_default();
    let path = format!(
        "{}/logs?limit={}&follow={}{service}",
        devices.path(&device.uuid),
        logs.lines,
        logs.follow
    );
    if !logs.follow {
        let lines: Vec<LogLine> = client.get(&path).await?;
        lines.iter().for_each(|line| output.stream(line, written));
        return Ok(());
    }
    let response = client.send(client.request(Method::GET, &path)).await?;
    let mut pieces = response.bytes_stream();
    let mut events = Events::default();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| {
            Failure::new(Code::Unreachable, format!("the stream broke off: {error}"))
        })?;
        for data in events.take(&piece)? {
            let line: LogLine = serde_json::from_str(&data).map_err(|error| {
                Failure::new(
                    Code::Failed,
                    format!("the server's answer is not understood: {error}"),
                )
            })?;
            output.stream(&line, written);
        }
    }
    Err(
        Failure::new(Code::Unreachable, "the server ended the stream")
            .help("run the command again to go on"),
    )
}

fn written(line: &LogLine) -> String {
    let mark = match line.stream {
        LogStream::Out => ' ',
        LogStream::Err => '!',
    };
    // A device may write anything; a terminal must not obey it.
    let text: String = line
        .line
        .chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    format!("{} {}{mark} {text}", line.at, line.service)
}

/// Puts server-sent events together from pieces (WHATWG HTML, section 9.2).
#[derive(Default)]
pub(crate) struct Events(Vec<u8>);

impl Events {
    /// The data of the events that end in this piece.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<Vec<String>, Failure> {
        self.0.extend_from_slice(piece);
        let mut all = Vec::new();
        while let Some(end) = self.0.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = self.0.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event);
            let data = event.lines().filter_map(|line| line.strip_prefix("data:"));
            let data: Vec<&str> = data
                .map(|data| data.strip_prefix(' ').unwrap_or(data))
                .collect();
            if !data.is_empty() {
                all.push(data.join("\n"));
            }
        }
        if self.0.len() > EVENT_BYTES {
            return Err(Failure::new(
                Code::Failed,
                "the server sent an event that does not end",
            ));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_together_however_they_are_cut() {
        let whole = b": hello\n\nevent: line\ndata: {\"a\":\ndata: 1}\n\ndata:2\n\n";
        for cut in 0..whole.len() {
            let mut events = Events::default();
            let mut all = events.take(&whole[..cut]).unwrap();
            all.extend(events.take(&whole[cut..]).unwrap());
            assert_eq!(all, ["{\"a\":\n1}", "2"], "cut at {cut}");
        }
        let mut events = Events::default();
        assert!(events.take(&vec![b'x'; EVENT_BYTES + 1]).is_err());
    }
}
