//! How each tool lays a certificate out, and writes its renewal.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use testkit::pki::{Issued, write};

/// Writes a pair as one tool lays it out. Again for a renewal.
pub type Tool = fn(&Path, &str, &Issued);

pub fn flat(base: &Path, name: &str, issued: &Issued) {
    issued
        .write(base, &format!("{name}.crt"), &format!("{name}.key"))
        .unwrap();
}

pub fn connector(base: &Path, name: &str, issued: &Issued) {
    let folder = base.join(name);
    issued
        .write(&folder, &format!("{name}.crt"), &format!("{name}.key"))
        .unwrap();
    write(&folder.join("options.json"), "[4, 5]").unwrap();
}

/// Relative links into an archive; the directory here is not `live` itself, so that it holds both.
pub fn certbot(base: &Path, name: &str, issued: &Issued) {
    linked(
        &base.join(name),
        &base.join(".archive"),
        "../.archive",
        issued,
    );
}

/// In `live`, beside the archive that it leads to.
pub fn certbot_live(live: &Path, name: &str, issued: &Issued) {
    let archive = live.parent().unwrap().join("archive");
    linked(&live.join(name), &archive, "../../archive", issued);
}

/// A renewal is another number; each link is removed and made anew, one after the other.
fn linked(live: &Path, archive: &Path, to_archive: &str, issued: &Issued) {
    let name = live.file_name().unwrap().to_str().unwrap();
    let archive = archive.join(name);
    fs::create_dir_all(&archive).unwrap();
    fs::create_dir_all(live).unwrap();
    let number = fs::read_dir(&archive).unwrap().count() / 4 + 1;
    for (file, text) in files_of(issued) {
        let numbered = format!("{file}{number}.pem");
        fs::write(archive.join(&numbered), text).unwrap();
        let link = live.join(format!("{file}.pem"));
        let _ = fs::remove_file(&link);
        symlink(format!("{to_archive}/{name}/{numbered}"), link).unwrap();
    }
    fs::write(live.join("README"), "This directory contains your keys").unwrap();
}

/// As certbot and dehydrated name them.
fn files_of(issued: &Issued) -> [(&'static str, String); 4] {
    [
        ("cert", issued.leaf.clone()),
        ("chain", issued.chain.clone()),
        ("fullchain", issued.fullchain()),
        ("privkey", issued.key.clone()),
    ]
}

pub fn dehydrated(base: &Path, name: &str, issued: &Issued) {
    let folder = base.join(name);
    fs::create_dir_all(&folder).unwrap();
    let number = fs::read_dir(&folder).unwrap().count();
    for (file, text) in files_of(issued) {
        let numbered = format!("{file}-{number}.pem");
        fs::write(folder.join(&numbered), text).unwrap();
        let (new, link) = (folder.join(".link"), folder.join(format!("{file}.pem")));
        symlink(numbered, &new).unwrap();
        fs::rename(new, link).unwrap();
    }
}

pub fn caddy(base: &Path, name: &str, issued: &Issued) {
    let folder = base
        .join("acme-v02.api.letsencrypt.org-directory")
        .join(name);
    issued
        .write(&folder, &format!("{name}.crt"), &format!("{name}.key"))
        .unwrap();
    write(&folder.join(format!("{name}.json")), "{\"sans\": []}").unwrap();
}

/// In place, one file after the other.
fn acme_sh_in(folder: &Path, name: &str, issued: &Issued) {
    fs::create_dir_all(folder).unwrap();
    for (file, text) in [
        (format!("{name}.key"), &issued.key),
        (format!("{name}.cer"), &issued.leaf),
        (format!("{name}.conf"), &"Le_Domain=''\n".to_owned()),
        ("ca.cer".to_owned(), &issued.chain),
        ("fullchain.cer".to_owned(), &issued.fullchain()),
    ] {
        fs::write(folder.join(file), text).unwrap();
    }
}

pub fn acme_sh(base: &Path, name: &str, issued: &Issued) {
    acme_sh_in(&base.join(name), name, issued);
}

pub fn acme_sh_ecc(base: &Path, name: &str, issued: &Issued) {
    acme_sh_in(&base.join(format!("{name}_ecc")), name, issued);
}

/// A volume of its own, swapped by one rename.
pub fn kubernetes(base: &Path, name: &str, issued: &Issued) {
    mounted(&base.join(name), issued);
}

/// The volume itself.
pub fn mounted(volume: &Path, issued: &Issued) {
    fs::create_dir_all(volume).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let before = fs::read_link(volume.join("..data")).ok();
    let dated = volume.join(format!("..{}", now.as_nanos()));
    fs::create_dir(&dated).unwrap();
    fs::write(dated.join("tls.crt"), issued.fullchain()).unwrap();
    fs::write(dated.join("tls.key"), &issued.key).unwrap();
    symlink(dated.file_name().unwrap(), volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        let _ = symlink(format!("..data/{file}"), volume.join(file));
    }
    if let Some(before) = before {
        fs::remove_dir_all(volume.join(before)).unwrap();
    }
}

pub fn haproxy(base: &Path, name: &str, issued: &Issued) {
    write(&base.join(format!("{name}.pem")), &issued.combined()).unwrap();
}

pub fn lego(base: &Path, name: &str, issued: &Issued) {
    issued
        .write(base, &format!("{name}.crt"), &format!("{name}.key"))
        .unwrap();
    write(&base.join(format!("{name}.issuer.crt")), &issued.chain).unwrap();
    write(&base.join(format!("{name}.json")), "{}").unwrap();
}

pub fn pem(base: &Path, name: &str, issued: &Issued) {
    issued
        .write(base, &format!("{name}.pem"), &format!("{name}.key"))
        .unwrap();
}
