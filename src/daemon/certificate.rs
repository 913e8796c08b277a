//! The certificate of the door for S3 clients.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use crate::{config::S3Settings, failure::Failure};

/// The files of a certificate of our own making, in the home.
const OWN: [&str; 2] = ["s3-certificate.pem", "s3-key.pem"];

/// What takes TLS connections: with the files that the settings name, or with a certificate for this machine that
/// nobody else has signed and that clients have to be told to trust.
pub(crate) fn acceptor(home: &Path, settings: &S3Settings) -> Result<TlsAcceptor, Failure> {
    let [certificate, key] = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => [certificate.clone(), key.clone()],
        (None, None) => own(home, settings)?,
        _ => return Err(Failure::Usage { what: "a certificate needs its key, and a key its certificate" }),
    };
    let wrong = |path: &Path, error: &dyn std::fmt::Display| Failure::Certificate {
        path: path.to_owned(),
        detail: error.to_string(),
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| wrong(&certificate, &error))?;
    let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| wrong(&key, &error))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, secret);
    let mut config = config.map_err(|error| wrong(&certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn own(home: &Path, settings: &S3Settings) -> Result<[PathBuf; 2], Failure> {
    let paths = OWN.map(|name| home.join(name));
    if paths.iter().all(|path| path.exists()) {
        return Ok(paths);
    }
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names
        .extend(settings.listen.map(|address| address.ip()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    for domain in &settings.domains {
        names.extend([domain.clone(), format!("*.{domain}")]);
    }
    names.dedup();
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|error| Failure::Certificate { path: paths[0].clone(), detail: error.to_string() })?;
    let write = |path: &Path, mode, text: String| {
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|source| Failure::io("write", path, source))
    };
    write(&paths[1], 0o600, made.signing_key.serialize_pem())?;
    if let Err(failure) = write(&paths[0], 0o644, made.cert.pem()) {
        // Half a pair is none.
        let _gone = fs::remove_file(&paths[1]);
        return Err(failure);
    }
    Ok(paths)
}
