//! Network file systems: another host may use the same files, and does not see our lock.

use std::fs;

use nix::sys::stat::{major, minor};

/// As `/proc/self/mountinfo` names them. Other `fuse` file systems are let through: containers and virtual machines
/// lie on such (`fuse.fuse-overlayfs`, `virtiofs`), and their files are of one host.
const NETWORK: [&str; 22] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "fuse.ceph-fuse",
    "fuse.davfs2",
    "fuse.gcsfuse",
    "fuse.glusterfs",
    "fuse.juicefs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "gfs2",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "smb3",
];

/// The name of the file system on this device (`st_dev`), if it is one of a network. Without `/proc` none is.
pub fn network_file_system(device: u64) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let name = file_system(&mounts, device)?;
    NETWORK.contains(&name).then(|| name.to_owned())
}

/// The file system of a device: `36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw` (proc(5)).
///
/// btrfs and overlays give their files other devices than their mounts have: they are not found, and local.
fn file_system(mounts: &str, device: u64) -> Option<&str> {
    let wanted = format!("{}:{}", major(device), minor(device));
    mounts
        .lines()
        .filter(|line| line.split(' ').nth(2) == Some(&wanted))
        .find_map(|line| line.split_once(" - ")?.1.split(' ').next())
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::makedev;

    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
90 22 0:51 / /var/lib/sozu-manager rw,relatime shared:30 - nfs4 filer:/export rw,vers=4.2
91 22 0:52 / /mnt/a rw - fuse.sshfs me@there: rw,user_id=0
92 22 0:53 / /mnt/b rw master:1 propagate_from:2 - virtiofs share rw
";

    #[test]
    fn the_mount_of_a_device_names_its_file_system() {
        let table = [
            (makedev(254, 0), Some("ext4")),
            (makedev(0, 51), Some("nfs4")),
            (makedev(0, 52), Some("fuse.sshfs")),
            (makedev(0, 53), Some("virtiofs")),
            (makedev(0, 5), None),
        ];
        for (device, name) in table {
            assert_eq!(file_system(MOUNTS, device), name);
        }
        assert!(NETWORK.contains(&"nfs4") && NETWORK.contains(&"fuse.sshfs"));
        assert!(!NETWORK.contains(&"ext4") && !NETWORK.contains(&"virtiofs"));
    }

    #[test]
    fn a_directory_of_this_host_is_local() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let device = fs::metadata(directory.path()).unwrap().dev();
        assert_eq!(network_file_system(device), None);
    }
}
