//! [`States`]: where a process function declares its states, and the handles it gets for them.

use std::marker::PhantomData;

use millstream_protocol::plan::StateSchema;

use super::Ttl;
use super::store::AnyState;
use crate::data::{Data, Key};
use crate::state::{ExpiringList, ExpiringMap, ExpiringValue, Lived, TimerKind, schema_of};
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
    /// For the state declared next.
    ttl: Option<Ttl>,
}

impl<K> Default for States<K> {
    fn default() -> Self {
        Self { declared: Vec::new(), ttl: None }
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

    /// What the plan says of them, the timers' last.
    pub(super) fn schemas(&self) -> Vec<StateSchema> {
        let timers = StateSchema {
            name: TIMERS.into(),
            kind: TIMERS.into(),
            schema: schema_of::<(K, (TimerKind, Timestamp), ())>(),
        };
        let declared = self.declared.iter().map(|state| state.schema.clone());
        declared.chain([timers]).collect()
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
