//! The demo's certificates: a self-made authority, a directory, and HTTPS that is verified.

use std::{fs, path::PathBuf, time::Instant};

use testkit::{
    Error, Result, SOON,
    pki::{Authority, Issued},
    routes,
    tls::get_verified,
    wait_for,
};

use crate::stage::{HOST, Stage, seconds};

/// The directory and who signs what is in it.
pub(crate) struct Certificates {
    directory: tempfile::TempDir,
    authority: Authority,
}

impl Certificates {
    /// Makes both.
    pub(crate) fn new() -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("sozu-manager-demo-certificates-")
            .tempdir()
            .map_err(|error| Error::new(format!("making a directory: {error}")))?;
        Ok(Self {
            authority: Authority::new()?,
            directory,
        })
    }

    /// The daemon's table for it.
    pub(crate) fn table(&self) -> String {
        format!(
            "[pki.demo]\ndirectory = \"{}\"\n",
            self.directory.path().display()
        )
    }

    /// The authority's certificate as a file, for whoever wants to try it.
    pub(crate) fn authority_file(&self) -> Result<PathBuf> {
        let path = self.directory.path().join(".authority.pem");
        fs::write(&path, self.authority.pem())
            .map_err(|error| Error::new(format!("writing {}: {error}", path.display())))?;
        Ok(path)
    }

    fn issue(&self) -> Result<Issued> {
        let issued = self.authority.issue(&[HOST])?;
        let (certificate, key) = (format!("{HOST}.crt"), format!("{HOST}.key"));
        issued.write(self.directory.path(), &certificate, &key)?;
        Ok(issued)
    }

    /// 200 over HTTPS with this certificate, or what came instead.
    fn answers(&self, stage: &Stage, issued: &Issued) -> std::result::Result<(), String> {
        let address = stage.https()?;
        match get_verified(address, HOST, &self.authority) {
            Ok((200, leaf)) if leaf == issued.der => Ok(()),
            Ok((status, _)) => Err(format!("{status}, or another certificate")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A certificate appears, and is renewed while somebody asks.
pub(crate) fn step(stage: &Stage) -> Result<()> {
    let address = stage.https().map_err(Error::new)?;
    let text = routes::http("demo-tls", address, &[HOST], &[stage.a.address()]);
    stage.source.declare(
        &stage.daemon,
        "demo-tls.toml",
        &stage.source.with_listener(address, &text),
    )?;
    let certificates = &stage.certificates;
    let begin = Instant::now();
    let first = certificates.issue()?;
    wait_for("HTTPS verified against the demo's authority", SOON, || {
        certificates.answers(stage, &first)
    })?;
    let served = begin.elapsed();
    let begin = Instant::now();
    let second = certificates.issue()?;
    wait_for("the renewed certificate", SOON, || {
        certificates.answers(stage, &second)
    })?;
    println!(
        "certificate written: https://{HOST} verified after {}; renewed: served after {}",
        seconds(served),
        seconds(begin.elapsed())
    );
    Ok(())
}
