//! The kernel's version. It decides only what cannot be determined by trial.

use std::fmt;

/// A version of Linux: version, patch level, sub-level.
type Version = (u32, u32, u32);

/// How the kernel describes itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// Its release (`uname -r`), such as `6.1.0-37-amd64`.
    pub release: String,
    /// How it was built (`uname -v`). Debian includes the version that it is based on.
    pub build: String,
    /// Ubuntu's `/proc/version_signature`, which ends with the version that it is based on.
    pub signature: String,
}

/// Whether a set of concatenated ranges still works after a range was removed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeRemoval {
    /// The other ranges are found.
    Sound,
    /// No range is found until another is added: the kernel lacks commit 23c54263efd7 (January 2022).
    Broken,
    /// This version lacked the commit, but its distribution may have added it.
    Doubtful,
}

impl Release {
    /// The release of the running kernel.
    pub fn running() -> Self {
        let names = rustix::system::uname();
        Self {
            release: names.release().to_string_lossy().into_owned(),
            build: names.version().to_string_lossy().into_owned(),
            signature: std::fs::read_to_string("/proc/version_signature").unwrap_or_default(),
        }
    }

    /// Decides by the version, since a trial would need a packet.
    pub fn range_removal(&self) -> RangeRemoval {
        let Some(named) = version(&self.release) else { return RangeRemoval::Doubtful };
        if !lacks_fix(named) {
            return RangeRemoval::Sound;
        }
        let debian = self.build.split_whitespace().skip_while(|word| *word != "Debian").nth(1);
        let base = debian.or(self.signature.split_whitespace().next_back()).and_then(version);
        match base {
            Some(base) if !lacks_fix(base) => RangeRemoval::Sound,
            // Distributions number their own builds: `5.14.0-362.el9` has many commits of later versions.
            None if self.release.contains('-') => RangeRemoval::Doubtful,
            _ => RangeRemoval::Broken,
        }
    }
}

/// Whether this version of Linux lacks the fix.
fn lacks_fix((major, minor, patch): Version) -> bool {
    match (major, minor) {
        (5, 10) => patch < 94,
        (5, 15) => patch < 17,
        (5, 6..=16) => true,
        _ => false,
    }
}

/// Parses the version at the start of a text: `5.10.262-1` is (5, 10, 262), `7.3-rc7` is (7, 3, 0).
fn version(text: &str) -> Option<Version> {
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let mut numbers = text[..end].split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(release: &str, build: &str, signature: &str) -> RangeRemoval {
        let [release, build, signature] = [release, build, signature].map(str::to_owned);
        Release { release, build, signature }.range_removal()
    }

    #[test]
    fn versions_with_the_fix_are_sound() {
        for release in
            ["5.10.94", "5.15.17", "5.17.0", "6.1.0-37-amd64", "6.18.44-fc-v595", "7.3-rc7", "5.4.1"]
        {
            assert_eq!(judged(release, "#1 SMP", ""), RangeRemoval::Sound, "{release}");
        }
    }

    #[test]
    fn versions_without_it_are_broken() {
        for release in ["5.10.93", "5.15.0", "5.15.16", "5.16.20", "5.6.0", "5.16-rc1+"] {
            let expected = if release.contains('-') { RangeRemoval::Doubtful } else { RangeRemoval::Broken };
            assert_eq!(judged(release, "#1 SMP", ""), expected, "{release}");
        }
    }

    #[test]
    fn a_distribution_s_number_is_not_the_version() {
        let debian = "#1 SMP Debian 5.10.262-1 (2026-11-10)";
        assert_eq!(judged("5.10.0-46-cloud-amd64", debian, ""), RangeRemoval::Sound);
        let old = "#1 SMP Debian 5.10.46-4 (2021-08-03)";
        assert_eq!(judged("5.10.0-8-amd64", old, ""), RangeRemoval::Broken);
        let ubuntu = "Ubuntu 5.15.0-91.101-generic 5.15.131\n";
        assert_eq!(judged("5.15.0-91-generic", "#101-Ubuntu SMP", ubuntu), RangeRemoval::Sound);
        assert_eq!(judged("5.14.0-362.8.1.el9_3.x86_64", "#1 SMP", ""), RangeRemoval::Doubtful);
    }

    #[test]
    fn what_is_no_version_is_in_doubt() {
        assert_eq!(judged("", "", ""), RangeRemoval::Doubtful);
        assert_eq!(judged("five", "", ""), RangeRemoval::Doubtful);
    }
}
