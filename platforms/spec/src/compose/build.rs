//! `image` and `build`.

use std::collections::BTreeMap;

use super::environment;
use super::field::{Field, Fields};
use super::{Build, Dockerfile, Image, image, unsupported};
use crate::problem::Collector;

/// Where the image comes from. Of a service with both, `build` counts and `image` is only a name.
pub(crate) fn read(
    service: &Field<'_>,
    fields: &mut Fields<'_>,
    problems: &mut Collector<'_>,
) -> Option<Image> {
    let reference = fields.take("image").and_then(|field| {
        let expected = "an image such as redis:7 or registry.example/team/app";
        field.parsed(problems, expected, |text| {
            image::repository(text).map(|_| text)
        })
    });
    if let Some(build) = fields.take("build") {
        return read_build(&build, problems).map(Image::Build);
    }
    match reference {
        Some(reference) => Some(Image::Pull(reference.to_owned())),
        None => {
            if !problems.has(&format!("{}.image", service.path)) {
                service.wrong(problems, "has no image", "add image or build");
            }
            None
        }
    }
}

fn read_build(build: &Field<'_>, problems: &mut Collector<'_>) -> Option<Build> {
    let mut read = Build {
        context: ".".to_owned(),
        dockerfile: Dockerfile::File("Dockerfile".to_owned()),
        args: BTreeMap::new(),
        target: None,
        labels: BTreeMap::new(),
    };
    if build.raw_text().is_some() {
        read.context = inner_path(build, problems)?;
        return Some(read);
    }
    let mut fields = build.fields(problems)?;
    if let Some(context) = fields.take("context") {
        read.context = inner_path(&context, problems)?;
    }
    let file = fields.take("dockerfile");
    let inline = fields.take("dockerfile_inline");
    if let (Some(file), Some(_)) = (&file, &inline) {
        file.wrong(
            problems,
            "a build has one Dockerfile",
            "keep dockerfile or dockerfile_inline",
        );
    }
    if let Some(file) = file {
        read.dockerfile = Dockerfile::File(inner_path(&file, problems)?);
    } else if let Some(inline) = inline {
        read.dockerfile = Dockerfile::Inline(inline.text(problems)?.to_owned());
    }
    if let Some(args) = fields.take("args") {
        let pairs = environment::pairs(&args, problems);
        read.args = pairs
            .into_iter()
            .filter_map(|pair| Some((pair.name, pair.value?)))
            .collect();
    }
    read.target = fields
        .take("target")
        .and_then(|f| f.text(problems))
        .map(str::to_owned);
    if let Some(labels) = fields.take("labels") {
        let pairs = environment::pairs(&labels, problems);
        let text = |pair: environment::Pair<'_>| (pair.name, pair.value.unwrap_or_default());
        read.labels = pairs.into_iter().map(text).collect();
    }
    fields.finish(unsupported::BUILD, problems);
    Some(read)
}

/// A path inside the project: what is built is what was pushed.
fn inner_path(field: &Field<'_>, problems: &mut Collector<'_>) -> Option<String> {
    let text = field.text(problems)?;
    let mut parts: Vec<&str> = Vec::new();
    let leaves = text.starts_with('/') || text.contains("://") || text.starts_with("git@");
    let mut outside = leaves || text.is_empty();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => outside |= parts.pop().is_none(),
            part => parts.push(part),
        }
    }
    if outside {
        field.wrong(
            problems,
            format!("{text:?} is not inside the project"),
            "use a relative path without ..",
        );
        return None;
    }
    let path = parts.join("/");
    Some(if path.is_empty() {
        ".".to_owned()
    } else {
        path
    })
}
