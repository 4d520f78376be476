//! Answers that the server has compressed, decoded as they arrive.

use std::io::Write as _;

use flate2::write::GzDecoder;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::error::RequestError;

/// The parts of an answer.
pub(super) type Parts = BoxStream<'static, Result<Vec<u8>, RequestError>>;

/// An answer in gzip.
struct Compressed {
    parts: Parts,
    /// The part that was received last, and how many of its bytes are decoded.
    part: Vec<u8>,
    read: usize,
    decoder: GzDecoder<Vec<u8>>,
    is_over: bool,
}

/// The parts of an answer in gzip, decoded. No decoded part is larger than some tens of kilobytes, however well the
/// server compressed it.
pub(super) fn gunzip(parts: Parts) -> Parts {
    let decoder = GzDecoder::new(Vec::new());
    let answer = Compressed { parts, part: Vec::new(), read: 0, decoder, is_over: false };
    stream::try_unfold(answer, async |mut answer| Ok(answer.next().await?.map(|part| (part, answer)))).boxed()
}

impl Compressed {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, RequestError> {
        let invalid = |error: std::io::Error| RequestError::malformed(format_args!("gzip: {error}"));
        while !self.is_over {
            let rest = self.part.get(self.read..).unwrap_or_default();
            if rest.is_empty() {
                if let Some(part) = self.parts.next().await.transpose()? {
                    (self.part, self.read) = (part, 0);
                } else {
                    self.is_over = true;
                    self.decoder.try_finish().map_err(invalid)?;
                }
            } else {
                // Decodes into a buffer of a fixed size, and takes no more than fits.
                let read = self.decoder.write(rest).map_err(invalid)?;
                if read == 0 {
                    return Err(RequestError::malformed("gzip: there is data after the end"));
                }
                self.read += read;
            }
            let decoded = std::mem::take(self.decoder.get_mut());
            if !decoded.is_empty() {
                return Ok(Some(decoded));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use futures_util::TryStreamExt;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// The decoded parts, if this many bytes arrive at once.
    fn decoded(bytes: &[u8], at_once: usize) -> Result<Vec<Vec<u8>>, RequestError> {
        let parts: Vec<_> = bytes.chunks(at_once).map(|part| Ok(part.to_vec())).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(gunzip(stream::iter(parts).boxed()).try_collect())
    }

    #[test]
    fn a_text_is_the_same_however_it_is_cut() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
        let compressed = gzip(&text);
        for at_once in [1, 7, 1000, usize::MAX] {
            assert!(decoded(&compressed, at_once).unwrap().concat() == text, "{at_once} bytes at once");
        }
        assert_eq!(decoded(&gzip(b""), 3), Ok(vec![]));
    }

    #[test]
    fn what_breaks_off_is_damaged_or_goes_on_is_an_error() {
        let good = gzip(b"a list");
        let mut damaged = good.clone();
        *damaged.last_mut().unwrap() ^= 1;
        for bad in [&good[..good.len() - 1], &damaged, &[&good[..], b"more"].concat(), b"no gzip", b""] {
            assert!(decoded(bad, 4).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_part_is_small_however_much_is_in_it() {
        let parts = decoded(&gzip(&vec![b'x'; 16 << 20]), usize::MAX).unwrap();
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 16 << 20);
        assert!(parts.iter().all(|part| part.len() <= 64 << 10));
    }
}
