//! A checkpoint's way to the disk and back.

use cofferdam_engine::BoxError;
use serde::{Serialize, de::DeserializeOwned};

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, BoxError> {
    postcard::to_stdvec(value).map_err(|error| format!("it cannot be encoded: {error}").into())
}

/// All of `bytes`, and nothing less.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} of its {} encoded bytes are not read back", rest.len(), bytes.len()).into()),
        Err(error) => Err(format!("what it was encoded to cannot be decoded: {error}").into()),
    }
}

/// The value as a checkpoint gives it back.
pub(crate) fn through_storage<T: Serialize + DeserializeOwned>(value: &T) -> Result<T, BoxError> {
    decode(&encode(value)?)
}
