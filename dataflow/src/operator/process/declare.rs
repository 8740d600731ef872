//! [`States`]: where a process function declares its states, and the handles it gets for them.

use std::marker::PhantomData;

use millstream_protocol::plan::StateSchema;

use super::Ttl;
use super::store::AnyState;
use crate::data::{Data, Key};
use crate::state::{
    ExpiringList, ExpiringMap, ExpiringValue, Lived, LivedPerKey, LivedPerPlace, Migration, Shape,
    StateTypes, TimerKind, schema_of,
};
use crate::stream::Stream;
use crate::time::Timestamp;

/// The name of the state that holds the timers.
const TIMERS: &str = "timers";

type MakeState<K> = Box<dyn Fn() -> Box<dyn AnyState<K>>>;

struct Declared<K> {
    schema: StateSchema,
    make: MakeState<K>,
}

/// Where a process function declares its states. A name names the state for the life of the job.
pub struct States<K> {
    declared: Vec<Declared<K>>,
    migrations: Vec<Migration>,
    /// For the state declared next.
    ttl: Option<Ttl>,
}

impl<K> Default for States<K> {
    fn default() -> Self {
        Self { declared: Vec::new(), migrations: Vec::new(), ttl: None }
    }
}

impl<K: Key> States<K> {
    /// Gives the state declared next a time to live.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use millstream_dataflow::{operator::process::States, state::Ttl};
    /// # let mut states = States::<u32>::default();
    /// let ttl = Ttl::after_write(Duration::from_secs(3600));
    /// let seen = states.ttl(ttl).value::<bool>("seen");
    /// ```
    pub fn ttl(&mut self, ttl: Ttl) -> &mut Self {
        self.ttl = Some(ttl);
        self
    }

    /// Declares one value per key.
    pub fn value<V: Data>(&mut self, name: &str) -> Value<V> {
        let schema = schema_of::<(K, Lived<V>)>();
        let make = |ttl| Box::new(ExpiringValue::<K, V>::new(ttl)) as Box<dyn AnyState<K>>;
        Value(self.declare(name, "value", schema, make), PhantomData)
    }

    /// Declares a list per key.
    pub fn list<V: Data>(&mut self, name: &str) -> List<V> {
        let schema = schema_of::<(K, u64, Lived<V>)>();
        let make = |ttl| Box::new(ExpiringList::<K, V>::new(ttl)) as Box<dyn AnyState<K>>;
        List(self.declare(name, "list", schema, make), PhantomData)
    }

    /// Declares a map per key, in order of `A`. Snapshots take its changed entries alone.
    pub fn map<A: Data + Ord, B: Data>(&mut self, name: &str) -> Map<A, B> {
        let schema = schema_of::<(K, A, Lived<B>)>();
        let make = |ttl| Box::new(ExpiringMap::<K, A, B>::new(ttl)) as Box<dyn AnyState<K>>;
        Map(self.declare(name, "map", schema, make), PhantomData)
    }

    fn declare(
        &mut self,
        name: &str,
        kind: &str,
        schema: String,
        make: impl Fn(Option<Ttl>) -> Box<dyn AnyState<K>> + 'static,
    ) -> usize {
        let ttl = self.ttl.take();
        let schema = StateSchema { name: name.to_owned(), kind: kind.to_owned(), schema };
        self.declared.push(Declared { schema, make: Box::new(move || make(ttl)) });
        self.declared.len() - 1
    }

    /// Refuses names used twice.
    #[track_caller]
    pub(super) fn check<T: Data>(&self, id: &str, stream: &Stream<T>) {
        for (index, state) in self.declared.iter().enumerate() {
            let name = &state.schema.name;
            let before = &self.declared[..index];
            if *name == TIMERS || before.iter().any(|other| other.schema.name == *name) {
                stream.refuse(format!(
                    "operator {id}: the state name {name:?} is taken: give each state its own"
                ));
            }
        }
    }

    /// Notes what else the state at this place can be made of.
    fn migrate<S: Shape, Old: Data, New: Data>(
        &mut self,
        place: usize,
        convert: impl Fn(Old) -> New + Send + Sync + 'static,
    ) {
        let declared = self.declared.get(place);
        let declared = declared.expect("a state migrates where it was declared");
        let name = &declared.schema.name;
        self.migrations.push(Migration::new::<S, Old, New>(name, convert));
    }

    /// What the plan says of them, the timers' last.
    pub(super) fn types(&self) -> StateTypes {
        let timers = StateSchema {
            name: TIMERS.into(),
            kind: TIMERS.into(),
            schema: schema_of::<(K, (TimerKind, Timestamp), ())>(),
        };
        let declared = self.declared.iter().map(|state| state.schema.clone());
        let schemas = declared.chain([timers]).collect();
        StateTypes { schemas, migrations: self.migrations.clone() }
    }

    /// Makes the states of one task.
    pub(super) fn make(&self) -> Vec<Box<dyn AnyState<K>>> {
        self.declared.iter().map(|state| (state.make)()).collect()
    }
}

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident<$($param:ident),+>) => {
        $(#[$doc])*
        pub struct $name<$($param),+>(pub(super) usize, PhantomData<fn() -> ($($param,)+)>);

        impl<$($param),+> Clone for $name<$($param),+> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$($param),+> Copy for $name<$($param),+> {}
    };
}

handle!(
    /// A declared value per key: see [`super::ProcessContext::get`].
    Value<V>
);
handle!(
    /// A declared list per key: see [`super::ProcessContext::list`].
    List<V>
);
handle!(
    /// A declared map per key: see [`super::ProcessContext::map`].
    Map<A, B>
);

impl<V: Data> Value<V> {
    /// Says how the value is made of what an earlier version of the program stored under this name,
    /// as [`crate::KeyedStream::migrate`] does. May be called again, for still older types.
    ///
    /// ```
    /// # use millstream_dataflow::operator::process::{States, Value};
    /// # let mut states = States::<u32>::default();
    /// # let st = &mut states;
    /// let last: Value<u64> = st.value("last").migrate(st, |last: u32| u64::from(last));
    /// ```
    #[must_use]
    pub fn migrate<K: Key, Old: Data>(
        self,
        states: &mut States<K>,
        convert: impl Fn(Old) -> V + Send + Sync + 'static,
    ) -> Self {
        states.migrate::<LivedPerKey<K>, Old, V>(self.0, convert);
        self
    }
}

impl<V: Data> List<V> {
    /// The same as [`Value::migrate`], for each item.
    #[must_use]
    pub fn migrate<K: Key, Old: Data>(
        self,
        states: &mut States<K>,
        convert: impl Fn(Old) -> V + Send + Sync + 'static,
    ) -> Self {
        states.migrate::<LivedPerPlace<K, u64>, Old, V>(self.0, convert);
        self
    }
}

impl<A: Data + Ord, B: Data> Map<A, B> {
    /// The same as [`Value::migrate`], for the value of each entry. The type `A`, by which entries
    /// are found, stays.
    #[must_use]
    pub fn migrate<K: Key, Old: Data>(
        self,
        states: &mut States<K>,
        convert: impl Fn(Old) -> B + Send + Sync + 'static,
    ) -> Self {
        states.migrate::<LivedPerPlace<K, A>, Old, B>(self.0, convert);
        self
    }
}
