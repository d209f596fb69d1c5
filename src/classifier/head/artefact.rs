//! The file format of a head: safetensors, with the head's description as JSON in the header's metadata.
//!
//! The format is eight bytes of length, a JSON header that names each tensor's type, shape and place, and the bytes
//! (github.com/huggingface/safetensors). It is read and written here without a library, because a head needs only a few
//! types, and because a wrong file must end in an error: every length is checked before anything is read.
//!
//! Large matrices are kept as `BF16`, the memory of prompts as `I8` and `U8`, everything else as `F32`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::HeadError;
use super::matrix::{from_bf16, to_bf16};

/// Longest header, bytes: names and positions of a few dozen tensors, and the description.
const LONGEST_HEADER: u64 = 16 << 20;

/// The metadata key of a head's description.
const DESCRIPTION: &str = "pointsman_head";

/// Tensors and a description.
#[derive(Debug, Clone, Default)]
pub struct Artefact {
    /// The description, as JSON.
    pub description: String,
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Debug, Clone)]
struct Tensor {
    kind: Kind,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    F32,
    BF16,
    I8,
    U8,
}

impl Kind {
    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::BF16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Place {
    dtype: Kind,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

impl Artefact {
    /// No tensors yet.
    pub fn described(description: String) -> Self {
        Self { description, tensors: BTreeMap::new() }
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    ///
    /// They are no safetensors, or hold types a head does not have.
    pub fn read(bytes: &[u8]) -> Result<Self, HeadError> {
        let wrong = |what: &str| HeadError::Malformed(what.to_owned());
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| wrong("it is too short"))?;
        let length = u64::from_le_bytes(*length);
        if length > LONGEST_HEADER || length as usize > rest.len() {
            return Err(wrong("its header's length cannot be right: it is no safetensors file, or was cut off"));
        }
        let (header, data) = rest.split_at(length as usize);
        let header: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(header).map_err(|error| wrong(&format!("its header is no JSON: {error}")))?;
        let mut artefact = Self::default();
        let mut left = data.len();
        for (name, value) in header {
            if name == "__metadata__" {
                artefact.description = value[DESCRIPTION].as_str().unwrap_or_default().to_owned();
                continue;
            }
            let place: Place =
                serde_json::from_value(value).map_err(|error| wrong(&format!("tensor `{name}`: {error}")))?;
            let [from, to] = place.data_offsets;
            let count = place.shape.iter().try_fold(place.dtype.size(), |all, length| all.checked_mul(*length));
            if from > to || to > data.len() || count != Some(to - from) {
                return Err(wrong(&format!("tensor `{name}` does not fit its place: the file was cut off")));
            }
            // Many tensors in the same place would take many times the file's size.
            left = left.checked_sub(to - from).ok_or_else(|| wrong("its tensors overlap"))?;
            let tensor = Tensor { kind: place.dtype, shape: place.shape, bytes: data[from..to].to_vec() };
            artefact.tensors.insert(name, tensor);
        }
        if artefact.description.is_empty() {
            return Err(wrong("it has no description: these are tensors, but no head"));
        }
        Ok(artefact)
    }

    /// The file's bytes; the same for the same content.
    pub fn write(&self) -> Vec<u8> {
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".into(), serde_json::json!({ DESCRIPTION: self.description }));
        let mut at = 0;
        for (name, tensor) in &self.tensors {
            let data_offsets = [at, at + tensor.bytes.len()];
            at = data_offsets[1];
            let place = serde_json::json!({
                "dtype": tensor.kind, "shape": tensor.shape, "data_offsets": data_offsets,
            });
            header.insert(name.clone(), place);
        }
        let mut header = serde_json::Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        self.tensors.values().for_each(|tensor| bytes.extend(&tensor.bytes));
        bytes
    }

    /// Adds floats, exactly.
    pub fn put(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.insert(name.to_owned(), Tensor { kind: Kind::F32, shape: shape.to_vec(), bytes });
    }

    /// Adds floats with eight bits of mantissa.
    pub fn put_short(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| to_bf16(*value).to_le_bytes()).collect();
        self.tensors.insert(name.to_owned(), Tensor { kind: Kind::BF16, shape: shape.to_vec(), bytes });
    }

    /// Adds signed bytes.
    pub fn put_signed(&mut self, name: &str, shape: &[usize], values: &[i8]) {
        let bytes = values.iter().map(|value| value.cast_unsigned()).collect();
        self.tensors.insert(name.to_owned(), Tensor { kind: Kind::I8, shape: shape.to_vec(), bytes });
    }

    /// Adds bytes.
    pub fn put_bytes(&mut self, name: &str, values: &[u8]) {
        let tensor = Tensor { kind: Kind::U8, shape: vec![values.len()], bytes: values.to_vec() };
        self.tensors.insert(name.to_owned(), tensor);
    }

    /// Floats of `shape`.
    ///
    /// # Errors
    ///
    /// There are none of that name, or of another shape, or some are not finite.
    pub fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, HeadError> {
        let tensor = self.tensor(name, shape)?;
        let values: Vec<f32> = match tensor.kind {
            Kind::F32 => tensor.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Kind::BF16 => tensor.bytes.chunks_exact(2).map(|b| from_bf16(u16::from_le_bytes([b[0], b[1]]))).collect(),
            Kind::I8 | Kind::U8 => return Err(HeadError::Malformed(format!("tensor `{name}` should hold floats"))),
        };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(HeadError::Malformed(format!("tensor `{name}` holds numbers that are not finite")));
        }
        Ok(values)
    }

