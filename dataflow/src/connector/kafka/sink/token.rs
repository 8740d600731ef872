//! [`Token`]: what a transaction leaves beside its records, by which a later run knows that it
//! happened; and what is to be done with an outbox by what is found of it. Pure.
//!
//! Written and read by [`super::transactor`], judged for [`super::commit`] and [`super::recover`].
//! Invariant: an outbox is sent again only where it is known that it was not.

use millstream_protocol::id::Epoch;
use millstream_protocol::log::Lineage;

/// What a transaction leaves beside its records: as the offset of a group of its own, the epoch,
/// and as that offset's metadata the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) epoch: Epoch,
    pub(super) lineage: Lineage,
}

/// An outbox whose commit may or may not have happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubtful<'a> {
    /// The epoch that it was prepared for.
    pub(super) epoch: Epoch,
    /// The epoch of the token that was there before.
    pub(super) previous: Epoch,
    pub(super) lineage: &'a Lineage,
    pub(super) is_empty: bool,
}

/// What is to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: its commit happened.
    Done,
    /// It is sent: its commit did not happen.
    Send,
    /// Nobody can say whether it happened; why.
    Unknown(String),
}

impl Doubtful<'_> {
    /// Judges by the token that is there.
    pub(super) fn judge(self, found: Option<&Token>) -> Verdict {
        let own = found.filter(|token| token.lineage == *self.lineage);
        match (own, found) {
            (Some(token), _) if token.epoch >= self.epoch => Verdict::Done,
            (Some(token), _) if token.epoch >= self.previous => Verdict::Send,
            // Nothing can be lost or doubled.
            _ if self.is_empty => Verdict::Send,
            (Some(token), _) => Verdict::Unknown(format!(
                "its offset is {}, older than {}, which was there before",
                token.epoch, self.previous
            )),
            (None, Some(token)) => Verdict::Unknown(format!(
                "its offset is of another history ({}, not {}): another job writes under this id",
                token.lineage.0, self.lineage.0
            )),
            (None, None) => Verdict::Unknown(
                "it has no offset: the broker has removed it after offsets.retention.minutes, or \
                 somebody has deleted it"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(epoch: u64, lineage: &str) -> Token {
        Token { epoch: Epoch(epoch), lineage: Lineage(lineage.into()) }
    }

    fn judge(found: Option<&Token>, is_empty: bool) -> Verdict {
        let lineage = Lineage("mine".into());
        let doubtful =
            Doubtful { epoch: Epoch(9), previous: Epoch(7), lineage: &lineage, is_empty };
        doubtful.judge(found)
    }

    #[test]
    fn an_outbox_is_sent_again_only_where_the_token_says_that_it_was_not() {
        assert_eq!(judge(Some(&token(9, "mine")), false), Verdict::Done);
        assert_eq!(judge(Some(&token(12, "mine")), false), Verdict::Done);
        assert_eq!(judge(Some(&token(7, "mine")), false), Verdict::Send);
        assert_eq!(judge(Some(&token(8, "mine")), false), Verdict::Send);
        for found in [None, Some(&token(6, "mine")), Some(&token(9, "other"))] {
            assert!(matches!(judge(found, false), Verdict::Unknown(_)), "{found:?}");
            assert_eq!(judge(found, true), Verdict::Send, "{found:?}");
        }
    }
}
