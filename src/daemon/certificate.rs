//! The certificate of the door for S3 clients.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, DnType, KeyPair};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        client::verify_server_cert_signed_by_trust_anchor,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
        server::ParsedCertificate,
        sign::CertifiedKey,
    },
};

use crate::{
    config::S3Settings,
    failure::Failure,
    interfaces, output_file,
    progress::{say, warn},
};

/// The files of a certificate of our own making, in the home, and of the names that it is for.
const OWN: [&str; 2] = ["s3-certificate.pem", "s3-key.pem"];
const NAMES: &str = "s3-certificate.names";
const DAY: Duration = Duration::from_hours(24);
/// How long a certificate of our own is good, and how long before its end it is made anew.
const GOOD: Duration = Duration::from_hours(3652 * 24);
const LATE: Duration = Duration::from_hours(30 * 24);

/// What takes TLS connections on an address: with the files that the settings name, or with a certificate for this
/// machine that nobody else has signed and that clients have to be told to trust.
pub(crate) fn acceptor(home: &Path, settings: &S3Settings, listen: IpAddr) -> Result<TlsAcceptor, Failure> {
    let [certificate, key] = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => [certificate.clone(), key.clone()],
        (None, None) => own(home, settings, listen)?,
        _ => return Err(Failure::Usage { what: "a certificate needs its key, and a key its certificate" }),
    };
    let wrong = |path: &Path, error: &dyn std::fmt::Display| Failure::Certificate {
        path: path.to_owned(),
        detail: error.to_string(),
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| wrong(&certificate, &error))?;
    let secret = PrivateKeyDer::from_pem_file(&key).map_err(|error| wrong(&key, &error))?;
    // A group may well be meant to read it.
    if fs::metadata(&key).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0) {
        warn(&format!("everybody can read the key {}; take that right from them: chmod 600", key.display()));
    }
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, secret);
    let mut config = config.map_err(|error| wrong(&certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn own(home: &Path, settings: &S3Settings, listen: IpAddr) -> Result<[PathBuf; 2], Failure> {
    let paths = OWN.map(|name| home.join(name));
    let mut names = BTreeSet::from(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    if !listen.is_unspecified() {
        names.insert(listen.to_string());
    }
    for domain in gateway::domain_names(&settings.domains) {
        names.extend([format!("*.{domain}"), domain]);
    }
    if is_good(&paths, &home.join(NAMES), &names) {
        return Ok(paths);
    }
    // Under these it may be reached, too; but when they change it need not be made anew.
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    names.extend(interfaces::own_ips().iter().map(IpAddr::to_string));
    if host.contains(|c: char| c != '-' && !c.is_ascii_alphanumeric() && c != '.') || host.is_empty() {
        tracing::debug!(%host, "the name of this machine cannot be in a certificate");
    } else {
        names.extend([host.clone(), format!("{host}.local")]);
    }
    let failed = |error: &rcgen::Error| Failure::Certificate { path: paths[0].clone(), detail: error.to_string() };
    let list: Vec<_> = names.into_iter().collect();
    let text = list.join("\n");
    let (key, made) = make(list, &host).map_err(|error| failed(&error))?;
    // Whatever is cut off between two of these is seen not to go together, and made anew.
    write(&paths[1], 0o600, &key.serialize_pem())?;
    write(&paths[0], 0o644, &made.pem())?;
    write(&home.join(NAMES), 0o644, &text)?;
    say(format_args!("offs: made the certificate {}, which clients have to be told to trust", paths[0].display()));
    Ok(paths)
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    let written = output_file::replace(path, text.as_bytes());
    let written = written.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
    written.map_err(|source| Failure::io("write", path, source))
}

fn make(names: Vec<String>, host: &str) -> Result<(KeyPair, rcgen::Certificate), rcgen::Error> {
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name.push(DnType::CommonName, format!("offs at {host}"));
    let now = SystemTime::now();
    parameters.not_before = (now - DAY).into();
    parameters.not_after = (now + GOOD).into();
    let key = KeyPair::generate()?;
    let made = parameters.self_signed(&key)?;
    Ok((key, made))
}

/// Whether a certificate of our own is one, is that of its key, is for these names, and is so for a while yet.
fn is_good([certificate, key]: &[PathBuf; 2], names: &Path, wanted: &BTreeSet<String>) -> bool {
    let check = || -> Result<(), Box<dyn std::error::Error>> {
        let certificate = CertificateDer::from_pem_file(certificate)?;
        let provider = aws_lc_rs::default_provider();
        CertifiedKey::from_der(vec![certificate.clone()], PrivateKeyDer::from_pem_file(key)?, &provider)?;
        let parsed = ParsedCertificate::try_from(&certificate)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone())?;
        let later = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)? + LATE;
        let algorithms = provider.signature_verification_algorithms.all;
        let later = UnixTime::since_unix_epoch(later);
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], later, algorithms)?;
        let known = fs::read_to_string(names)?;
        let known: BTreeSet<_> = known.lines().collect();
        match wanted.iter().find(|name| !known.contains(name.as_str())) {
            Some(name) => Err(format!("it is not for {name}").into()),
            None => Ok(()),
        }
    };
    match check() {
        Ok(()) => true,
        Err(error) => {
            tracing::info!(%error, "the certificate is made anew");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_anew_when_it_is_for_other_names() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let read = || fs::read(folder.path().join(OWN[0])).expect("a certificate");
        let mut settings = S3Settings::default();
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let accept = |settings: &S3Settings, ip| acceptor(folder.path(), settings, ip).expect("a certificate");
        accept(&settings, loopback);
        let first = read();
        accept(&settings, loopback);
        accept(&settings, IpAddr::from([0, 0, 0, 0]));
        assert!(first == read(), "it is for these names");
        accept(&settings, IpAddr::from([192, 0, 2, 1]));
        let second = read();
        assert!(first != second);
        settings.domains.push("s3.example".to_owned());
        accept(&settings, IpAddr::from([192, 0, 2, 1]));
        let third = read();
        assert!(second != third);
        accept(&settings, IpAddr::from([192, 0, 2, 1]));
        assert!(third == read());
        for odd in ["localhost", "nas", "S3.example:9000", "192.0.2.7"] {
            settings.domains = vec![odd.to_owned()];
            accept(&settings, loopback);
            let made = read();
            accept(&settings, loopback);
            assert!(made == read(), "{odd}");
        }
        // What does not go together is made anew.
        for name in OWN {
            fs::write(folder.path().join(name), b"damaged").expect("written");
            accept(&settings, loopback);
        }
        let other = KeyPair::generate().expect("a key");
        fs::write(folder.path().join(OWN[1]), other.serialize_pem()).expect("written");
        accept(&settings, loopback);
        let mode = fs::metadata(folder.path().join(OWN[1])).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
