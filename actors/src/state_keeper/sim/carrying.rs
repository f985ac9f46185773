//! Effects are carried out one by one, and what comes of them is told; the daemon dies where it has to.

use super::*;

/// A history of so many effects never comes to rest.
pub(super) const TOO_LONG: usize = 1000;

impl World {
    pub(super) fn tell(&mut self, event: Event) {
        self.sozu.advance(self.at);
        self.look();
        let effects = self.keeper.on(now(self.at), event);
        for effect in &effects {
            if let Effect::Accept(acceptance) = effect {
                self.hear_verdicts(acceptance);
            }
        }
        self.pending.extend(effects);
    }

    /// Carries out every effect, and lets time pass, until nothing has happened for a while.
    pub(super) fn rest(&mut self) {
        let mut quiet = 0;
        while quiet < 30 {
            if let Some(effect) = self.pending.pop_front() {
                quiet = 0;
                self.step(effect);
            } else {
                quiet += 1;
                self.at += Duration::from_secs(1);
                self.tell(Event::Tick);
            }
            assert!(self.carried_out < 10_000, "the keeper never comes to rest");
        }
    }

    pub(super) fn step(&mut self, effect: Effect) {
        trace(|| format!("{:?} {effect:.300?}", self.at));
        self.carried_out += 1;
        match &mut self.unseen_for {
            Some(0) => self.here(),
            Some(effects) => *effects -= 1,
            None => {}
        }
        if self.dies_at(self.carried_out * 2) {
            return;
        }
        let changes_something = matches!(
            effect,
            Effect::Append { .. } | Effect::Accept(_) | Effect::Send(_) | Effect::KeepPause { .. }
        );
        let life = self.sozu.life;
        let (answer, took) = self.carry_out(effect);
        if changes_something {
            self.steps_that_matter.push(self.carried_out * 2 + 1);
        }
        if self.dies_at(self.carried_out * 2 + 1) {
            return;
        }
        self.at += took;
        if took >= Duration::from_secs(1) {
            self.steps_that_matter.push(self.carried_out * 2 + 2);
        }
        if let Some(event) = answer {
            trace(|| format!("{:?}     {event:.300?}", self.at));
            self.tell(event);
        }
        if self.sozu.life != life {
            self.here();
        }
    }

    pub(super) fn dies_at(&mut self, step: usize) -> bool {
        match self.death {
            Some((at, Death::Alone)) if at == step => self.dies(),
            Some((at, Death::Both)) if at == step => self.both_die(),
            _ => return false,
        }
        true
    }

    /// What was before does not count.
    pub(super) fn begins_to_count(&mut self) {
        self.carried_out = 0;
        self.batches = 0;
        self.writes = 0;
        self.steps_that_matter.clear();
    }

    /// Lets so many effects happen, or all until nothing but reads has happened for longer than Sōzu
    /// is left unread.
    pub(super) fn lives(&mut self, effects: usize) {
        let mut since = self.at;
        let mut left = effects;
        let is_over = |world: &Self, since| {
            let is_quiet = world.at >= since + Duration::from_secs(75) && world.pending.is_empty();
            is_quiet || world.carried_out >= TOO_LONG
        };
        while left > 0 && !is_over(self, since) {
            self.disk.full = self.at < self.full_until;
            self.sources_speak();
            if let Some(effect) = self.pending.pop_front() {
                let only_looks = matches!(
                    effect,
                    Effect::AskStatus | Effect::ReadBack | Effect::ReadAgain
                );
                if !only_looks || self.keeper.trouble.is_some() {
                    since = self.at;
                }
                left -= 1;
                self.step(effect);
            } else if self.unseen_for.is_some() {
                self.here();
            } else {
                let is_quiet = self.at > since + Duration::from_secs(4);
                self.at += Duration::from_secs(if is_quiet { 7 } else { 1 });
                self.tell(Event::Tick);
            }
        }
    }

