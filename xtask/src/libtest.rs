//! Reads what Rust's test harness prints, as it is printed.
//!
//! The harness knows no skipping at run time, so the project has a convention:
//! a test that cannot run prints one line `SKIPPED: <why>` to stderr and returns.
//! With `--show-output` the harness shows that line, and it is counted here as skipped, not as passed.

use std::collections::BTreeSet;

/// What a line of a skipped test starts with.
const SKIPPED: &str = "SKIPPED:";

/// Counts over all test programs whose output was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that ran to their end.
    pub(crate) passed: usize,
    /// Tests that failed, each as `program: test`.
    pub(crate) failed: Vec<String>,
    /// Tests that did not run, each as `program: test: why`.
    pub(crate) skipped: Vec<String>,
}

/// Follows the output of `cargo test -- --show-output`, one line at a time.
#[derive(Default)]
pub(crate) struct Reader {
    tally: Tally,
    program: String,
    part: Part,
    /// Test whose captured output is being shown.
    shown: Option<String>,
    /// Tests of this program already counted as skipped.
    skipped_here: BTreeSet<String>,
    failed_here: Vec<String>,
    /// Tests were started and their result has not come yet.
    is_open: bool,
}

#[derive(Default, PartialEq, Eq)]
enum Part {
    #[default]
    Running,
    Successes,
    Failures,
}

impl Reader {
    /// Takes the next line of output.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(program) = program_of(line) {
            self.begin(program);
        } else if line.starts_with("running ") && self.shown.is_none() {
            self.is_open = true;
        } else if line == "successes:" {
            self.part = Part::Successes;
        } else if line == "failures:" {
            self.part = Part::Failures;
            self.shown = None;
        } else if let Some(test) = section_of(line) {
            self.shown = Some(test.to_owned());
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            self.end(counts);
        } else if let Some(why) = skip_of(line) {
            self.skip(why);
        } else if let Some(test) = failed_test_of(line) {
            self.failed_here.push(test.to_owned());
        }
    }

    /// The counts, once there is no more output.
    pub(crate) fn tally(mut self) -> Tally {
        self.close();
        self.tally
    }

    fn begin(&mut self, program: &str) {
        self.close();
        self.program = program.to_owned();
        self.part = Part::Running;
        self.shown = None;
        self.skipped_here.clear();
        self.failed_here.clear();
    }

    fn skip(&mut self, why: &str) {
        // A test that failed after all is a failure, whatever it printed before.
        if self.part == Part::Failures {
            return;
        }
        let test = match &self.shown {
            Some(test) => test.clone(),
            // It went around the harness's capture, and so does not say which test it was.
            None => format!("skip {}", self.skipped_here.len() + 1),
        };
        if self.skipped_here.insert(test.clone()) {
            let test = if self.shown.is_some() {
                format!("{test}: ")
            } else {
                String::new()
            };
            self.tally
                .skipped
                .push(format!("{}: {test}{why}", self.program));
        }
    }

    fn end(&mut self, counts: &str) {
        let passed = count(counts, "passed");
        let ignored = count(counts, "ignored");
        self.tally.passed += passed.saturating_sub(self.skipped_here.len());
        for _ in 0..ignored {
            self.tally
                .skipped
                .push(format!("{}: ignored by its author", self.program));
        }
        let failed = count(counts, "failed");
        for nth in 0..failed {
            let test = self.failed_here.get(nth).map_or("a test", String::as_str);
            self.tally.failed.push(format!("{}: {test}", self.program));
        }
        self.is_open = false;
        let program = std::mem::take(&mut self.program);
        self.begin(&program);
    }

    /// A program that was killed or aborted never printed its result.
    fn close(&mut self) {
        if self.is_open {
            self.is_open = false;
            self.tally
                .failed
                .push(format!("{}: died before its tests ended", self.program));
        }
    }
}

