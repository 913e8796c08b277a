//! Who this daemon is: an Ed25519 key, whose public half is its peer id, and TLS that proves it.
//!
//! Both ends of a link present a raw public key (RFC 7250) instead of a certificate: the key is the name, so there is
//! nothing to be signed, to expire, or to depend on a clock.

use std::{io, path::Path, sync::Arc};

use replication::PeerId;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError, ServerConfig,
    SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};

use crate::{dht::key_file::KeyFile, failure::Failure};

/// An Ed25519 public key follows (RFC 8410, section 4: `SubjectPublicKeyInfo`).
const PUBLIC: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// An Ed25519 seed follows (RFC 8410, section 7: `OneAsymmetricKey`).
const PRIVATE: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The key of this daemon.
pub(crate) struct Identity {
    seed: [u8; 32],
    id: PeerId,
}

impl Identity {
    /// Reads the key of a home, or makes one.
    pub(crate) fn open(home: &Path) -> Result<Self, Failure> {
        let path = home.join("peer.key");
        let file = if path.exists() { KeyFile::read(&path)? } else { KeyFile::create(&path)? };
        Ok(Self { seed: file.seed, id: PeerId::from_bytes(file.key.public()) })
    }

    pub(crate) const fn id(&self) -> PeerId {
        self.id
    }

    /// The seed of the key, to sign with.
    pub(crate) const fn seed(&self) -> [u8; 32] {
        self.seed
    }

    fn certified(&self) -> Result<Arc<CertifiedKey>, TlsError> {
        let private = PrivatePkcs8KeyDer::from([&PRIVATE[..], &self.seed].concat());
        let public = CertificateDer::from([&PUBLIC[..], self.id.as_bytes()].concat());
        Ok(Arc::new(CertifiedKey::new(vec![public], aws_lc_rs::sign::any_eddsa_type(&private)?)))
    }

    /// TLS for links that others make.
    pub(crate) fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(Pinned::new(&provider, None));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.certified()?)));
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// TLS for a link to one peer, or, when the name is not known yet, to whoever answers.
    pub(crate) fn client(&self, to: Option<PeerId>) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(Pinned::new(&provider, to));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.certified()?)));
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// The peer whose key was proved in a handshake.
pub(crate) fn peer_of(keys: Option<&[CertificateDer<'_>]>) -> io::Result<PeerId> {
    let key = keys.and_then(|keys| keys.first()).and_then(|key| peer_of_key(key));
    key.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no Ed25519 key was presented"))
}

fn peer_of_key(key: &[u8]) -> Option<PeerId> {
    Some(PeerId::from_bytes(key.strip_prefix(&PUBLIC)?.try_into().ok()?))
}

/// Accepts Ed25519 keys: any, or one only. Which key may do what is decided later, by its owner's name.
#[derive(Debug)]
struct Pinned {
    algorithms: WebPkiSupportedAlgorithms,
    only: Option<PeerId>,
}

impl Pinned {
    fn new(provider: &CryptoProvider, only: Option<PeerId>) -> Self {
        Self { algorithms: provider.signature_verification_algorithms, only }
    }

    fn check(&self, key: &CertificateDer<'_>) -> Result<(), TlsError> {
        let peer = peer_of_key(key).ok_or(TlsError::InvalidCertificate(CertificateError::BadEncoding))?;
        let right = self.only.is_none_or(|only| only == peer);
        if right { Ok(()) } else { Err(TlsError::InvalidCertificate(CertificateError::NotValidForName)) }
    }

    fn signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }
}

/// TLS 1.2 is never offered.
fn old_version() -> TlsError {
    TlsError::General("TLS 1.3 only".to_owned())
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.check(key).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(old_version())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.check(key).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(old_version())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
