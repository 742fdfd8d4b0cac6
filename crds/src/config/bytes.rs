//! The config file's bytes: JSON, gzip. Equal configs give equal bytes, so that a comparison tells whether anything
//! changed.

use std::io::{Read, Write};

use flate2::{Compression, GzBuilder, read::MultiGzDecoder};
use thiserror::Error;

use super::GatewayConfig;

/// Most bytes of a config, unpacked. A ConfigMap holds 1 MiB, which JSON of this kind fits several times over.
pub const MAX_CONFIG_BYTES: usize = 16 * 1024 * 1024;

/// Why bytes are no config.
#[derive(Debug, Error)]
pub enum ConfigBytesError {
    /// Not gzip, or cut off.
    #[error("config isn't whole gzip data")]
    Gzip(#[source] std::io::Error),
    /// Past [`MAX_CONFIG_BYTES`].
    #[error("config is larger than {MAX_CONFIG_BYTES} bytes unpacked")]
    TooLarge,
    /// Not the JSON of a config.
    #[error("config can't be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A layout that isn't known.
    #[error("config has layout version {0}, this release reads version {known}", known = super::CONFIG_VERSION)]
    Version(u32),
}

/// Packs a config. The same config gives the same bytes (no time, no file name in the header).
pub fn encode_gzip(config: &GatewayConfig) -> Vec<u8> {
    let json = serde_json::to_vec(config).expect("a config holds nothing that JSON can't");
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::default());
    encoder
        .write_all(&json)
        .expect("writing to memory can't fail");
    encoder.finish().expect("writing to memory can't fail")
}

/// Unpacks a config, reading no more than [`MAX_CONFIG_BYTES`].
pub fn decode_gzip(bytes: &[u8]) -> Result<GatewayConfig, ConfigBytesError> {
    let mut json = Vec::new();
    let cap = MAX_CONFIG_BYTES as u64 + 1;
    MultiGzDecoder::new(bytes)
        .take(cap)
        .read_to_end(&mut json)
        .map_err(ConfigBytesError::Gzip)?;
    if json.len() > MAX_CONFIG_BYTES {
        return Err(ConfigBytesError::TooLarge);
    }
    let config: GatewayConfig = serde_json::from_slice(&json)?;
    if config.version != super::CONFIG_VERSION {
        return Err(ConfigBytesError::Version(config.version));
    }
    Ok(config)
}
