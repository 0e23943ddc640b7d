use expect_test::expect;

use super::*;

fn problems(text: &str) -> String {
    Dockerfile::read("Dockerfile", text)
        .unwrap_err()
        .to_string()
}

#[test]
fn every_error_is_named_with_its_line_and_column() {
    let text = r#"COPY early /
FROM scratch AS Base!
FORM alpine
WORKDIR
  COPY only-one
ENV A
EXPOSE 80 http 99999
CMD ['sh']
COPY --form=x a b
COPY --chmod=99999 a b
HEALTHCHECK --intervall=1s CMD true
HEALTHCHECK --interval=soon \
  # a comment inside
  --retries=x \
  CMD true
ENV A=1 \
    B="x
LABEL a=${b
FROM a b c
COPY https://example.org/a /a
SHELL sh -c
FROM scratch AS twice
FROM scratch AS twice
COPY <<EOF /a
never ends
"#;
    expect![[r#"
        Dockerfile:1:1: COPY: stands before FROM; only ARG may
        Dockerfile:2:6: FROM: "base!" is not a name for a stage; use letters, digits, - _ and ., starting with a letter
        Dockerfile:3:1: unknown instruction "FORM"; did you mean FROM?
        Dockerfile:4:1: WORKDIR: has no arguments
        Dockerfile:5:8: COPY: expected what to copy and where to"#]].assert_eq(&problems(text).lines().take(5).collect::<Vec<_>>().join("\n"));
    expect![[r#"
        Dockerfile:6:5: ENV: "A" has no value; write name=value
        Dockerfile:7:11: EXPOSE: expected a port such as 80 or 53/udp, found "http"
        Dockerfile:7:16: EXPOSE: expected a port such as 80 or 53/udp, found "99999"
        Dockerfile:8:5: CMD: is not a list of texts; write ["program", "argument"] with double quotes
        Dockerfile:9:6: COPY: unknown option --form; did you mean --from?
        Dockerfile:10:6: COPY: --chmod needs permission bits such as 755
        Dockerfile:11:13: HEALTHCHECK: unknown option --intervall; did you mean --interval?
        Dockerfile:12:13: HEALTHCHECK: --interval needs a duration such as 30s or 1m30s
        Dockerfile:14:3: HEALTHCHECK: --retries needs a number
        Dockerfile:17:7: ENV: a quote " that is never closed
        Dockerfile:18:7: LABEL: ${ without its }
        Dockerfile:19:6: FROM: expected an image, or an image AS name
        Dockerfile:20:6: COPY: "https://example.org/a" is not in the context; use ADD for what is remote
        Dockerfile:21:7: SHELL: is not a list; write SHELL ["program", "argument"]
        Dockerfile:23:6: FROM: there are two stages "twice"
        Dockerfile:24:6: COPY: the text of <<EOF does not end; end it with a line EOF"#]].assert_eq(
        &problems(text)
            .lines()
            .skip(5)
            .collect::<Vec<_>>()
            .join("\n"),
    );
}

#[test]
fn a_whole_dockerfile_is_read() {
    let text = r#"# syntax=docker/dockerfile:1
ARG BASE=alpine:3
FROM --platform=$BUILDPLATFORM $BASE AS build
RUN <<EOF
echo not an instruction: FROM x
EOF
FROM scratch
COPY --from=build --chown=1:2 --chmod=755 /a /b/ /c/
COPY ["with blank", "/to here/"]
COPY <<one.txt <<"two" /texts/
hello $NAME
one.txt
second
two
ENV OLD a b  c
env A="x y" B=2
HEALTHCHECK --interval=1m30s --retries=2 CMD ["/a", "-t"]
ENTRYPOINT ["/a"]
CMD echo $HOME
"#;
    let read = Dockerfile::read("Dockerfile", text).unwrap();
    assert_eq!(read.engine_work(1).len(), 1);
    assert_eq!(read.needed(1), [0, 1].into());
    let copied: Vec<_> = read.stages[1]
        .steps
        .iter()
        .map(|step| &step.instruction)
        .collect();
    assert!(
        matches!(copied[2], Instruction::Copy(c) if c.inline.len() == 2
        && c.inline[0].expand && !c.inline[1].expand && c.inline[1].text == "second\n")
    );
    assert_eq!(
        *copied[3],
        Instruction::Env(vec![("OLD".into(), "a b  c".into())])
    );
}

#[test]
fn stages_that_are_not_needed_ask_for_no_engine() {
    let text = "FROM alpine AS tests\nRUN make test\nFROM scratch AS out\nCOPY a /a\n";
    let read = Dockerfile::read("Dockerfile", text).unwrap();
    assert!(read.engine_work(1).is_empty());
    assert_eq!(read.stage(Some("TESTS")), Some(0));
    assert_eq!(read.stage(Some("none")), None);
}
