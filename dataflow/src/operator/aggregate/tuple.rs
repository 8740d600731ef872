//! Tuples of aggregates: several results of the same values.

use super::Aggregate;

macro_rules! tuple {
    ($($aggregate:ident $place:tt),* ; $last:ident $last_place:tt) => {
        /// All of them, each over every value. It is invertible where all are.
        impl<I, $($aggregate,)* $last> Aggregate<I> for ($($aggregate,)* $last)
        where
            I: Clone,
            $($aggregate: Aggregate<I>,)*
            $last: Aggregate<I>,
        {
            type Acc = ($($aggregate::Acc,)* $last::Acc);
            type Out = ($($aggregate::Out,)* $last::Out);

            fn zero(&self) -> Self::Acc {
                ($(self.$place.zero(),)* self.$last_place.zero())
            }

            #[inline]
            fn add(&self, acc: &mut Self::Acc, value: I) {
                $(self.$place.add(&mut acc.$place, value.clone());)*
                self.$last_place.add(&mut acc.$last_place, value);
            }

            #[inline]
            fn merge(&self, acc: &mut Self::Acc, other: &Self::Acc) {
                $(self.$place.merge(&mut acc.$place, &other.$place);)*
                self.$last_place.merge(&mut acc.$last_place, &other.$last_place);
            }

            fn result(&self, acc: &Self::Acc) -> Self::Out {
                ($(self.$place.result(&acc.$place),)* self.$last_place.result(&acc.$last_place))
            }

            fn is_invertible(&self) -> bool {
                $(self.$place.is_invertible() &&)* self.$last_place.is_invertible()
            }

            fn subtract(&self, acc: &mut Self::Acc, other: &Self::Acc) {
                $(self.$place.subtract(&mut acc.$place, &other.$place);)*
                self.$last_place.subtract(&mut acc.$last_place, &other.$last_place);
            }
        }
    };
}

tuple!(A 0; B 1);
tuple!(A 0, B 1; C 2);
tuple!(A 0, B 1, C 2; D 3);
tuple!(A 0, B 1, C 2, D 3; E 4);
tuple!(A 0, B 1, C 2, D 3, E 4; F 5);

#[cfg(test)]
mod tests {
    use super::super::{Aggregate, Count, Max, Mean, Sum, fold};

    #[test]
    fn a_tuple_holds_the_result_of_each() {
        let all = (Count, Sum, Max, Mean);
        let acc = fold(&all, &[1u32, 5, 3], 1);
        assert_eq!(Aggregate::<u32>::result(&all, &acc), (3, 9, 5, 3.0));
        assert!(!Aggregate::<u32>::is_invertible(&all), "a maximum cannot be taken back");
        assert!(Aggregate::<u32>::is_invertible(&(Count, Sum)));
    }
}
