//! Imports between the files of a crate have no circles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::{sources, top};

/// The path of a module from the crate's root, which is empty.
type Module = Vec<String>;

/// What a module imports from its crate: the paths, and those that it re-exports, by their last name.
#[derive(Default)]
struct Imports {
    paths: Vec<Module>,
    reexports: BTreeMap<String, Module>,
}

#[test]
fn files_import_one_another_in_one_direction() {
    for crate_root in ["src", "rules/src"] {
        let sources = read(&top().join(crate_root));
        assert!(sources.len() > 100, "{crate_root} has {} files", sources.len());
        let imports: BTreeMap<Module, Imports> =
            sources.iter().map(|(module, text)| (module.clone(), imports(module, text, &sources))).collect();
        let mut left: BTreeMap<&Module, BTreeSet<&Module>> = imports
            .iter()
            .map(|(module, of_module)| {
                let targets = of_module.paths.iter().map(|path| defining(path, &imports));
                (module, targets.filter(|target| *target != module).collect())
            })
            .collect();
        // Whatever imports nothing that is left is part of no circle.
        while let Some(end) = left.iter().find(|(_, targets)| targets.is_empty()).map(|(module, _)| *module) {
            left.remove(end);
            for targets in left.values_mut() {
                targets.remove(end);
            }
        }
        let arrow = |(from, to): (&&Module, &BTreeSet<&Module>)| {
            let to: Vec<String> = to.iter().map(|module| module.join("::")).collect();
            format!("{} -> {}\n", from.join("::"), to.join(", "))
        };
        let arrows: String = left.iter().map(arrow).collect();
        assert!(left.is_empty(), "{crate_root} has a circle among these imports:\n{arrows}");
    }
}

/// Returns the code of each module below a directory, without comments and tests.
fn read(directory: &Path) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::<Module, String>::new();
    for path in sources(directory) {
        let name = path.strip_prefix(directory).unwrap().with_extension("");
        let mut module: Module = name.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        if module.iter().any(|name| name == "tests") {
            continue;
        }
        if ["lib", "main"].contains(&module.join("/").as_str()) {
            module.clear();
        }
        let text = fs::read_to_string(&path).unwrap();
        let tests = text.match_indices("#[cfg(test)]\n").map(|(at, _)| at);
        let is_inline = |at: &usize| text[*at..].lines().nth(1).is_some_and(|line| line.ends_with('{'));
        let code = &text[..tests.into_iter().find(is_inline).unwrap_or(text.len())];
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        modules.entry(module).or_default().extend(lines.flat_map(|line| [line.trim(), "\n"]));
    }
    modules
}

fn imports(module: &Module, source: &str, sources: &BTreeMap<Module, String>) -> Imports {
    let mut imports = Imports::default();
    for (at, _) in source.match_indices("use ") {
        let line = source[..at].rfind('\n').map_or(0, |end| end + 1);
        let visibility = &source[line..at];
        if !visibility.is_empty() && !visibility.starts_with("pub") {
            continue;
        }
        let Some(tree) = source[at + "use ".len()..].split(';').next() else { continue };
        let mut paths = Vec::new();
        expand("", &tree.split_whitespace().collect::<Vec<_>>().join(" "), &mut paths);
        for path in paths.iter().filter_map(|path| absolute(module, path, sources)) {
            if let Some(name) = path.last().filter(|_| !visibility.is_empty()) {
                imports.reexports.insert(name.clone(), path.clone());
            }
            imports.paths.push(path);
        }
    }
    imports
}

/// Writes each path of a tree such as `a::{b, c::{d, e}}`.
fn expand(before: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((prefix, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        return paths.extend((!path.is_empty()).then(|| format!("{before}{path}")));
    };
    let before = format!("{before}{}", prefix.trim());
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let (mut depth, mut start) = (0, 0);
    for (at, character) in inner.char_indices().chain([(inner.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&before, &inner[start..at], paths);
                start = (at + 1).min(inner.len());
            }
            _ => {}
        }
    }
}

/// A path from the crate's root; `None` if it leads to another crate.
fn absolute(module: &Module, path: &str, sources: &BTreeMap<Module, String>) -> Option<Module> {
    let mut base = module.clone();
    let mut rest = path.split("::").peekable();
    match *rest.peek()? {
        "crate" => base.clear(),
        "self" | "super" => {}
        first if sources.contains_key(&[&module[..], &[first.to_owned()]].concat()) => {}
        _ => return None,
    }
    for name in rest {
        match name {
            "crate" | "self" => {}
            "super" => drop(base.pop()),
            name => base.push(name.to_owned()),
        }
    }
    Some(base)
}

/// The module that defines what a path leads to, through re-exports.
fn defining<'a>(path: &[String], imports: &'a BTreeMap<Module, Imports>) -> &'a Module {
    let length = (0..=path.len()).rev().find(|length| imports.contains_key(&path[..*length]));
    let length = length.expect("the root is a module");
    let (module, of_module) = imports.get_key_value(&path[..length]).expect("it was found");
    match path.get(length).and_then(|item| of_module.reexports.get(item)) {
        Some(target) if target[..] != path[..=length] => {
            defining(&[target, &path[length + 1..]].concat(), imports)
        }
        _ => module,
    }
}
