//! Which library encrypts.

use std::{fmt, sync::Arc};

use rustls::crypto::CryptoProvider;

/// Which library does the encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// The faster one on this processor.
    #[default]
    Auto,
    /// AWS-LC.
    AwsLcRs,
    /// ring, for the ciphers; the rest stays with AWS-LC. Only in builds with the feature `server`.
    Ring,
}

impl Provider {
    /// What `Auto` stands for here.
    ///
    /// AWS-LC's AES-GCM is written for AVX-512 and falls back to a plain path without it; ring has a path for
    /// VAES with AVX2. Sealing 16 KiB: 2.5-3.7 against 4.9-6.6 GB/s on a processor with VAES and no AVX-512.
    #[must_use]
    pub fn resolve(self) -> Self {
        #[cfg(all(feature = "server", target_arch = "x86_64"))]
        if self == Self::Auto
            && std::arch::is_x86_feature_detected!("vaes")
            && !std::arch::is_x86_feature_detected!("avx512f")
        {
            return Self::Ring;
        }
        match self {
            Self::Auto => Self::AwsLcRs,
            chosen => chosen,
        }
    }

    /// The rustls provider. Key exchange and signatures are AWS-LC's in either case: it has the post-quantum
    /// key exchange.
    #[cfg_attr(not(feature = "server"), allow(clippy::unused_self))] // only the server has both
    pub fn crypto(self) -> Arc<CryptoProvider> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        #[cfg(feature = "server")]
        if self.resolve() == Self::Ring {
            let cipher_suites = rustls::crypto::ring::default_provider().cipher_suites;
            return Arc::new(CryptoProvider {
                cipher_suites,
                ..provider
            });
        }
        Arc::new(provider)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::AwsLcRs => "aws-lc-rs",
            Self::Ring => "ring",
        })
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    #[test]
    fn auto_stands_for_one_of_the_two() {
        assert_ne!(Provider::Auto.resolve(), Provider::Auto);
        for provider in [Provider::AwsLcRs, Provider::Ring] {
            assert_eq!(provider.resolve(), provider);
            let crypto = provider.crypto();
            assert!(!crypto.cipher_suites.is_empty());
            assert!(!crypto.kx_groups.is_empty());
        }
    }
}
