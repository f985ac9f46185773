//! A count, or the counts of a histogram.

/// What only grows while nobody begins anew.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Number {
    One(i64),
    /// A histogram's cumulative buckets, then its count and its sum in milliseconds.
    Many(Box<[u64]>),
}

impl Number {
    /// Nothing yet, in the form of another one.
    pub(super) fn zero_like(&self) -> Self {
        match self {
            Number::One(_) => Number::One(0),
            Number::Many(counts) => Number::Many(vec![0; counts.len()].into()),
        }
    }

    /// How many events it counts.
    pub(super) fn events(&self) -> i64 {
        match self {
            Number::One(count) => *count,
            Number::Many(counts) => counts
                .len()
                .checked_sub(2)
                .and_then(|at| counts.get(at))
                .map_or(0, |count| i64::try_from(*count).unwrap_or(i64::MAX)),
        }
    }

    pub(super) fn add(&mut self, other: &Number) {
        match (self, other) {
            (Number::One(sum), Number::One(more)) => *sum = sum.saturating_add(*more),
            (Number::Many(sums), Number::Many(more)) => {
                for (sum, more) in sums.iter_mut().zip(more) {
                    *sum = sum.saturating_add(*more);
                }
            }
            // Of two forms under one name the first one stays.
            _ => {}
        }
    }

    pub(super) fn subtract(&mut self, other: &Number) {
        match (self, other) {
            (Number::One(sum), Number::One(less)) => *sum = sum.saturating_sub(*less),
            (Number::Many(sums), Number::Many(less)) => {
                for (sum, less) in sums.iter_mut().zip(less) {
                    *sum = sum.saturating_sub(*less);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_one_form_add_and_others_do_not() {
        let mut one = Number::One(3);
        one.add(&Number::One(4));
        one.add(&Number::Many(vec![1, 1, 1].into()));
        assert_eq!(one, Number::One(7));
        one.subtract(&Number::One(2));
        assert_eq!(one.events(), 5);
        let mut many = Number::Many(vec![1, 2, 9].into());
        many.add(&Number::Many(vec![1, 1, 1].into()));
        assert_eq!(many, Number::Many(vec![2, 3, 10].into()));
        assert_eq!(many.events(), 3);
        assert_eq!(many.zero_like(), Number::Many(vec![0; 3].into()));
    }
}
