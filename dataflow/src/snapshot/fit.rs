//! [`Fit`]: how the states of an operator in a snapshot become those of the program at hand. Pure.
//!
//! Made by [`super::restore`] from the plan that wrote the snapshot. The coordinator has judged by
//! the same rules before anything was touched. Invariant: no entry is read as a type that it was
//! not written as.

use millstream_protocol::plan::StateSchema;

use crate::error::{Error, Result};
use crate::state::{Migration, StateTypes};

/// How the states of an operator in a snapshot become those of the program at hand.
pub(crate) struct Fit<'a> {
    /// Every state in the snapshot, by name.
    states: Vec<(String, Reading<'a>)>,
    /// Whether all of them are read as they are: only then may a share of changes build upon the
    /// parts of the snapshot, since a part does not say by which schema it was written.
    pub(crate) is_whole: bool,
}

#[derive(Clone, Copy)]
enum Reading<'a> {
    /// Into the state at this place, by this migration where there is one.
    Into(usize, Option<&'a Migration>),
    /// Left behind.
    Not,
}

impl<'a> Fit<'a> {
    /// Of the states that a snapshot holds. Where one fits no state of the operator it is left
    /// behind if that is allowed, and an error if not.
    pub(super) fn new(
        old: &[StateSchema],
        types: &'a StateTypes,
        drop_unfit: bool,
    ) -> Result<Self> {
        let (mut states, mut is_whole) = (Vec::new(), true);
        for state in old {
            let reading = match reading(state, types) {
                Some(reading) => reading,
                None if drop_unfit => Reading::Not,
                None => return Err(unfit(state, types)),
            };
            is_whole &= matches!(reading, Reading::Into(_, None));
            states.push((state.name.clone(), reading));
        }
        Ok(Self { states, is_whole })
    }

    fn reading(&self, name: &str) -> Option<Reading<'a>> {
        self.states.iter().find(|(other, _)| other == name).map(|(_, reading)| *reading)
    }

    /// The place of the keyed state that entries of this name belong to, and what converts them.
    pub(super) fn keyed(&self, name: &str) -> Option<(usize, Option<&'a Migration>)> {
        match self.reading(name)? {
            Reading::Into(place, migration) => Some((place, migration)),
            Reading::Not => None,
        }
    }

    /// Whether a list of this name is read. Lists that no plan declares belong to the engine's own
    /// operators, which know their forms.
    pub(super) fn has_list(&self, name: &str) -> bool {
        matches!(self.reading(name), None | Some(Reading::Into(_, None)))
    }
}

fn reading<'a>(old: &StateSchema, types: &'a StateTypes) -> Option<Reading<'a>> {
    let place = types.schemas.iter().position(|new| new.name == old.name)?;
    let new = &types.schemas[place];
    if new.kind != old.kind {
        return None;
    }
    if new.schema == old.schema {
        return Some(Reading::Into(place, None));
    }
    let mut migrations = types.migrations.iter();
    let migration = migrations.find(|it| it.state == old.name && it.from == old.schema)?;
    Some(Reading::Into(place, Some(migration)))
}

#[cold]
fn unfit(old: &StateSchema, types: &StateTypes) -> Error {
    let StateSchema { name, kind, schema } = old;
    let Some(new) = types.schemas.iter().find(|new| new.name == *name) else {
        return Error::invalid(format!(
            "the snapshot holds state {name}, which the program does not declare"
        ));
    };
    Error::invalid(format!(
        "state {name} is {kind} of {schema} in the snapshot and {} of {} in the program, and has \
         no .migrate from it",
        new.kind, new.schema
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::PerKey;

    fn state(name: &str, kind: &str, schema: &str) -> StateSchema {
        StateSchema { name: name.into(), kind: kind.into(), schema: schema.into() }
    }

    fn types() -> StateTypes {
        let mut types = StateTypes::from(vec![
            state("same", "value", "u64"),
            state("wide", "value", "u64"),
            state("items", "list", "u64"),
        ]);
        let mut migration = Migration::new::<PerKey<u8>, u32, u64>("wide", u64::from);
        migration.from = "u32".into();
        types.migrations.push(migration);
        types
    }

    #[test]
    fn a_state_is_read_as_it_is_or_by_its_migration_or_not_at_all() {
        let types = types();
        let fit = |old: &[StateSchema]| Fit::new(old, &types, false);
        let whole = fit(&[state("same", "value", "u64"), state("items", "list", "u64")]).unwrap();
        assert!(whole.is_whole && whole.has_list("items") && whole.has_list("reached"));
        assert!(matches!(whole.keyed("same"), Some((0, None))));
        assert!(whole.keyed("wide").is_none(), "the snapshot has no such state");
        let migrated = fit(&[state("same", "value", "u64"), state("wide", "value", "u32")]);
        let migrated = migrated.unwrap();
        assert!(!migrated.is_whole);
        assert!(matches!(migrated.keyed("wide"), Some((1, Some(_)))));
        for (old, word) in [
            (state("same", "value", "u32"), "value of u32"),
            (state("wide", "value", "u16"), "value of u16"),
            (state("wide", "list", "u32"), "list of u32"),
            (state("items", "list", "u32"), "list of u32"),
            (state("gone", "value", "u64"), "does not declare"),
        ] {
            let error = fit(std::slice::from_ref(&old)).err().expect("it does not fit");
            assert!(error.to_string().contains(word), "{word} in {error}");
            let dropping = Fit::new(std::slice::from_ref(&old), &types, true).unwrap();
            assert!(!dropping.is_whole && dropping.keyed(&old.name).is_none());
            assert!(!dropping.has_list(&old.name));
        }
    }
}
