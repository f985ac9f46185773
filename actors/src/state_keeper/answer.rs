//! What an answer of Sōzu means. The words are those of Sōzu 2.3.3, measured or read in its source
//! (`src/command/requests.rs`).

use sozu_socket::ExchangeError;

/// What came back for a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// `OK`, with the number of entries that were skipped.
    Ok {
        /// By Sōzu's own count.
        skipped: usize,
    },
    /// Anything else.
    Failed(ExchangeError),
}

/// What it means for the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The main process and every worker have it.
    Applied,
    /// Some entries were not taken; reading back tells which.
    Skipped,
    /// Refused, alone: nothing changed.
    RefusedByMain(String),
    /// Refused, alone, because the main process does not hold what was believed: somebody else was
    /// there. Nothing changed; reading back tells what it holds.
    NotAsBelieved(String),
    /// Refused, alone, by every worker: the main process took a frontend back and kept the rest.
    RefusedByWorkers(String),
    /// Never will be sent.
    TooLarge(String),
    /// Workers refused some entries: reading back tells which frontends are held; the rest is tried
    /// in smaller batches.
    PartlyRefused(String),
    /// A record could not be read. What stood before it is in the main process, but Sōzu has cancelled
    /// the task (`load_state` in its source): it hears no worker, and takes no frontend back.
    Unreadable(String),
    /// Nothing was sent, or Sōzu could not open the file: try again later.
    NotTaken(String),
    /// The main process may hold it, some workers, none; and it may still change its mind.
    Unknown(String),
}

/// Sorts what came back for a batch of `requests` requests, sent while `workers` workers ran.
pub fn meaning(requests: usize, workers: usize, outcome: &Outcome) -> Meaning {
    let error = match outcome {
        Outcome::Ok { skipped: 0 } => return Meaning::Applied,
        Outcome::Ok { .. } => return Meaning::Skipped,
        Outcome::Failed(error) => error,
    };
    match error {
        ExchangeError::NotSent(why) => Meaning::NotTaken(why.clone()),
        ExchangeError::TooLarge { .. } => Meaning::TooLarge(error.to_string()),
        ExchangeError::Unknown(why) => Meaning::Unknown(why.clone()),
        ExchangeError::Refused(refusal) if requests == 1 => alone(&refusal.message, workers),
        ExchangeError::Refused(refusal) => bulk(&refusal.message),
    }
}

/// What Sōzu says of what it holds (`sozu-command-lib` 2.3.3, `StateError`): under the key there is
/// something, or nothing, or its cluster is gone.
const ELSE_THERE: [&str; 4] = [
    "already exists; remove it first",
    "Did not find ",
    "did not bring any change to the state",
    "names a cluster that does not exist",
];

fn alone(words: &str, workers: usize) -> Meaning {
    if let Some(reason) = words.strip_prefix("could not apply request on the main process state") {
        let reason = reason.trim_start_matches([':', ' ']).to_owned();
        return if ELSE_THERE.iter().any(|words| reason.contains(words)) {
            Meaning::NotAsBelieved(reason)
        } else {
            Meaning::RefusedByMain(reason)
        };
    }
    let answers = worker_answers(words);
    let all_refused = !answers.is_empty()
        && answers.len() >= workers
        && answers.iter().all(|(_, answer)| *answer != "OK");
    if all_refused {
        Meaning::RefusedByWorkers(words.to_owned())
    } else {
        Meaning::Unknown(words.to_owned())
    }
}

fn bulk(words: &str) -> Meaning {
    if words.starts_with("Cannot find file") || words.starts_with("Cannot open file") {
        return Meaning::NotTaken(format!(
            "{words}; Sōzu must be able to read the exchange directory"
        ));
    }
    let unreadable = words.starts_with("Error consuming load state message")
        || words.starts_with("saved state parse error")
        || words.starts_with("message too big");
    if unreadable {
        Meaning::Unreadable(words.to_owned())
    } else if words.contains("timed out: false") {
        Meaning::PartlyRefused(words.to_owned())
    } else {
        Meaning::Unknown(words.to_owned())
    }
}

/// Whether a worker took it, and none of those that answered refused it.
pub fn is_vouched(words: &str) -> bool {
    if let Some(counts) = words.strip_prefix("loading state: ") {
        return !counts.starts_with("0 ok") && counts.contains(" 0 errors,");
    }
    let answers = worker_answers(words);
    !answers.is_empty() && answers.iter().all(|(_, answer)| *answer == "OK")
}

/// Whether any worker has answered, well or not, of those that were asked.
pub fn is_from_workers(words: &str) -> bool {
    match words.strip_prefix("loading state: ") {
        Some(counts) => !counts.starts_with("0 ok messages, 0 errors"),
        None => !worker_answers(words).is_empty(),
    }
}

/// The workers that refused it, if each of so many has answered and some of them took it.
pub fn refused_by_some(words: &str, workers: usize) -> Vec<u32> {
    let answers = worker_answers(words);
    let refused = answers.iter().filter(|(_, answer)| *answer != "OK");
    let refused: Vec<u32> = refused.map(|(id, _)| *id).collect();
    if answers.len() >= workers && refused.len() < answers.len() {
        refused
    } else {
        Vec::new()
    }
}

/// What Sōzu says for a worker that ended first (2.3.3, `src/command/server.rs`): it has neither taken nor refused anything.
const CLOSED: &str = "closed before answering";

