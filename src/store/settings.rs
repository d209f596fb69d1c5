//! Settings: small named values that are kept over a restart, of the dashboard's switches and of the store itself.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::db::Store;
use super::encoding::encode;
use super::error::StoreError;

impl Store {
    /// The setting called `name`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn setting<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let trees = self.trees()?;
        let value = trees.settings.get(name)?;
        Ok(value.and_then(|value| self.read(&trees, &trees.settings, name.as_bytes(), &value)))
    }

    /// Sets the setting called `name`; on disk when it returns.
    ///
    /// # Errors
    /// When the database fails.
    pub fn set_setting<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        let value = encode(value)?;
        self.trees_to_write(value.len())?.settings.insert(name, value)?;
        self.flush()
    }

    /// The names that begin with `prefix`, with the prefix cut off.
    ///
    /// # Errors
    /// When the database fails.
    pub fn settings_under(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let trees = self.trees()?;
        let mut names = Vec::new();
        for key in trees.settings.scan_prefix(prefix).keys() {
            names.push(String::from_utf8_lossy(&key?[prefix.len()..]).into_owned());
        }
        Ok(names)
    }

    /// Deletes the setting called `name`, without a flush: after a crash it may be there again.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_setting(&self, name: &str) -> Result<(), StoreError> {
        self.trees_to_write(0)?.settings.remove(name)?;
        Ok(())
    }
}
