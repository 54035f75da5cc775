//! A checkpoint's way to the disk and back.

use cofferdam_engine::BoxError;
use serde::{Serialize, de::DeserializeOwned};

/// The value as a checkpoint gives it back.
pub(crate) fn through_storage<T: Serialize + DeserializeOwned>(value: &T) -> Result<T, BoxError> {
    let bytes = postcard::to_stdvec(value).map_err(|error| format!("it cannot be encoded: {error}"))?;
    match postcard::take_from_bytes(&bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} of its {} encoded bytes are not read back", rest.len(), bytes.len()).into()),
        Err(error) => Err(format!("what it was encoded to cannot be decoded: {error}").into()),
    }
}
