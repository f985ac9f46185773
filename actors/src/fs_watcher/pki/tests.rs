//! The pair reader takes whatever bytes come.

use proptest::prelude::*;

use super::{
    beneath::MAX_BYTES,
    options, pair,
    pair::{Files, PairError},
};

fn issued() -> (String, String) {
    let issued = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    (issued.cert.pem(), issued.signing_key.serialize_pem())
}

fn read(certificate: &[u8], key: &[u8]) -> Result<pair::Pair, PairError> {
    let files = Files {
        certificate,
        key: Some((key, "a.key".to_owned())),
    };
    pair::read(&files, Vec::new(), &[])
}

#[test]
fn a_good_pair_is_taken_and_its_debug_hides_the_key() {
    let (certificate, key) = issued();
    let pair = read(certificate.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!(pair.facts.names, ["a.example"]);
    assert!(pair.facts.self_signed);
    let body = key.lines().nth(1).unwrap();
    assert!(pair.material.key.contains(body));
    assert!(!format!("{pair:?}").contains(body));
    let both = format!("# a comment\r\n{key}\r\n{certificate}");
    let files = Files {
        certificate: both.as_bytes(),
        key: None,
    };
    let combined = pair::read(&files, Vec::new(), &[]).unwrap();
    assert_eq!(combined, pair);
}

/// What a byte becomes.
#[derive(Clone, Debug)]
enum Mutation {
    Set(usize, u8),
    Cut(usize),
    Twice(usize),
    Swap(usize, usize),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let at = 0..4096_usize;
    prop::collection::vec(
        prop_oneof![
            (at.clone(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
            at.clone().prop_map(Mutation::Cut),
            at.clone().prop_map(Mutation::Twice),
            (at.clone(), at).prop_map(|(a, b)| Mutation::Swap(a, b)),
        ],
        0..12,
    )
}

fn mutated(text: &str, mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for mutation in mutations {
        let length = bytes.len().max(1);
        match *mutation {
            Mutation::Set(at, byte) => {
                if let Some(place) = bytes.get_mut(at % length) {
                    *place = byte;
                }
            }
            Mutation::Cut(at) => bytes.truncate(at % length),
            Mutation::Twice(at) => {
                let part = bytes[at.min(bytes.len())..].to_vec();
                bytes.extend(part);
            }
            Mutation::Swap(a, b) => {
                if !bytes.is_empty() {
                    bytes.swap(a % length, b % length);
                }
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_a_pair_or_an_error(
        certificate in prop::collection::vec(any::<u8>(), 0..4096),
        key in prop::collection::vec(any::<u8>(), 0..4096),
    ) {
        let _ = read(&certificate, &key);
        let _ = options::versions(&certificate);
    }

    #[test]
    fn a_mutated_pair_is_a_pair_of_no_more_bytes_than_were_read_or_an_error(
        of_certificate in mutations(),
        of_key in mutations(),
    ) {
        let (certificate, key) = issued();
        let certificate = mutated(&certificate, &of_certificate);
        let key = mutated(&key, &of_key);
        prop_assert!((certificate.len() as u64) < MAX_BYTES);
        match read(&certificate, &key) {
            Ok(pair) => {
                let material = &pair.material;
                let chain: usize = material.certificate_chain.iter().map(String::len).sum();
                let kept = material.certificate.len() + chain + material.key.len();
                prop_assert!(kept <= certificate.len() + key.len());
            }
            Err(error) => {
                let text = error.to_string();
                let body = issued_line(&key);
                prop_assert!(body.is_empty() || !text.contains(&body), "{text}");
                prop_assert!(text.len() < 1000, "{text}");
            }
        }
    }
}

/// A line of a key that must be in no error.
fn issued_line(key: &[u8]) -> String {
    let text = String::from_utf8_lossy(key);
    let line = text.lines().find(|line| line.len() == 64);
    line.unwrap_or_default().to_owned()
}
