//! `cargo xtask bench`: figures beside those of a peer, in one table.
//!
//! A benchmark is a bench target named `figures` (`benches/figures.rs`, `harness = false`) of a crate below.
//! For each figure it prints one line of JSON to stdout; any other line is shown as it is:
//!
//! ```json
//! {"name": "replace a running service", "unit": "ms", "ours": 38.2, "peer": 341.0, "peer_name": "Docker API", "budget_ratio": 0.15}
//! {"name": "flash", "unit": "B", "ours": 28868, "budget": 36864}
//! ```
//!
//! `name`, `unit` and `ours` must be there. Less is better: `budget` bounds `ours`, `budget_ratio` bounds `ours / peer`.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use cargo_metadata::Metadata;
use serde_json::Value;

use crate::{process, workspace};

const HELP: &str = "\
Runs benchmarks, prints one Markdown table (ours, a peer's, the ratio, the budget), and writes it to target/bench.md.

Usage: cargo xtask bench [name]

Without a name all are run. How a benchmark is written stands in xtask/src/bench.rs.";

/// The name of a bench target that prints rows.
const TARGET: &str = "figures";

/// What can be asked for, and the packages that have the figures.
const BENCHES: &[(&str, &[&str])] = &[
    ("core", &["lightship-core"]),
    (
        "transports",
        &[
            "lightship-link",
            "lightship-mqtt",
            "lightship-https",
            "lightship-serial",
        ],
    ),
    ("wireguard", &["lightship-wireguard"]),
    ("linux", &["lightshipd", "lightship-hil"]),
    (
        "fleet",
        &["lightship-director", "lightship-fleet", "lightship"],
    ),
    ("mcu", &["lightship-mcu", "lightship-image"]),
];

/// Packages whose figures are of programs that were built before: their own speed does not matter.
const WEIGHS_OTHERS: &[&str] = &["lightship-hil"];

/// One figure.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    unit: String,
    ours: f64,
    peer: Option<f64>,
    peer_name: Option<String>,
    budget: Option<f64>,
    budget_ratio: Option<f64>,
}

/// Runs the command.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let chosen: Vec<_> = match words {
        [] => BENCHES.iter().collect(),
        [word] if word == "--help" || word == "-h" => {
            println!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        [name] => BENCHES.iter().filter(|(known, _)| known == name).collect(),
        _ => bail!("name one benchmark or none\n\n{HELP}"),
    };
    if chosen.is_empty() {
        let names: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
        bail!(
            "there is no such benchmark; there are: {}",
            names.join(", ")
        );
    }
    let root = workspace::root();
    let metadata = workspace::metadata(&root)?;
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for package in chosen.into_iter().flat_map(|(_, packages)| *packages) {
        if has_figures(&metadata, package) {
            let mut command =
                process::cargo(&root, ["bench", "--package", package, "--bench", TARGET]);
            if WEIGHS_OTHERS.contains(package) {
                command.args(["--profile", "dev"]);
            }
            // The others' figures are wanted all the same.
            if let Err(error) = process::stream(command, |line| rows.push(line.to_owned())) {
                println!("{package}: {error:#}");
                failed.push(*package);
            }
        } else {
            println!("{package} has no bench target `{TARGET}`");
        }
    }
    let lines = rows.iter().filter(|line| line.starts_with('{'));
    let rows = lines
        .map(|line| parse(line))
        .collect::<Result<Vec<Row>>>()?;
    let table = table(&rows);
    print!("\n{table}");
    let path = root.join("target/bench.md");
    std::fs::write(&path, table)
        .with_context(|| format!("`{}` cannot be written", path.display()))?;
    if !failed.is_empty() {
        bail!("no figures of {}", failed.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

fn has_figures(metadata: &Metadata, package: &str) -> bool {
    let package = metadata.packages.iter().find(|known| known.name == package);
    package.is_some_and(|package| {
        let mut targets = package.targets.iter();
        targets.any(|target| target.is_bench() && target.name == TARGET)
    })
}

fn parse(line: &str) -> Result<Row> {
    let value: Value = serde_json::from_str(line).with_context(|| format!("not a row: {line}"))?;
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    Ok(Row {
        name: text("name").with_context(|| format!("no name: {line}"))?,
        unit: text("unit").with_context(|| format!("no unit: {line}"))?,
        ours: value["ours"]
            .as_f64()
            .with_context(|| format!("no figure: {line}"))?,
        peer: value["peer"].as_f64(),
        peer_name: text("peer_name"),
        budget: value["budget"].as_f64(),
        budget_ratio: value["budget_ratio"].as_f64(),
    })
}

fn table(rows: &[Row]) -> String {
    let mut table =
        "| name | ours | peer | ratio | budget |\n|---|---:|---:|---:|---:|\n".to_owned();
    for row in rows {
        let unit = &row.unit;
        let ratio = row
            .peer
            .filter(|peer| *peer > 0.0)
            .map(|peer| row.ours / peer);
        let peer = row.peer.map(|peer| {
            let name = row.peer_name.as_deref().unwrap_or("peer");
            format!("{} {unit} ({name})", number(peer))
        });
        table += &format!(
            "| {} | {} {unit} | {} | {} | {} |\n",
            row.name,
            number(row.ours),
            peer.unwrap_or_default(),
            ratio.map(number).unwrap_or_default(),
            budget(row, ratio),
        );
    }
    table
}

fn budget(row: &Row, ratio: Option<f64>) -> String {
    let verdict = |is_kept: bool| if is_kept { "" } else { " **over**" };
    match (row.budget, row.budget_ratio, ratio) {
        (Some(budget), _, _) => {
            format!(
                "{} {}{}",
                number(budget),
                row.unit,
                verdict(row.ours <= budget)
            )
        }
        (None, Some(budget), Some(ratio)) => {
            format!("{} x{}", number(budget), verdict(ratio <= budget))
        }
        (None, Some(budget), None) => format!("{} x, no peer to compare with", number(budget)),
        (None, None, _) => String::new(),
    }
}

/// Three figures that matter, and no tail of zeros.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 | 100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_one_table() {
        let rows = [
            r#"{"name":"replace","unit":"ms","ours":34.1,"peer":341,"peer_name":"Docker","budget_ratio":0.15}"#,
            r#"{"name":"slow","unit":"ms","ours":100,"peer":200,"budget_ratio":0.15}"#,
            r#"{"name":"flash","unit":"B","ours":28868,"budget":36864}"#,
            r#"{"name":"alone","unit":"s","ours":0.25,"budget_ratio":0.15}"#,
        ];
        let rows: Vec<Row> = rows.iter().map(|row| parse(row).expect("a row")).collect();
        let expected = "\
| name | ours | peer | ratio | budget |
|---|---:|---:|---:|---:|
| replace | 34.1 ms | 341 ms (Docker) | 0.1 | 0.15 x |
| slow | 100 ms | 200 ms (peer) | 0.5 | 0.15 x **over** |
| flash | 28868 B |  |  | 36864 B |
| alone | 0.25 s |  |  | 0.15 x, no peer to compare with |
";
        assert_eq!(table(&rows), expected);
    }

    #[test]
    fn a_row_without_a_figure_is_an_error() {
        assert!(parse(r#"{"name":"x","unit":"ms"}"#).is_err());
        assert!(parse("{").is_err());
    }

    #[test]
    fn an_unknown_benchmark_is_an_error_that_names_the_known_ones() {
        let error = run(&["no-such".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("wireguard"), "{error}");
    }
}
