//! `draw`: pictures of Services.

use std::process::ExitCode;

use portolan_rules::{
    explanation::ExplainedService,
    model::ObjectName,
    picture::{self, Picture},
};

use super::{
    arguments::{DrawArgs, DrawOutput},
    explain::{self, Scene},
};
use crate::observe::query::Wanted;

/// Draws Services: exit status 0, or 1 if there is none of a name, or 2 for an error.
pub fn draw(args: &DrawArgs) -> ExitCode {
    let names = names(args);
    let wanted = match (names.as_slice(), &args.namespace) {
        ([name], _) => Wanted::Service(name.clone()),
        ([], Some(namespace)) => Wanted::Namespace(namespace.as_str().into()),
        _ => Wanted::All,
    };
    let scene = match Scene::open_for(&args.view, &wanted) {
        Ok(scene) => scene,
        Err(code) => return code,
    };
    let view = scene.view();
    let services = match services(args, &names, &scene) {
        Ok(services) => services,
        Err(message) => {
            eprintln!("portolan: {message}");
            return ExitCode::from(1);
        }
    };
    let picture = picture::picture(&view, &services, &scene.origin);
    match super::output::print(write(&picture, args.output).as_bytes()) {
        ExitCode::SUCCESS if scene.is_whole => ExitCode::SUCCESS,
        _ => explain::error(),
    }
}

/// The names that are given, each once, in order.
fn names(args: &DrawArgs) -> Vec<ObjectName> {
    let default = args.namespace.as_deref().unwrap_or("default");
    let split = |name: &String| {
        let (namespace, name) = name.split_once('/').unwrap_or((default, name));
        ObjectName::new(namespace, name)
    };
    let mut names: Vec<ObjectName> = args.names.iter().map(split).collect();
    names.sort();
    names.dedup();
    names
}

/// The Services of these names; without any, all of them, or those of a namespace.
fn services(args: &DrawArgs, names: &[ObjectName], scene: &Scene) -> Result<Vec<ExplainedService>, String> {
    let view = scene.view();
    if names.is_empty() {
        let mut all = view.services();
        if let Some(namespace) = &args.namespace {
            all.retain(|explained| *explained.service.name.namespace == **namespace);
        }
        return Ok(all);
    }
    let find = |name| view.service(name).ok_or_else(|| scene.no_service(&args.view, name));
    names.iter().map(find).collect()
}

/// The picture in a notation.
pub(super) fn write(picture: &Picture, output: DrawOutput) -> String {
    match output {
        DrawOutput::Text => picture::text(picture),
        DrawOutput::Svg => picture::svg(picture),
        DrawOutput::Html => picture::html(picture),
        DrawOutput::Mermaid => picture::mermaid(picture),
        DrawOutput::Dot => picture::dot(picture),
    }
}