    /// Signed bytes of `shape`.
    ///
    /// # Errors
    ///
    /// There are none of that name, or of another shape.
    pub fn signed(&self, name: &str, shape: &[usize]) -> Result<Vec<i8>, HeadError> {
        Ok(self.tensor(name, shape)?.bytes.iter().map(|byte| byte.cast_signed()).collect())
    }

    /// Bytes, as many as there are.
    ///
    /// # Errors
    ///
    /// There are none of that name.
    pub fn bytes(&self, name: &str) -> Result<&[u8], HeadError> {
        self.tensors.get(name).map(|tensor| tensor.bytes.as_slice()).ok_or_else(|| missing(name))
    }

    /// Rows of a tensor; 0 where it has no shape.
    ///
    /// # Errors
    ///
    /// There is none of that name.
    pub fn rows(&self, name: &str) -> Result<usize, HeadError> {
        Ok(self.tensors.get(name).ok_or_else(|| missing(name))?.shape.first().copied().unwrap_or(0))
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<&Tensor, HeadError> {
        let tensor = self.tensors.get(name).ok_or_else(|| missing(name))?;
        if tensor.shape != shape {
            let has = &tensor.shape;
            return Err(HeadError::Malformed(format!("tensor `{name}` has shape {has:?} and should have {shape:?}")));
        }
        Ok(tensor)
    }
}

fn missing(name: &str) -> HeadError {
    HeadError::Malformed(format!("it has no tensor `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artefact() -> Artefact {
        let mut artefact = Artefact::described(r#"{"name":"x"}"#.into());
        artefact.put("a", &[2, 2], &[1.0, -2.5, 0.1, 4.0]);
        artefact.put_short("b", &[3], &[1.0, 0.1, -3.0]);
        artefact.put_signed("c", &[2], &[-7, 9]);
        artefact.put_bytes("d", &[200, 1]);
        artefact
    }

    #[test]
    fn what_is_written_is_read_again() {
        let read = Artefact::read(&artefact().write()).unwrap();
        assert_eq!(read.description, r#"{"name":"x"}"#);
        assert_eq!(read.floats("a", &[2, 2]).unwrap(), [1.0, -2.5, 0.1, 4.0]);
        let short = read.floats("b", &[3]).unwrap();
        assert!(short.iter().zip([1.0, 0.1, -3.0]).all(|(a, b): (&f32, f32)| (a - b).abs() < 0.004 * b.abs()));
        assert_eq!(read.signed("c", &[2]).unwrap(), [-7, 9]);
        assert_eq!(read.bytes("d").unwrap(), [200, 1]);
    }

    #[test]
    fn tensors_that_overlap_are_refused() {
        let place = |name: &str| format!("\"{name}\":{{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}");
        let file = |places: &[String]| {
            let header = format!("{{\"__metadata__\":{{\"{DESCRIPTION}\":\"x\"}},{}}}", places.join(","));
            [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 8]].concat()
        };
        assert!(Artefact::read(&file(&[place("a")])).is_ok());
        let error = Artefact::read(&file(&[place("a"), place("b")])).unwrap_err();
        assert!(error.to_string().contains("overlap"), "{error}");
    }

    #[test]
    fn any_cut_ends_in_an_error_and_not_in_a_panic() {
        let bytes = artefact().write();
        for length in 0..bytes.len() {
            assert!(Artefact::read(&bytes[..length]).is_err(), "cut to {length} bytes");
        }
    }

    #[test]
    fn a_wrong_shape_and_a_wrong_type_are_told() {
        let artefact = artefact();
        assert!(artefact.floats("a", &[4]).unwrap_err().to_string().contains("shape"));
        assert!(artefact.floats("c", &[2]).unwrap_err().to_string().contains("floats"));
        assert!(artefact.floats("z", &[2]).unwrap_err().to_string().contains("no tensor"));
        let mut infinite = artefact;
        infinite.put("a", &[1], &[f32::INFINITY]);
        assert!(infinite.floats("a", &[1]).unwrap_err().to_string().contains("finite"));
    }
}
