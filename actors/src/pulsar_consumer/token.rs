//! The token as the broker asks for it: from its file, each time, so that a rotated one is taken by itself.

use std::path::PathBuf;

use pulsar::{authentication::Authentication, error::AuthenticationError};

/// A token file.
pub(super) struct TokenFile(pub(super) PathBuf);

#[async_trait::async_trait]
impl Authentication for TokenFile {
    fn auth_method_name(&self) -> String {
        "token".to_owned()
    }

    async fn initialize(&mut self) -> Result<(), AuthenticationError> {
        Ok(())
    }

    async fn auth_data(&mut self) -> Result<Vec<u8>, AuthenticationError> {
        let read = tokio::fs::read(&self.0).await;
        let token = read.map_err(|error| {
            let path = self.0.display();
            AuthenticationError::Custom(format!(
                "the token file {path} cannot be read: {error}; let this user read it"
            ))
        })?;
        Ok(token.trim_ascii().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_rotated_token_is_read_again_and_a_missing_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let mut token = TokenFile(path.clone());
        assert_eq!(token.auth_data().await.unwrap(), b"one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(token.auth_data().await.unwrap(), b"two");
        std::fs::remove_file(&path).unwrap();
        let error = token.auth_data().await.unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}