/// `Running tests/x.rs (target/..)` and `Doc-tests x` say which program comes next.
fn program_of(line: &str) -> Option<&str> {
    let line = line.strip_prefix("   ")?.trim_start();
    if let Some(rest) = line.strip_prefix("Running ") {
        // Two crates both have `unittests src/lib.rs`; the program's file name tells them apart.
        let (_, file) = rest.trim_end_matches(')').rsplit_once('/')?;
        return Some(file.rsplit_once('-').map_or(file, |(name, _hash)| name));
    }
    line.strip_prefix("Doc-tests ")
}

/// `---- some::test stdout ----` opens the captured output of a test.
fn section_of(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// The reason in a `SKIPPED: reason` line, also right behind `test some::test ... `.
fn skip_of(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("test ") {
        Some(rest) => rest.split_once(" ... ")?.1,
        None => line.trim_start(),
    };
    line.strip_prefix(SKIPPED).map(str::trim)
}

fn failed_test_of(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// The number before `word` in `ok. 3 passed; 0 failed; 1 ignored; ...`.
fn count(counts: &str, word: &str) -> usize {
    counts
        .split(['.', ';'])
        .filter_map(|part| part.trim().strip_suffix(word))
        .find_map(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> Tally {
        let mut reader = Reader::default();
        for line in output.lines() {
            reader.line(line);
        }
        reader.tally()
    }

    const PASSED: &str = "
     Running unittests src/lib.rs (target/debug/deps/lightship_core-0123456789abcdef)

running 2 tests
test one ... ok
test two ... ok

successes:

---- two stdout ----
SKIPPED: needs root

successes:
    one
    two

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn a_test_that_says_it_was_skipped_is_not_counted_as_passed() {
        let tally = read(PASSED);
        assert_eq!(tally.passed, 1);
        assert_eq!(tally.skipped, ["lightship_core: two: needs root"]);
        assert!(tally.failed.is_empty());
    }

    #[test]
    fn counts_of_several_programs_are_summed() {
        let doc = "
   Doc-tests lightship_core

running 3 tests
test core/src/lib.rs - (line 3) ... ok

test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s
";
        let tally = read(&format!("{PASSED}{doc}{PASSED}"));
        assert_eq!(tally.passed, 5);
        assert_eq!(tally.skipped.len(), 3);
        assert_eq!(tally.skipped[1], "lightship_core: ignored by its author");
    }

    #[test]
    fn a_failed_test_is_named_and_its_skip_line_does_not_hide_it() {
        let tally = read(
            "
     Running tests/cuts.rs (target/debug/deps/cuts-0123456789abcdef)

running 2 tests
test a ... FAILED
test b ... ok

successes:

successes:
    b

failures:

---- a stdout ----
SKIPPED: not really
thread 'a' panicked at tests/cuts.rs:1:1:

failures:
    a

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
",
        );
        assert_eq!(tally.passed, 1);
        assert_eq!(tally.failed, ["cuts: a"]);
        assert!(tally.skipped.is_empty());
    }

    #[test]
    fn a_skip_that_went_around_the_capture_is_counted_too() {
        let tally = read(
            "
     Running tests/net.rs (target/debug/deps/net-0123456789abcdef)

running 3 tests
SKIPPED: no network namespaces
test a ... ok
test b ... SKIPPED: no /dev/net/tun
ok
test c ... ok

test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
",
        );
        assert_eq!(tally.passed, 1);
        assert_eq!(
            tally.skipped,
            ["net: no network namespaces", "net: no /dev/net/tun"]
        );
    }

    #[test]
    fn a_program_that_died_is_one_failure() {
        let tally = read(
            "
     Running tests/abort.rs (target/debug/deps/abort-0123456789abcdef)

running 1 test
error: test failed, to rerun pass `-p x --test abort`
",
        );
        assert_eq!(tally.passed, 0);
        assert_eq!(tally.failed, ["abort: died before its tests ended"]);
    }
}
