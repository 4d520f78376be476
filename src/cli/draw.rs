//! `draw`: pictures of Services.

use std::process::ExitCode;

use portolan_rules::{
    explanation::ExplainedService,
    model::ObjectName,
    picture::{self, Picture},
};

use super::{
    arguments::{DrawArgs, DrawOutput},
    explain::{self, Scene, no_service},
};

/// Draws Services: exit status 0, or 1 if there is none of a name, or 2 for an error.
pub fn draw(args: &DrawArgs) -> ExitCode {
    let scene = match Scene::open(&args.view) {
        Ok(scene) => scene,
        Err(code) => return code,
    };
    let view = scene.view();
    let services = match services(args, &scene) {
        Ok(services) => services,
        Err(message) => {
            eprintln!("portolan: {message}");
            return ExitCode::from(1);
        }
    };
    let picture = picture::picture(&view, &services, &scene.origin);
    match super::print(write(&picture, args.output).as_bytes()) {
        ExitCode::SUCCESS if scene.is_whole => ExitCode::SUCCESS,
        _ => explain::error(),
    }
}

/// The Services that are meant, each once, in order of their names.
fn services(args: &DrawArgs, scene: &Scene) -> Result<Vec<ExplainedService>, String> {
    let view = scene.view();
    if args.names.is_empty() {
        let mut all = view.services();
        if let Some(namespace) = &args.namespace {
            all.retain(|explained| *explained.service.name.namespace == **namespace);
        }
        return Ok(all);
    }
    let default = args.namespace.as_deref().unwrap_or("default");
    let mut names: Vec<ObjectName> = args
        .names
        .iter()
        .map(|name| name.split_once('/').unwrap_or((default, name)))
        .map(|(namespace, name)| ObjectName::new(namespace, name))
        .collect();
    names.sort();
    names.dedup();
    names.iter().map(|name| view.service(name).ok_or_else(|| no_service(&view, name))).collect()
}

fn write(picture: &Picture, output: DrawOutput) -> String {
    match output {
        DrawOutput::Text => picture::text(picture),
        DrawOutput::Svg => picture::svg(picture),
        DrawOutput::Html => picture::html(picture),
        DrawOutput::Mermaid => picture::mermaid(picture),
        DrawOutput::Dot => picture::dot(picture),
    }
}
