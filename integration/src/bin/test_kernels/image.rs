//! The initial RAM file system of a virtual machine: programs of this machine with their libraries, and the kernel's
//! modules.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    Error,
    checks::{Executables, GUEST},
    command::output,
    packages::Kernel,
};

/// Programs that the tests start, and the one that loads modules when the kernel requests them.
const PROGRAMS: [&str; 5] = ["ip", "kmod", "nft", "prlimit", "setpriv"];
/// Directories of the required modules: netfilter, its checksums, and the cables between namespaces.
const MODULES: [&str; 5] = ["net", "lib", "crypto", "arch/x86/crypto", "drivers/net"];
/// The required drivers; their directory is the largest.
const DRIVERS: [&str; 3] = ["veth.ko", "dummy.ko", "ifb.ko"];

/// The files that a virtual machine is started from.
pub struct Image {
    /// The kernel.
    pub kernel: PathBuf,
    /// The file system.
    pub initrd: PathBuf,
}

/// Builds the image for a kernel.
pub fn build(directory: &Path, kernel: &Kernel, executables: &Executables) -> Result<Image, Error> {
    let root = directory.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for path in ["bin", "dev", "etc", "proc", "sbin", "sys", "tmp", "run"] {
        fs::create_dir_all(root.join(path))?;
    }
    let mut libraries = BTreeSet::new();
    for (name, path) in &executables.0 {
        let copy = root.join("bin").join(name);
        // Most of the file consists of symbols.
        output(Command::new("strip").arg("-o").arg(&copy).arg(path))?;
        libraries.extend(libraries_of(path)?);
    }
    for name in PROGRAMS {
        let path = find(name)?;
        fs::copy(&path, root.join("bin").join(name))?;
        libraries.extend(libraries_of(&path)?);
    }
    for library in libraries {
        copy(&library, &root)?;
    }
    for name in ["modprobe", "rmmod"] {
        symlink("/bin/kmod", root.join("sbin").join(name))?;
    }
    symlink(format!("/bin/{GUEST}"), root.join("init"))?;
    // nft uses them to print protocols and ports.
    for file in ["/etc/protocols", "/etc/services"].map(Path::new).iter().filter(|file| file.exists()) {
        copy(file, &root)?;
    }
    modules(kernel, &root)?;
    let initrd = directory.join("initrd");
    pack(&root, &initrd)?;
    fs::remove_dir_all(&root)?;
    Ok(Image { kernel: boot_image(kernel)?, initrd })
}

/// The kernel itself; newer packages contain it next to the modules.
fn boot_image(kernel: &Kernel) -> Result<PathBuf, Error> {
    let release = kernel.release();
    let places = [format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")];
    let mut paths = places.iter().map(|place| kernel.root.join(place));
    paths.find(|path| path.is_file()).ok_or_else(|| format!("{} has no kernel in it", kernel.package).into())
}

fn find(program: &str) -> Result<PathBuf, Error> {
    let directories = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let mut paths = directories.iter().map(|directory| Path::new(directory).join(program));
    paths.find(|path| path.is_file()).ok_or_else(|| format!("{program} is not installed").into())
}

/// The libraries that a program is linked with, including the dynamic linker.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>, Error> {
    let listed = output(Command::new("ldd").arg(program))?;
    let paths = listed.lines().filter_map(|line| {
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        path.split_whitespace().next().filter(|path| path.starts_with('/'))
    });
    Ok(paths.map(PathBuf::from).collect())
}

/// Copies a file to the same place below another root.
fn copy(file: &Path, root: &Path) -> Result<(), Error> {
    let to = root.join(file.strip_prefix("/")?);
    fs::create_dir_all(to.parent().ok_or("a file without a directory")?)?;
    fs::copy(file, to)?;
    Ok(())
}

fn modules(kernel: &Kernel, root: &Path) -> Result<(), Error> {
    let release = kernel.release();
    let places = ["usr/lib/modules", "lib/modules"].map(|place| kernel.root.join(place).join(release));
    let from = places
        .iter()
        .find(|place| place.is_dir())
        .ok_or_else(|| format!("{} has no modules of {release}", kernel.package))?;
    let to = root.join("lib/modules").join(release);
    fs::create_dir_all(&to)?;
    for list in ["modules.builtin", "modules.order", "modules.builtin.modinfo"] {
        if from.join(list).exists() {
            fs::copy(from.join(list), to.join(list))?;
        }
    }
    for directory in MODULES {
        let directory = Path::new("kernel").join(directory);
        if from.join(&directory).is_dir() {
            copy_modules(&from.join(&directory), &to.join(&directory))?;
        }
    }
    output(Command::new(find("depmod")?).arg("-b").arg(root).arg(release))?;
    Ok(())
}

fn copy_modules(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let is_driver = from.ends_with("drivers/net");
        if path.is_dir() {
            if !is_driver {
                copy_modules(&path, &to.join(&name))?;
            }
        } else if !is_driver || DRIVERS.iter().any(|driver| name.to_string_lossy().starts_with(driver)) {
            fs::copy(path, to.join(name))?;
        }
    }
    Ok(())
}

/// Packs a directory in the format that the kernel unpacks.
fn pack(root: &Path, initrd: &Path) -> Result<(), Error> {
    let mut find =
        Command::new("find").args([".", "-print0"]).current_dir(root).stdout(Stdio::piped()).spawn()?;
    let names = find.stdout.take().ok_or("find has no output")?;
    let mut cpio = Command::new("cpio");
    cpio.args(["--null", "--create", "--quiet", "--format=newc", "--owner=0:0"]).current_dir(root);
    let status = cpio.stdin(names).stdout(fs::File::create(initrd)?).status()?;
    if !status.success() || !find.wait()?.success() {
        return Err(format!("cpio: {status}").into());
    }
    Ok(())
}
