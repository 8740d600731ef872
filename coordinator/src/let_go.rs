//! Savepoints that a user does not want kept any more, while the job runs.
//!
//! Received from: the machine, as [`Event::LetGo`](crate::machine::Event::LetGo). Handed to: the
//! running state, which deletes them one by one between two epochs, and to the status. Invariants:
//! what a start may need stays; each wish is answered, once its savepoint is gone or must stay.

use millstream_protocol::id::Seq;

use crate::context::Context;
use crate::retain::{self, Indispensable, Retention};
use crate::status::LetGo;

/// So many answers are shown: whoever asks looks at his own within seconds.
const ANSWERS_MAX: usize = 64;

impl Context {
    pub(crate) fn let_go(&mut self, seq: Seq) {
        self.letting_go.insert(seq);
        self.answer(seq, None);
    }

    /// What is to be done for the first of them that may go; for those before it nothing is.
    pub(crate) fn next_to_go(&mut self) -> Option<Retention> {
        loop {
            let seq = *self.letting_go.first()?;
            let stays = match retain::delete(&self.history, seq, self.now) {
                Ok(retention) => return Some(retention),
                // It is gone already.
                Err(Indispensable::Missing) => None,
                Err(why) => Some(why),
            };
            self.letting_go.remove(&seq);
            let uri = self.config.prefix.snapshot_uri(seq);
            self.answer(seq, Some(stays.map_or(Ok(()), |why| Err(format!("{uri} {why}")))));
        }
    }

    /// What was done for one of them has come to this.
    pub(crate) fn answer_of(&mut self, retention: &Retention, result: &Result<(), String>) {
        for (seq, _) in &retention.tombstones {
            if self.letting_go.remove(seq) {
                self.answer(*seq, Some(result.clone()));
            }
        }
    }

    fn answer(&mut self, seq: Seq, result: Option<Result<(), String>>) {
        let answers = &mut self.status.let_go;
        answers.retain(|it| it.seq != seq);
        answers.push(LetGo { seq, result });
        if answers.len() > ANSWERS_MAX {
            answers.remove(0);
        }
    }
}
