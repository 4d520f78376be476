//! What to take of manifests.

use clap::Args;

/// What to take of manifests.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ManifestArgs {
    /// Accept input without objects as "no Services": an empty file or standard input, a directory without manifests;
    /// otherwise these are errors, and change nothing
    #[arg(long, requires = "filenames")]
    pub allow_empty: bool,

    /// Read no file of more than so many bytes, or Ki, Mi or Gi [default: 1Gi]
    #[arg(long, value_name = "SIZE", requires = "filenames", value_parser = size)]
    pub max_file_size: Option<u64>,
}

/// Reads a number of bytes, as Kubernetes writes quantities in powers of two.
fn size(text: &str) -> Result<u64, &'static str> {
    const WRONG: &str = "must be a number of bytes, or one with Ki, Mi or Gi";
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let unit = units.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)));
    let (number, bits) = unit.unwrap_or((text, 0));
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(WRONG);
    }
    let number: u64 = number.parse().map_err(|_| WRONG)?;
    number.checked_mul(1 << bits).ok_or(WRONG)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(size("1000"), Ok(1000));
        assert_eq!(size("4Ki"), Ok(4096));
        assert_eq!(size("2Gi"), Ok(2 << 30));
        for wrong in ["", "Ki", "-1", "+1", "1K", "1.5Gi", "1 Gi", "99999999999Gi"] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
    }
}
