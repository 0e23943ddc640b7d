//! Every field of a service, given what it cannot be: one problem, which says where and what would be right.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use lightship_spec::compose::{Input, NoFiles, read};

/// A field and values that it cannot have; of the whole of each, one thing is wrong.
const WRONG: &[(&str, &[&str])] = &[
    ("build", &["[a]", "{ context: [a] }", "{ contxt: a }"]),
    ("cap_add", &["NET_ADMIN", "[FLY]", "[[NET_ADMIN]]"]),
    ("cap_drop", &["{ a: b }", "[FLY]"]),
    ("command", &["{ a: b }", "[[a]]"]),
    ("cpu_period", &["often", "[1]"]),
    ("cpu_quota", &["much", "[1]"]),
    ("cpu_shares", &["-1", "many"]),
    ("cpus", &["-1", "all", "[1]"]),
    ("cpuset", &["first", "[[0]]"]),
    (
        "depends_on",
        &[
            "[absent]",
            "{ absent: { condition: service_started } }",
            "3",
        ],
    ),
    (
        "deploy",
        &[
            "[a]",
            "{ resources: { limits: { cpus: all } } }",
            "{ replicas: 3 }",
        ],
    ),
    (
        "device_cgroup_rules",
        &["[\"x 1:2 rwm\"]", "[\"c 1 rwm\"]", "c"],
    ),
    ("devices", &["[i2c]", "[\"/dev/a:/dev/b:x\"]", "{ a: b }"]),
    ("dns", &["one.example", "[[1.1.1.1]]"]),
    ("dns_opt", &["[\"a b\"]", "[\"ndots:x\"]", "[[a]]"]),
    ("dns_search", &["\"a b\"", "[[a]]"]),
    ("domainname", &["plant.example", "[a]"]),
    ("entrypoint", &["{ a: b }", "[[a]]"]),
    ("env_file", &["absent.env", "[[a]]"]),
    ("environment", &["[\"B C=2\"]", "[[a]]", "3"]),
    ("expose", &["[http]", "[0]", "[[80]]"]),
    ("extra_hosts", &["[nowhere]", "[\"a:b:c d\"]", "3"]),
    ("group_add", &["{ a: b }", "[[a]]"]),
    (
        "healthcheck",
        &[
            "[a]",
            "{ test: [RUN, x] }",
            "{ test: a, interval: soon }",
            "{ test: a, retires: 3 }",
        ],
    ),
    ("hostname", &["\"a b\"", "[a]"]),
    ("image", &["Web:latest", "[a]"]),
    ("init", &["maybe", "[true]"]),
    ("ipc", &["shared", "[host]"]),
    (
        "labels",
        &["[[a]]", "3", "{ io.balena.update.strategy: hope }"],
    ),
    (
        "logging",
        &[
            "json-file",
            "{ driver: syslog }",
            "{ options: { max-size: lots } }",
        ],
    ),
    ("mem_limit", &["lots", "[1]"]),
    ("mem_reservation", &["lots", "[1]"]),
    ("memswap_limit", &["lots", "[1]"]),
    (
        "network_mode",
        &["container:web", "service:absent", "[host]"],
    ),
    ("networks", &["[absent]", "3"]),
    ("oom_score_adj", &["2000", "low"]),
    ("pid", &["container:web", "[host]"]),
    ("pids_limit", &["many", "[1]"]),
    (
        "ports",
        &["[\"80:http\"]", "[70000]", "80", "[{ target: http }]"],
    ),
    ("privileged", &["maybe", "[true]"]),
    ("profiles", &["debug", "[[a]]"]),
    ("read_only", &["maybe", "[true]"]),
    ("restart", &["sometimes", "\"on-failure:x\"", "[always]"]),
    ("scale", &["3", "[1]"]),
    ("secrets", &["[absent]", "3"]),
    ("configs", &["[absent]", "3"]),
    (
        "security_opt",
        &["[\"seccomp=profile.json\"]", "seccomp", "[[a]]"],
    ),
    ("shm_size", &["lots", "[1]"]),
    ("stdin_open", &["maybe", "[true]"]),
    ("stop_grace_period", &["soon", "[1]"]),
    ("stop_signal", &["SIGNOPE", "[9]"]),
    ("sysctls", &["{ vm.swappiness: 1 }", "3", "[[a]]"]),
    ("tmpfs", &["\"tmp\"", "[[a]]"]),
    ("tty", &["maybe", "[true]"]),
    (
        "ulimits",
        &["{ nofiles: 3 }", "{ nproc: { soft: 9, hard: 1 } }", "[a]"],
    ),
    ("user", &["\"a b\"", "[a]"]),
    ("userns_mode", &["private", "[host]"]),
    ("uts", &["private", "[host]"]),
    (
        "volumes",
        &[
            "[\"absent:/data\"]",
            "[\"data\"]",
            "3",
            "[{ type: npipe, target: /x }]",
        ],
    ),
    ("working_dir", &["srv", "[a]"]),
    (
        "x-lightship",
        &[
            "[a]",
            "{ kind: thing }",
            "{ features: [fly] }",
            "{ strategy: hope }",
        ],
    ),
];

fn problems(text: &str) -> Vec<String> {
    let (variables, profiles) = (BTreeMap::new(), BTreeSet::new());
    let input = Input {
        file: "compose.yaml",
        text,
        name: "sample",
        variables: &variables,
        profiles: &profiles,
        files: &NoFiles,
    };
    match read(&input) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.to_string().lines().map(str::to_owned).collect(),
    }
}

/// What is not as it should be about what is said of a wrong value; nothing when all is.
fn amiss(field: &str, value: &str) -> Option<String> {
    let image = match field {
        "image" | "build" => "",
        _ => "    image: a/b:1\n",
    };
    let found = problems(&format!("services:\n  web:\n    {field}: {value}\n{image}"));
    let [line] = &found[..] else {
        return Some(format!("{} problems: {found:?}", found.len()));
    };
    let told = line.strip_prefix("compose.yaml:3:").and_then(|rest| {
        let (_, told) = rest.split_once(&format!(": services.web.{field}"))?;
        Some(told.contains("expected ") || told.contains("; ") || told.contains("there is no"))
    });
    (told != Some(true)).then(|| line.clone())
}

#[test]
fn a_field_with_a_wrong_value_is_one_problem_that_says_where_and_what_would_be_right() {
    let mut wrong = Vec::new();
    for (field, values) in WRONG {
        for value in *values {
            let amiss = amiss(field, value);
            wrong.extend(amiss.map(|what| format!("{field}: {value}: {what}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the accepted samples use is tried with wrong values too.
#[test]
fn no_field_is_left_out_of_these() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/accepted");
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() != Some("yaml".as_ref()) {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let services = text.split("services:\n").nth(1).unwrap_or_default();
        let services = services.split("\nvolumes:").next().unwrap_or_default();
        let fields = services.lines().filter_map(|line| {
            let field = line
                .strip_prefix("    ")
                .filter(|field| !field.starts_with([' ', '-', '#', '<']))?;
            // Extensions of others are nobody's business.
            let field = field.split_once(':')?.0;
            (field == "x-lightship" || !field.starts_with("x-")).then(|| field.to_owned())
        });
        seen.extend(fields);
    }
    assert!(seen.len() > 30, "{seen:?}");
    let tried: BTreeSet<String> = WRONG.iter().map(|(field, _)| (*field).to_owned()).collect();
    let left: Vec<_> = seen.difference(&tried).collect();
    assert!(left.is_empty(), "no wrong value is tried for {left:?}");
}
