use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A directory with a file that stands for the command socket, of our own user.
fn ground() -> (TempDir, ExchangeDirectory) {
    let ground = tempfile::tempdir().unwrap();
    let socket = ground.path().join("sock");
    fs::write(&socket, "").unwrap();
    let directory = ExchangeDirectory::new(
        Some(ground.path().join("exchange")),
        None,
        socket,
        Arc::default(),
    );
    (ground, directory)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn of_one_user_the_directory_is_0700_and_files_0600() {
    let (ground, directory) = ground();
    for purpose in [Purpose::Load, Purpose::Save] {
        let file = directory.create(purpose).unwrap();
        assert_eq!(mode(Path::new(&file.path_in_sozu)), 0o600);
    }
    assert_eq!(mode(&ground.path().join("exchange")), 0o700);
}

#[test]
fn a_file_goes_when_it_is_dropped() {
    let (_ground, directory) = ground();
    let file = directory.create(Purpose::Load).unwrap();
    assert!(Path::new(&file.path_in_sozu).exists());
    let path = file.path_in_sozu.clone();
    drop(file);
    assert!(!Path::new(&path).exists());
}

#[test]
fn a_wider_directory_of_ours_is_tightened() {
    let (ground, directory) = ground();
    let path = ground.path().join("exchange");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    directory.create(Purpose::Load).unwrap();
    assert_eq!(mode(&path), 0o700);
}

#[test]
fn leftovers_go_at_the_start_and_nothing_else_does() {
    let (ground, directory) = ground();
    let path = ground.path().join("exchange");
    fs::create_dir(&path).unwrap();
    for name in [".lock", "a-file-of-theirs", "sozu-socket-0123"] {
        fs::write(path.join(name), "").unwrap();
    }
    drop(directory.create(Purpose::Load).unwrap());
    assert!(path.join(".lock").exists() && path.join("a-file-of-theirs").exists());
    assert!(!path.join("sozu-socket-0123").exists());

    // later ones are files in use, or another pool's
    let in_use = directory.create(Purpose::Load).unwrap();
    fs::write(path.join("sozu-socket-4567"), "").unwrap();
    drop(directory.create(Purpose::Load).unwrap());
    assert!(Path::new(&in_use.path_in_sozu).exists());
    assert!(path.join("sozu-socket-4567").exists());
}

#[test]
fn what_sozu_makes_under_a_name_that_was_given_up_goes_the_next_time() {
    let (_ground, directory) = ground();
    let given_up = directory.create(Purpose::Save).unwrap();
    let path = given_up.path_in_sozu.clone();
    drop(given_up);
    fs::write(&path, "keys").unwrap();
    drop(directory.create(Purpose::Save).unwrap());
    assert!(!Path::new(&path).exists());
}

#[test]
fn a_lost_directory_heals() {
    let (ground, directory) = ground();
    drop(directory.create(Purpose::Load).unwrap());
    fs::remove_dir_all(ground.path().join("exchange")).unwrap();
    directory.create(Purpose::Load).unwrap();
}

#[test]
fn a_link_in_place_of_the_directory_is_refused() {
    let (ground, directory) = ground();
    fs::create_dir(ground.path().join("elsewhere")).unwrap();
    symlink(
        ground.path().join("elsewhere"),
        ground.path().join("exchange"),
    )
    .unwrap();
    let error = directory.create(Purpose::Load).unwrap_err();
    assert!(matches!(error, DirectoryError::Link(_)), "{error}");
    assert_eq!(
        fs::read_dir(ground.path().join("elsewhere"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn sozu_is_told_the_path_that_it_sees() {
    let (ground, mut directory) = ground();
    directory.in_sozu = Some("/in/sozu".into());
    let file = directory.create(Purpose::Load).unwrap();
    let name = Path::new(&file.path_in_sozu)
        .strip_prefix("/in/sozu")
        .unwrap();
    assert!(ground.path().join("exchange").join(name).exists());
}

#[test]
fn without_sozu_or_a_directory_the_error_says_what_to_do() {
    let (ground, directory) = ground();
    fs::remove_file(ground.path().join("sock")).unwrap();
    assert!(matches!(
        directory.create(Purpose::Load),
        Err(DirectoryError::Socket { .. })
    ));
    let none = ExchangeDirectory::new(None, None, "sock".into(), Arc::default());
    let error = none.create(Purpose::Load).unwrap_err().to_string();
    assert!(error.contains("exchange_directory"), "{error}");
}

/// Needs root, to make files of other users.
#[test]
fn of_two_users_the_group_gets_what_it_needs() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can make files of other users");
        return;
    }
    let (ground, directory) = ground();
    let path = ground.path().join("exchange");
    std::os::unix::fs::chown(ground.path().join("sock"), Some(12_345), Some(12_346)).unwrap();
    let load = directory.create(Purpose::Load).unwrap();
    let save = directory.create(Purpose::Save).unwrap();
    assert_eq!(mode(&path), 0o710);
    assert_eq!(mode(Path::new(&load.path_in_sozu)), 0o640);
    assert_eq!(mode(Path::new(&save.path_in_sozu)), 0o660);
    assert_eq!(fs::metadata(&path).unwrap().gid(), 12_346);
    assert_eq!(fs::metadata(&load.path_in_sozu).unwrap().gid(), 12_346);

    // Sōzu's own directory is fine as long as it is narrow; a third one's never
    std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
    directory.create(Purpose::Load).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(
        directory.create(Purpose::Load),
        Err(DirectoryError::Wide { .. })
    ));
    std::os::unix::fs::chown(&path, Some(54_321), None).unwrap();
    assert!(matches!(
        directory.create(Purpose::Load),
        Err(DirectoryError::Stranger { .. })
    ));
}
