//! Debian's kernels: the available versions and their packages, from the sources of this machine's apt.
//!
//! A private apt directory lists the other suites of the same archives. It does not affect the machine's own lists or
//! packages.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Error, command::output};

/// The name for the newest kernel of all.
pub const NEWEST: &str = "newest";
/// Depends on a suite's current kernel for virtual machines, which has all of netfilter and few drivers.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// Debian's releases that have the tested series and the newest kernels.
const RELEASES: [&str; 3] = ["bullseye", "bookworm", "trixie"];

/// An unpacked kernel.
#[derive(Debug)]
pub struct Kernel {
    /// Its version in Debian's numbering: `6.1.192`.
    pub version: String,
    /// The name of its package.
    pub package: String,
    /// The directory with the contents of the package.
    pub root: PathBuf,
}

impl Kernel {
    /// Its release, as `uname -r` prints it.
    pub fn release(&self) -> &str {
        self.package.trim_start_matches("linux-image-").trim_end_matches("-unsigned")
    }
}

/// Downloads and unpacks the latest kernel of each of these series; an error names all that are unavailable.
pub fn fetch(directory: &Path, wanted: &[String]) -> Result<Vec<Kernel>, Error> {
    let apt = Apt::new(&directory.join("apt"))?;
    apt.update();
    let versions = apt.versions()?;
    let mut chosen = Vec::new();
    let mut lacking = Vec::new();
    for series in wanted {
        let of_series = |version: &&String| {
            series == NEWEST || version.strip_prefix(&**series).is_some_and(|rest| rest.starts_with('.'))
        };
        match versions.iter().find(of_series) {
            Some(version) if chosen.contains(version) => {}
            Some(version) => chosen.push(version.clone()),
            None => lacking.push(series.as_str()),
        }
    }
    if !lacking.is_empty() {
        return Err(format!("apt has no kernel of {}", lacking.join(", ")).into());
    }
    chosen.iter().map(|version| apt.unpack(directory, version)).collect()
}

/// apt with its own lists.
struct Apt {
    root: PathBuf,
}

impl Apt {
    fn new(root: &Path) -> Result<Self, Error> {
        for directory in ["lists/partial", "cache/archives/partial", "packages"] {
            fs::create_dir_all(root.join(directory))?;
        }
        fs::write(root.join("sources.list"), sources()?)?;
        Ok(Self { root: root.to_owned() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let root = self.root.display();
        for option in [
            format!("Dir::State::Lists={root}/lists"),
            format!("Dir::Cache={root}/cache"),
            format!("Dir::Etc::SourceList={root}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::State::status=/dev/null".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Reads the lists. A suite that does not exist yet or any more has no kernels.
    fn update(&self) {
        eprintln!("Reading the lists of Debian's suites");
        let _ = self.command("apt-get").args(["update", "-qq"]).stderr(Stdio::null()).status();
    }

    /// The versions of all kernels, newest first.
    fn versions(&self) -> Result<Vec<String>, Error> {
        let table = output(self.command("apt-cache").args(["madison", META_PACKAGE]))?;
        let versions = table.lines().filter_map(|line| line.split('|').nth(1)).map(|v| v.trim().to_owned());
        Ok(versions.filter(|version| !version.contains("~rc")).collect())
    }

    /// A field of a package's description.
    fn field(&self, package: &str, version: &str, field: &str) -> Result<String, Error> {
        let shown = output(self.command("apt-cache").args(["show", &format!("{package}={version}")]))?;
        let value = shown.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
        Ok(value.unwrap_or_default().to_owned())
    }

    /// The packages with the kernel and its modules on which a package of this version depends.
    fn parts(&self, package: &str, version: &str) -> Result<Vec<(String, String)>, Error> {
        let depends = self.field(package, version, "Depends")?;
        let parts = depends.split(',').filter_map(|one| {
            let name = one.split_whitespace().next()?;
            let is_part =
                ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"].iter().any(|kind| {
                    name.strip_prefix(kind).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
                });
            let same =
                one.split_once("(=").map(|(_, version)| version.trim().trim_end_matches(')').to_owned());
            is_part.then(|| (name.to_owned(), same.unwrap_or_else(|| version.to_owned())))
        });
        Ok(parts.collect())
    }

    fn unpack(&self, directory: &Path, version: &str) -> Result<Kernel, Error> {
        let parts = self.parts(META_PACKAGE, version)?;
        let (image, version) =
            parts.first().ok_or_else(|| format!("{META_PACKAGE} {version} has no kernel"))?;
        let root = directory.join(image);
        let mut packages = BTreeSet::from([(image.clone(), version.clone())]);
        // Newer packages of a kernel consist of other packages.
        packages.extend(self.parts(image, version)?);
        let number = version.split(['-', '+']).next().unwrap_or(version).to_owned();
        let kernel = Kernel { version: number, package: image.clone(), root };
        let done = kernel.root.join(".unpacked");
        if fs::read_to_string(&done).is_ok_and(|unpacked| unpacked == *version) {
            return Ok(kernel);
        }
        fs::create_dir_all(&kernel.root)?;
        for (name, version) in packages {
            eprintln!("Downloading {name} {version}");
            let downloads = self.root.join("packages");
            let package = format!("{name}={version}");
            output(self.command("apt-get").args(["download", "-qq", &package]).current_dir(&downloads))?;
            for file in fs::read_dir(&downloads)? {
                let file = file?.path();
                output(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&kernel.root))?;
                fs::remove_file(file)?;
            }
        }
        fs::write(done, version)?;
        Ok(kernel)
    }
}

/// apt's sources: the suites with kernels, in the archives that this machine's apt knows as Debian's.
fn sources() -> Result<String, Error> {
    let format = "$(LABEL)\t$(REPO_URI)";
    let targets =
        output(Command::new("apt-get").args(["indextargets", "--format", format, "Origin: Debian"]))?;
    let archive = |label: &str| {
        let mut archives = targets.lines().filter_map(|line| line.split_once('\t'));
        archives.find(|(l, _)| *l == label).map(|(_, uri)| uri)
    };
    let Some(debian) = archive("Debian") else {
        return Err("apt has no Debian source on this machine (/etc/apt/sources.list.d)".into());
    };
    let mut suites = vec![(debian, "sid".to_owned())];
    for release in RELEASES {
        suites.extend([(debian, release.to_owned()), (debian, format!("{release}-backports"))]);
        suites.extend(archive("Debian-Security").map(|security| (security, format!("{release}-security"))));
    }
    let lines: Vec<String> = suites.iter().map(|(uri, suite)| format!("deb {uri} {suite} main")).collect();
    Ok(lines.join("\n") + "\n")
}
