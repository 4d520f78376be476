//! Links between documents, and to files.

use std::{fs, path::Path};

use crate::{documents, prose};

/// Returns the targets of a text's links, except those on other sites.
fn links(text: &str) -> Vec<String> {
    let ends = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    ends.map(|(link, _)| link.to_owned()).filter(|link| !link.contains("://")).collect()
}

/// Returns the anchor of a heading: lower case, without punctuation, words joined by hyphens.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_heading(path: &Path, wanted: &str) -> bool {
    let text = prose(&fs::read_to_string(path).unwrap());
    text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == wanted)
}

#[test]
fn links_lead_somewhere() {
    let mut found = 0;
    for (path, text) in documents() {
        for link in links(&prose(&text)) {
            let (file, heading) =
                link.split_once('#').map_or((link.as_str(), None), |(file, part)| (file, Some(part)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", path.display());
            if let Some(heading) = heading {
                assert!(
                    has_heading(&target, heading),
                    "{}: {link}: there is no such heading",
                    path.display()
                );
            }
            found += 1;
        }
    }
    assert!(found > 30, "{found} links");
}

/// Readers do not find a page without links to it.
#[test]
fn the_readme_leads_to_every_page() {
    let documents = documents();
    let (readme, text) = documents.iter().find(|(path, _)| path.ends_with("README.md")).unwrap();
    let links = links(text);
    for (path, _) in &documents {
        let name = path.strip_prefix(readme.parent().unwrap()).unwrap().to_str().unwrap();
        let is_linked = links.iter().any(|link| link.split('#').next() == Some(name));
        assert!(
            is_linked || ["README.md", "CHANGELOG.md"].contains(&name),
            "{name} is not linked from the README"
        );
    }
}
