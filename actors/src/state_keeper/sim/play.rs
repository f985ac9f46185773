//! A history: what happens, when, and what goes wrong meanwhile. It is played, judged, and made
//! shorter if it breaks the promise.

use std::{
    cell::Cell,
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{ops::Op, *};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scene {
    pub(super) op: Op,
    /// What goes wrong with which of the next batches.
    pub(super) fault: Option<(usize, Fault)>,
    /// So many effects follow before the next thing happens; or all, until it has come to rest.
    pub(super) then: usize,
}

/// All until it has come to rest.
pub(super) const REST: usize = usize::MAX;

/// How the daemon dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// Alone.
    Alone,
    /// And Sōzu starts empty before the next daemon does.
    Both,
}

#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) scenes: Vec<Scene>,
    /// What goes wrong with which batch, counted over all of it.
    pub(super) fault: Option<(usize, Fault)>,
    /// At which of its steps the daemon dies.
    pub(super) death: Option<(usize, Death)>,
    pub(super) disk_full: Option<usize>,
    pub(super) buses: usize,
    /// The guard holds whatever a listing would remove.
    pub(super) is_guarded: bool,
    /// Workers that differ are replaced.
    pub(super) is_cured: bool,
}

const STRICT: Bounds = Bounds {
    removal_share: 0.0,
    removal_minimum: 0,
};

impl History {
    pub(super) fn of(scenes: Vec<Scene>) -> Self {
        Self {
            scenes,
            fault: None,
            death: None,
            disk_full: None,
            buses: 2,
            is_guarded: false,
            is_cured: false,
        }
    }

    pub(super) fn play(&self) -> World {
        let mut world = World::with_buses(self.buses);
        world.lives(REST);
        world.begins_to_count();
        world.faults.extend(self.fault);
        world.death = self.death;
        world.full_at = self.disk_full;
        world.is_cured = self.is_cured;
        if self.is_guarded {
            world.bounds = STRICT;
        }
        world.does(Op::Applies);
        for scene in &self.scenes {
            if let Some((batch, fault)) = scene.fault {
                world.faults.insert(world.batches + batch, fault);
            }
            world.does(scene.op);
            world.lives(scene.then);
        }
        if self.fault.is_none() {
            world.faults.clear();
        }
        world.does(Op::Applies);
        world.does(Op::Resumes);
        world.does(Op::AllCome);
        world.lives(REST);
        world
    }

    /// What is wrong with it, if anything is.
    pub(super) fn judge(&self) -> Result<World, String> {
        let mut world = self.play();
        match world.judge() {
            Ok(()) => Ok(world),
            Err(wrong) => Err(wrong),
        }
    }

    /// The same without what it takes not to break the promise.
    pub(super) fn shortest(mut self) -> Self {
        loop {
            let shorter = self.shorter().into_iter().find(|it| it.judge().is_err());
            match shorter {
                Some(shorter) => self = shorter,
                None => return self,
            }
        }
    }

    fn shorter(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for nth in 0..self.scenes.len() {
            let mut fewer = self.clone();
            fewer.scenes.remove(nth);
            all.push(fewer);
        }
        for nth in 0..self.scenes.len() {
            for simpler in [
                Scene {
                    fault: None,
                    ..self.scenes[nth]
                },
                Scene {
                    then: REST,
                    ..self.scenes[nth]
                },
            ] {
                if simpler != self.scenes[nth] {
                    let mut it = self.clone();
                    it.scenes[nth] = simpler;
                    all.push(it);
                }
            }
        }
        for simpler in [
            Self {
                fault: None,
                ..self.clone()
            },
            Self {
                death: None,
                ..self.clone()
            },
            Self {
                disk_full: None,
                ..self.clone()
            },
            Self {
                is_guarded: false,
                ..self.clone()
            },
            Self {
                is_cured: false,
                ..self.clone()
            },
        ] {
            let troubles =
                |it: &Self| (it.fault, it.death, it.disk_full, it.is_guarded, it.is_cured);
            if troubles(&simpler) != troubles(self) {
                all.push(simpler);
            }
        }
        all
    }
}

impl std::fmt::Display for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for Scene { op, fault, then } in &self.scenes {
            let then = if *then == REST {
                "rest".to_owned()
            } else {
                then.to_string()
            };
            write!(f, "{op:?} ({then}")?;
            if let Some((batch, fault)) = fault {
                write!(f, ", +{batch} {fault:?}")?;
            }
            f.write_str(") ")?;
        }
        let Self {
            fault,
            death,
            disk_full,
            is_guarded,
            is_cured,
            ..
        } = self;
        write!(
            f,
            "fault {fault:?} death {death:?} disk full {disk_full:?} guarded {is_guarded} cured {is_cured}"
        )
    }
}

thread_local! {
    static TRACED: Cell<bool> = const { Cell::new(false) };
}

/// Tells what happens in a history that breaks the promise, if `SOZU_MANAGER_TRACE` is set.
pub(super) fn trace(what: impl FnOnce() -> String) {
    if TRACED.get() {
        println!("{}", what());
    }
}

/// What broke the promise, and how many histories did not.
#[derive(Default)]
pub(super) struct Findings {
    failures: Mutex<Vec<String>>,
    judged: AtomicUsize,
}

/// So many failures are enough.
const ENOUGH: usize = 12;

impl Findings {
    pub(super) fn is_enough(&self) -> bool {
        self.failures.lock().unwrap().len() >= ENOUGH
    }

    /// Plays and judges. Returns the world at its end, if all is well.
    pub(super) fn judge(&self, history: &History, name: &str) -> Option<World> {
        if self.is_enough() {
            return None;
        }
        self.judged.fetch_add(1, Ordering::Relaxed);
        if let Ok(world) = history.judge() {
            return Some(world);
        }
        let shortest = history.clone().shortest();
        TRACED.set(std::env::var_os("SOZU_MANAGER_TRACE").is_some());
        let wrong = shortest.judge().err().unwrap_or_default();
        TRACED.set(false);
        let failure = format!("{name} {shortest}: {wrong}");
        self.failures.lock().unwrap().push(failure);
        None
    }

    /// Says how many there were, and fails with the shortest of those that broke the promise.
    pub(super) fn tell(self, what: &str) {
        println!("{what}: {} histories judged", self.judged.into_inner());
        let mut failures = self.failures.into_inner().unwrap();
        let count = failures.len();
        failures.sort_by_key(String::len);
        // One of each kind.
        let kind = |failure: &str| -> String {
            let wrong = failure.split_once("[\n").map_or("", |(_, wrong)| wrong);
            let words = wrong.lines().next().unwrap_or_default();
            let words = words.chars().filter(|c| !c.is_ascii_digit());
            words.take(40).collect()
        };
        let mut kinds = std::collections::BTreeSet::new();
        failures.retain(|failure| kinds.insert(kind(failure)));
        let mut text = String::new();
        for failure in &failures {
            let _ = writeln!(text, "{failure}\n");
        }
        assert!(
            failures.is_empty(),
            "{count} histories break the promise, among them:\n{text}"
        );
    }
}

/// `each` of these, over all processors.
pub(super) fn over_all_processors<T: Sync>(all: &[T], each: impl Fn(usize, &T) + Sync) {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = all.get(nth) else { return };
                    each(nth, one);
                }
            });
        }
    });
}

pub(super) fn is_long() -> bool {
    std::env::var_os("SOZU_MANAGER_LONG").is_some()
}
