//! Bearer tokens of routers and controllers.

use std::{fmt, fs, io, path::Path};

/// A token, which is not shown by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes the token. What is around it, such as the line's end of a file, is left out.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().trim().to_owned())
    }

    /// Reads the token from a file that holds nothing else.
    pub fn from_file(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let named = |error: io::Error| {
            let text = format!("cannot read the token in {}: {error}", path.display());
            io::Error::new(error.kind(), text)
        };
        fs::read_to_string(path).map(Self::new).map_err(named)
    }

    /// Makes a token for `subject` with the router's key, as a controller does; good for half an hour.
    #[cfg(feature = "mint")]
    pub fn mint(key: impl AsRef<[u8]>, subject: impl Into<String>) -> Self {
        let claims = crate::auth::Claims::new(subject, std::time::SystemTime::now());
        Self(crate::auth::mint(key.as_ref(), &claims))
    }

    /// Gives the token itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: AsRef<str>> From<T> for Token {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

impl From<&Token> for Token {
    fn from(token: &Token) -> Self {
        token.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_token_comes_from_texts_and_files_and_is_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "sesame\n").unwrap();
        let token = Token::from_file(&file).unwrap();
        assert_eq!(token, Token::from("sesame"));
        assert_eq!(token, Token::from(String::from(" sesame ")));
        assert_eq!(format!("{token:?}"), "Token(hidden)");

        let error = Token::from_file("/nowhere/token").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("cannot read the token in /nowhere/token: "));
    }
}