    /// A transaction begins: whether the disk is full.
    pub(super) fn is_disk_full(&mut self) -> bool {
        if self.full_at == Some(self.writes) {
            self.full_until = self.at + Duration::from_secs(3);
            self.disk.full = true;
        }
        self.writes += 1;
        self.disk.full
    }

    pub(super) fn carry_out(&mut self, effect: Effect) -> (Option<Event>, Duration) {
        let mut took = Duration::ZERO;
        let no_space = || Err("no space left".to_owned());
        let event = match effect {
            Effect::Append { .. } if self.is_disk_full() => Event::Appended(no_space()),
            Effect::Accept(_) if self.is_disk_full() => Event::Accepted(no_space()),
            Effect::Append { entries, mark } => {
                self.disk.append(entries, mark);
                Event::Appended(Ok(()))
            }
            Effect::EndLetters(_) if self.is_disk_full() => {
                Event::LettersEnded(Err(OrderError::Disk("no space left".to_owned())))
            }
            Effect::EndLetters(ending) => {
                if let End::Retried { seq, again, .. } = &ending.how {
                    self.disk.retried.insert(*seq);
                    self.disk.append(vec![again.clone()], None);
                }
                Event::LettersEnded(Ok(1))
            }
            Effect::Answer(_, answer) => {
                self.answers.push(answer);
                return (None, took);
            }
            Effect::Accept(acceptance) => {
                self.disk.accept(&acceptance);
                self.look();
                self.look_at_the_order();
                Event::Accepted(Ok(()))
            }
            Effect::Send(requests) => {
                let outcome;
                (outcome, took) = self.send(&requests);
                Event::Sent(outcome)
            }
            Effect::AskStatus => {
                let workers;
                (workers, took) = self.sozu.status(self.at);
                Event::Status(Ok(workers))
            }
            Effect::UpgradeWorker(id) => {
                self.sozu.upgrade(id);
                Event::Upgraded(Ok(()))
            }
            Effect::Prepare(requests) => {
                self.prepared = Some(requests);
                return (None, took);
            }
            Effect::ReadBack | Effect::ReadAgain => {
                let took = Duration::from_millis(1);
                let records = records(&self.sozu.main);
                let what = if matches!(effect, Effect::ReadAgain) && self.last_read == records {
                    What::Same { took }
                } else {
                    self.last_read = records;
                    What::State(sort_records(self.last_read.clone(), took))
                };
                let life = self.sozu_life();
                Event::Read(Ok(Read { life, what }))
            }
            Effect::Reply(reply, result) => {
                self.is_heard(reply, &result);
                self.replies.push(result);
                return (None, took);
            }
            Effect::GoOn(reply, result) => {
                self.goes_on(reply, &result);
                return (None, took);
            }
            Effect::KeepPause { reply, .. } if self.is_disk_full() => Event::PauseKept {
                reply,
                result: no_space(),
            },
            Effect::KeepPause { pause, reply } => {
                self.disk.pause = pause;
                Event::PauseKept {
                    reply,
                    result: Ok(()),
                }
            }
            Effect::Redelivered(..)
            | Effect::Skipped(..)
            | Effect::Restored { .. }
            | Effect::PauseEnded(_) => {
                return (None, took);
            }
        };
        (Some(event), took)
    }

    pub(super) fn send(&mut self, requests: &Arc<Vec<Request>>) -> (Outcome, Duration) {
        let fault = self.fault.take();
        let fault = fault.or_else(|| self.faults.remove(&self.batches));
        self.batches += 1;
        self.troubles += usize::from(fault.is_some());
        if self.unseen_for.is_some() || !self.keeper.belief.is_read() {
            self.sends_unseen(requests, fault.is_some());
        }
        let prepared = self.prepared.take();
        let is_prepared = prepared.is_some_and(|it| Arc::ptr_eq(&it, requests));
        self.went_as_prepared += usize::from(is_prepared);
        self.sent.extend(requests.iter().cloned());
        self.sozu.send(requests, fault, self.at)
    }
}