/// The workers' words in `1: found no listener, 0: OK`, in which a worker names itself.
fn worker_answers(words: &str) -> Vec<(u32, &str)> {
    let mut answers = Vec::new();
    let mut rest = words;
    while let Some((id, text)) = after_worker_id(rest) {
        let end = text
            .match_indices(", ")
            .map(|(at, _)| at)
            .find(|at| after_worker_id(&text[at + 2..]).is_some())
            .unwrap_or(text.len());
        if !text[..end].ends_with(CLOSED) {
            answers.push((id, &text[..end]));
        }
        rest = text.get(end + 2..).unwrap_or("");
    }
    answers
}

fn after_worker_id(text: &str) -> Option<(u32, &str)> {
    let (id, text) = text.split_once(": ")?;
    let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
    Some((id.parse().ok().filter(|_| is_number)?, text))
}

#[cfg(test)]
mod tests {
    use sozu_socket::Refusal;

    use super::*;

    fn refused(words: &str) -> Outcome {
        Outcome::Failed(ExchangeError::Refused(Box::new(Refusal {
            message: words.to_owned(),
            ..Refusal::default()
        })))
    }

    #[test]
    fn a_worker_that_ended_has_refused_nothing() {
        for (words, workers) in [
            ("0: worker 0 closed before answering", 1),
            (
                "0: found no listener, 1: worker 1 closed before answering",
                2,
            ),
            (
                "1: worker 1 closed before answering, 0: found no listener",
                2,
            ),
        ] {
            let meaning = alone(words, workers);
            assert_eq!(meaning, Meaning::Unknown(words.to_owned()));
        }
        assert!(is_vouched("0: OK, 1: worker 1 closed before answering"));
    }

    #[test]
    fn a_worker_that_answers_is_heard_however_many_were_asked() {
        let counts = |ok, errors| {
            format!(
                "loading state: {ok} ok messages, {errors} errors, timed out: true, reverted entries: 0"
            )
        };
        assert!(is_from_workers("1: could not add route"));
        assert!(is_from_workers(&counts(1, 0)));
        assert!(is_from_workers(&counts(0, 2)));
        assert!(!is_from_workers(&counts(0, 0)));
        assert!(!is_from_workers("the connection broke"));
    }

    #[test]
    fn every_answer_has_its_meaning() {
        let unknown = |words: &str| Meaning::Unknown(words.to_owned());
        let not_found = "1: found no listener at a, b, 0: found no listener at a, b";
        let table = [
            (1, Outcome::Ok { skipped: 0 }, Meaning::Applied),
            (9, Outcome::Ok { skipped: 3 }, Meaning::Skipped),
            (
                1,
                refused("could not apply request on the main process state: bad name"),
                Meaning::RefusedByMain("bad name".to_owned()),
            ),
            (
                1,
                refused("could not apply request on the main process state: HttpFrontend with id_bytes=27 already exists; remove it first, or"),
                Meaning::NotAsBelieved(
                    "HttpFrontend with id_bytes=27 already exists; remove it first, or".to_owned(),
                ),
            ),
            (1, refused(not_found), Meaning::RefusedByWorkers(not_found.to_owned())),
            (1, refused("1: OK"), unknown("1: OK")),
            (1, refused("1: no, 0: OK"), unknown("1: no, 0: OK")),
            (1, refused("1: no"), unknown("1: no")),
            (1, refused("something else"), unknown("something else")),
            (
                9,
                refused("Error consuming load state message"),
                Meaning::Unreadable("Error consuming load state message".to_owned()),
            ),
            (
                9,
                refused("loading state: 16 ok messages, 2 errors, timed out: false, reverted entries: 1"),
                Meaning::PartlyRefused(
                    "loading state: 16 ok messages, 2 errors, timed out: false, reverted entries: 1".to_owned(),
                ),
            ),
            (
                9,
                refused("loading state: 9 ok messages, 0 errors, timed out: true, reverted entries: 0"),
                unknown("loading state: 9 ok messages, 0 errors, timed out: true, reverted entries: 0"),
            ),
            (
                9,
                Outcome::Failed(ExchangeError::Unknown("no answer".to_owned())),
                unknown("no answer"),
            ),
            (
                1,
                Outcome::Failed(ExchangeError::NotSent("away".to_owned())),
                Meaning::NotTaken("away".to_owned()),
            ),
        ];
        for (requests, outcome, expected) in table {
            assert_eq!(meaning(requests, 2, &outcome), expected);
        }
    }

    #[test]
    fn a_worker_vouches_only_if_none_that_answered_refused() {
        let table = [
            ("1: OK", true),
            ("1: OK, 0: no", false),
            ("1: no", false),
            ("", false),
            ("no answer", false),
            (
                "loading state: 9 ok messages, 0 errors, timed out: true, reverted entries: 0",
                true,
            ),
            (
                "loading state: 9 ok messages, 1 errors, timed out: true, reverted entries: 0",
                false,
            ),
            (
                "loading state: 0 ok messages, 0 errors, timed out: true, reverted entries: 9",
                false,
            ),
        ];
        for (words, vouched) in table {
            assert_eq!(is_vouched(words), vouched, "{words}");
        }
    }

    #[test]
    fn who_refused_is_known_once_all_have_answered_and_some_took_it() {
        assert_eq!(refused_by_some("1: no, really: no, 0: OK", 2), [1]);
        for words in [
            "1: no",
            "1: OK, 0: OK",
            "1: no, 0: no",
            "no answer",
            "+1: no, 0: OK",
        ] {
            assert!(refused_by_some(words, 2).is_empty(), "{words}");
        }
        assert!(refused_by_some("1: no, 0: OK", 3).is_empty());
    }

    #[test]
    fn a_file_that_sozu_cannot_open_was_not_taken() {
        let outcome = refused("Cannot open file at path /x: Permission denied");
        assert!(matches!(meaning(2, 2, &outcome), Meaning::NotTaken(_)));
    }
}
