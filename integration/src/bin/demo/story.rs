//! The acts as one self-contained HTML page: what was said, changed, sent and drawn.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use portolan_rules::picture::PAGE_STYLE;

/// What was shown, in order.
#[derive(Debug, Default)]
pub(crate) struct Story {
    acts: Vec<Act>,
}

#[derive(Debug)]
struct Act {
    title: String,
    tale: Vec<String>,
    scenes: Vec<Scene>,
}

/// A part of an act.
#[derive(Debug)]
pub(crate) enum Scene {
    /// A heading.
    Heading(String),
    /// Lines under a caption; those that begin with `+` or `-` are changes.
    Lines(String, Vec<String>),
    /// A picture, as SVG.
    Picture(String),
    /// What should hold, and whether it did.
    Claim(String, bool),
}

impl Story {
    /// Begins an act.
    pub(crate) fn act(&mut self, title: String, tale: &[&str]) {
        let tale = tale.iter().map(|&line| line.to_owned()).collect();
        self.acts.push(Act { title, tale, scenes: Vec::new() });
    }

    /// Adds a part to the current act.
    pub(crate) fn add(&mut self, scene: Scene) {
        if let Some(act) = self.acts.last_mut() {
            act.scenes.push(scene);
        }
    }

    /// The page.
    pub(crate) fn html(&self, title: &str, map: &[&str]) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) }
                    style { "\n" (PreEscaped(PAGE_STYLE)) }
                }
                body { main {
                    h1 { (title) }
                    pre { (map.join("\n")) }
                    @for (number, act) in (1..).zip(&self.acts) {
                        "\n" h2 { "Act " (number) ": " (act.title) }
                        p { (act.tale.join(" ")) }
                        @for scene in &act.scenes { "\n" (self::scene(scene)) }
                    }
                } }
            }
        };
        format!("{}\n", page.into_string())
    }
}

fn scene(scene: &Scene) -> Markup {
    match scene {
        Scene::Heading(text) => html! { h3 { (text) } },
        Scene::Lines(caption, lines) => html! {
            p.dim { (caption) }
            pre { @for line in lines { span.good[line.starts_with('+')].bad[line.starts_with('-')] { (line) } "\n" } }
        },
        Scene::Picture(svg) => html! { div.picture { (PreEscaped(svg)) } },
        Scene::Claim(text, true) => html! { p.good { "✓ " (text) } },
        Scene::Claim(text, false) => html! { p.bad { "✗ " (text) } },
    }
}
