//! `try_map`: one record out for each record in, by a function that may fail.

use std::marker::PhantomData;

use super::show::show;
use super::{Context, Operator};
use crate::batch::Batch;
use crate::data::Data;
use crate::error::Result;
use crate::stream::{Described, Stream};

impl<T: Data> Stream<T> {
    /// Turns each record into another; any error fails the job, which restarts from its snapshot.
    ///
    /// The function borrows the record, so that the message can show it (as JSON, cut at 200
    /// characters). `?` works on every type of error.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let lines = job.source("lines", Collection::of(vec!["1".to_string(), "2".to_string()]));
    /// let numbers = lines.try_map(|line| Ok(line.parse::<u64>()?));
    /// ```
    #[track_caller]
    pub fn try_map<U: Data>(
        &self,
        f: impl Fn(&T) -> Result<U> + Clone + Send + 'static,
    ) -> Stream<U> {
        let make = move |_: &_| Ok(TryMap { f: f.clone(), aside: false, marker: PhantomData });
        self.then(Described::stateless("try_map"), make)
    }

    /// Turns each record into another; those for which the function fails go to the second stream,
    /// each with the text of its error, and are counted as failed.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let lines = job.source("lines", Collection::of(vec!["1".to_string(), "x".to_string()]));
    /// let (numbers, failed) = lines.try_map_or_side(|line| Ok(line.parse::<u64>()?));
    /// let report = failed.map(|(line, error)| format!("{line}: {error}"));
    /// ```
    #[track_caller]
    pub fn try_map_or_side<U: Data>(
        &self,
        f: impl Fn(&T) -> Result<U> + Clone + Send + 'static,
    ) -> (Stream<U>, Stream<(T, String)>) {
        let make = move |_: &_| Ok(TryMap { f: f.clone(), aside: true, marker: PhantomData });
        let out = self.then(Described::stateless("try_map"), make);
        let side = out.side();
        (out, side)
    }
}

struct TryMap<F, T, U> {
    f: F,
    /// Failing records go to the side output.
    aside: bool,
    marker: PhantomData<fn(T) -> U>,
}

impl<T: Data, U: Data, F: Fn(&T) -> Result<U> + Send + 'static> Operator for TryMap<F, T, U> {
    type In = T;
    type Out = U;
    type Side = (T, String);

    fn on_batch(&mut self, ctx: &mut Context<'_, U, (T, String)>, batch: Batch<T>) -> Result<()> {
        let mut out = Batch::with_capacity(batch.len());
        let mut failed = 0;
        for (record, time) in batch.into_timed() {
            match (self.f)(&record) {
                Ok(good) => {
                    out.records.push(good);
                    out.times.push(time);
                }
                Err(error) if self.aside => {
                    failed += 1;
                    ctx.emit_side((record, error.to_string()), time)?;
                }
                Err(error) => return Err(error.context(format!("record {}", show(&record)))),
            }
        }
        if failed > 0 {
            ctx.count_failed(failed);
        }
        if out.is_empty() { Ok(()) } else { ctx.emit_batch(out) }
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Kind;
    use crate::testing::{Element, Harness, suite};
    use crate::time::Timestamp;

    fn lines() -> Vec<Element<String>> {
        let lines = (0..30).map(|n| if n % 7 == 3 { format!("bad {n}") } else { n.to_string() });
        lines.map(|line| Element::Record(line, Timestamp(8))).collect()
    }

    #[test]
    fn what_fails_goes_aside_and_the_rest_goes_on() {
        let good =
            suite(&lines(), |lines, _| lines.try_map_or_side(|line| Ok(line.parse::<u64>()?)).0);
        let bad =
            suite(&lines(), |lines, _| lines.try_map_or_side(|line| Ok(line.parse::<u64>()?)).1);
        assert_eq!((good.len(), bad.len()), (26, 4));
        let first = ("bad 10".to_owned(), "invalid digit found in string".to_owned());
        assert_eq!(bad[0], (first, Timestamp(8)));
    }

    #[test]
    fn an_error_names_the_operator_and_the_record() {
        let run =
            Harness::new().run(lines(), |lines, _| lines.try_map(|line| Ok(line.parse::<u64>()?)));
        let error = run.expect_err("a line does not parse");
        assert_eq!(error.to_string(), "record \"bad 3\": invalid digit found in string");
        assert_eq!(error.operator(), Some("script/try_map-1"));
        assert_eq!(error.kind(), Kind::User);
        let good: Vec<_> = lines().into_iter().take(3).collect();
        let out = suite(&good, |lines, _| lines.try_map(|line| Ok(line.parse::<u64>()?)));
        assert_eq!(out.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
